"""About how many pictures wait, without a listing for each request.

Each instance counts now and then, in the background, names only, a thousand a request and never more than COUNT_LIMIT;
in between it corrects the number by the decisions that went through it. A number that is a minute old is good enough
to see how much work is left.
"""

import time
from collections.abc import Callable
from threading import Event, Lock, Thread

from google.cloud.storage import Bucket
from google.cloud.storage.retry import DEFAULT_RETRY

from inspection.labels import UNCLEAR
from inspection.logs import structured_logger
from webapp import api

COUNT_LIMIT = 20_000
RECOUNT_SECONDS = 120
COUNTING_THREAD = "count-waiting"
_PAGE_SIZE = 1000
_FIRST_PAGE_SECONDS = 3
_TIMEOUT = 10
_RETRY = DEFAULT_RETRY.with_timeout(20)

_log = structured_logger("review.waiting")


class WaitingCount:
    """The number for one bucket."""

    def __init__(self, bucket: Bucket, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bucket = bucket
        self._monotonic = monotonic
        self._lock = Lock()
        self._counted_at: float | None = None
        self._first_page = Event()
        self._known = api.Waiting(count=0, exact=False)

    def known(self) -> api.Waiting:
        """The number as it is; no request."""
        return self._known

    def read(self) -> api.Waiting:
        """The number, and a new count in the background if it has grown old. Waits for the very first page only."""
        with self._lock:
            now = self._monotonic()
            if self._counted_at is None or now - self._counted_at >= RECOUNT_SECONDS:
                self._counted_at = now
                Thread(target=self._count, name=COUNTING_THREAD, daemon=True).start()
        self._first_page.wait(_FIRST_PAGE_SECONDS)
        return self._known

    def correct(self, change: int) -> None:
        """A picture has left (-1) or come back (+1)."""
        with self._lock:
            self._known = api.Waiting(count=max(0, self._known.count + change), exact=self._known.exact)

    def _count(self) -> None:
        count = 0
        try:
            names = self._bucket.list_blobs(
                prefix=f"{UNCLEAR}/",
                page_size=_PAGE_SIZE,
                max_results=COUNT_LIMIT,
                fields="items(name),nextPageToken",
                timeout=_TIMEOUT,
                retry=_RETRY,
            )
            for page in names.pages:
                count += sum(not str(blob.name).endswith("/") for blob in page)
                if not self._first_page.is_set():
                    self._set(count, exact=False)
            self._set(count, exact=count < COUNT_LIMIT)
        except Exception:  # noqa: BLE001  # a thread has nobody else to tell
            _log.exception("the waiting pictures could not be counted; the last number stays")
        finally:
            self._first_page.set()

    def _set(self, count: int, *, exact: bool) -> None:
        with self._lock:
            self._known = api.Waiting(count=count, exact=exact)
