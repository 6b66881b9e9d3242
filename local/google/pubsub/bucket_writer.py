"""Subscriptions that Pub/Sub writes to a bucket by itself, one line for each message.

https://cloud.google.com/pubsub/docs/cloudstorage. Messages are acknowledged once their file is written: after a crash they are written
again, as delivery is at least once.
"""

import functools
import logging
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any, Final, Protocol

from google.api_core.exceptions import Forbidden, NotFound
from google.cloud import storage
from google.pubsub_v1.types import Subscription

from local.google.pubsub.broker import Broker
from local.google.pubsub.catalogue import Known
from local.google.pubsub.store import Lease
from local.google.rpc import RefusedError

_IN_MEMORY_BYTES: Final = 2**20
_MESSAGES_AT_ONCE: Final = 500
_GRACE_SECONDS: Final = 60
_SECONDS: Final = 30
_DEFAULT_FORMAT: Final = "YYYY-MM-DDThh:mm:ss+00:00"
_PARTS: Final = {"YYYY": "%Y", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}

_log = logging.getLogger(__name__)


class Buckets(Protocol):
    """What Pub/Sub's agent does with a bucket."""

    def check(self, bucket: str) -> None:
        """Raises RefusedError unless the agent may write there."""
        ...

    def write(self, bucket: str, name: str, lines: IO[bytes]) -> None:
        """Make an object; raises whatever the client of Cloud Storage does."""
        ...


class AgentsBuckets:
    """The buckets of Cloud Storage as Pub/Sub's agent sees them."""

    def __init__(self, client: Callable[[], storage.Client]) -> None:
        """`client` makes a client that speaks as the agent; it is called when there is something to write."""
        self._client = functools.cache(client)

    def check(self, bucket: str) -> None:
        """Refuses a bucket that is missing or that the agent may not write to, in Google's way."""
        try:
            self._client().get_bucket(bucket, timeout=_SECONDS)
        except NotFound:
            raise RefusedError("NOT_FOUND", f"The bucket {bucket} does not exist.") from None
        except Forbidden as error:
            raise RefusedError(
                "FAILED_PRECONDITION",
                "Cloud Pub/Sub did not have the necessary permissions configured to support this operation: grant its agent "
                f"roles/storage.legacyBucketReader and roles/storage.objectCreator on {bucket} ({error.message})",
            ) from None

    def write(self, bucket: str, name: str, lines: IO[bytes]) -> None:
        """Make an object of a name that is not taken; raises GoogleAPICallError if it cannot."""
        blob = self._client().bucket(bucket).blob(name)
        blob.upload_from_file(lines, content_type="text/plain", if_generation_match=0, timeout=_SECONDS)


class BucketWriter:
    """Writes the messages of one subscription until :meth:`stop`."""

    def __init__(self, broker: Broker, name: str, buckets: Buckets) -> None:
        """Start at once."""
        self._broker = broker
        self._name = name
        self._buckets = buckets
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"bucket writer {name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write nothing more: what is not yet in a file stays in the subscription."""
        self._stopped.set()

    def join(self) -> None:
        """Return when it has stopped."""
        self._thread.join()

    def _run(self) -> None:
        while not self._over:
            try:
                known = self._broker.catalogue.subscription(self._name)
            except RefusedError:
                return
            with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as lines:
                leases = self._collect(known, lines)
                if leases and not self._over:
                    self._write(known, lines, leases)

    @property
    def _over(self) -> bool:
        return self._stopped.is_set() or self._broker.closed

    def _collect(self, known: Known, lines: IO[bytes]) -> list[Lease]:
        raw: Any = Subscription.pb(known.config)
        config = raw.cloud_storage_config
        longest: float = config.max_duration.ToTimedelta().total_seconds()
        leases: list[Lease] = []
        ends = float("inf")
        while not self._over and (left := ends - time.monotonic()) > 0:
            room = min(_MESSAGES_AT_ONCE, (config.max_messages or 2**62) - len(leases))
            deliveries = self._broker.lease(known, room, seconds=longest + _GRACE_SECONDS)
            if deliveries and not leases:
                ends = time.monotonic() + longest
            for delivery in deliveries:
                lines.write(delivery.message.data + b"\n")
                leases.append(delivery.lease)
            if lines.tell() >= (config.max_bytes or 2**62) or len(leases) == config.max_messages:
                break
            if not deliveries:
                self._broker.wait(known, min(left, longest))
        return leases

    def _write(self, known: Known, lines: IO[bytes], leases: list[Lease]) -> None:
        name = file_name(known.config, datetime.now(UTC))
        lines.seek(0)
        try:
            self._buckets.write(known.bucket, name, lines)
        except Exception as error:  # noqa: BLE001 - whatever happened, the messages must come again
            _log.warning("%s could not write gs://%s/%s: %s", known.name, known.bucket, name, error)
            self._broker.extend(known, leases, 0)
        else:
            self._broker.acknowledge(known, leases)


def file_name(subscription: Subscription, now: datetime) -> str:
    """https://cloud.google.com/pubsub/docs/create-cloudstorage-subscription#file_names."""
    config = subscription.cloud_storage_config
    moment = config.filename_datetime_format or _DEFAULT_FORMAT
    for part, directive in _PARTS.items():
        moment = moment.replace(part, now.strftime(directive))
    return f"{config.filename_prefix}{moment}_{uuid.uuid4()}{config.filename_suffix}"
