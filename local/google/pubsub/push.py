"""Pushes messages to the endpoints of subscriptions, as many at once as they take.

The number of pushes at once is a window, as at Google (https://cloud.google.com/pubsub/docs/push#push_delivery_rate): it starts small,
grows by one with each success, which doubles it in a round, and halves with a failure. Here it ends at :data:`MOST_AT_ONCE`.
"""

import base64
import http.client
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from local.google.pubsub.broker import Broker, wake
from local.google.pubsub.catalogue import Known
from local.google.pubsub.store import Delivery
from local.google.rpc import RefusedError

FIRST_AT_ONCE: Final = 3
MOST_AT_ONCE: Final = 32
_ACKNOWLEDGED: Final = {102, 200, 201, 202, 204}
"""https://cloud.google.com/pubsub/docs/push#receive_push."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Push:
    """One HTTP request to an endpoint."""

    endpoint: str
    identity: str | None
    """The service account whose OIDC token the push carries."""
    body: bytes
    seconds: float
    """After which no answer is a refusal."""


Send = Callable[[Push], int]
"""Returns the status of the answer; raises OSError or HTTPException if there is none."""


def send_by_http(push: Push) -> int:
    """POST to an endpoint that takes whoever comes; there is no way to make a token that others believe.

    Raises:
        OSError: no connection, or no answer in time.
        HTTPException: the answer is not HTTP.
    """
    parts = urlsplit(push.endpoint)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=push.seconds)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, push.body, HEADERS)
        return connection.getresponse().status
    finally:
        connection.close()


HEADERS: Final = {"content-type": "application/json", "user-agent": "CloudPubSub-Google"}


class Pusher:
    """Pushes the messages of one subscription until :meth:`stop`."""

    def __init__(self, broker: Broker, name: str, send: Send) -> None:
        """Start at once."""
        self._broker = broker
        self._name = name
        self._send = send
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._window = FIRST_AT_ONCE
        self._overdue_at: dict[int, float] = {}
        """When each push that is under way is given up, by message: its answer no longer counts, nor its place."""
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix=f"push {name.rpartition('/')[2]}")
        self._thread = threading.Thread(target=self._run, name=f"pusher {name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Push nothing more; what is under way ends by itself and then no longer counts."""
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        """Return when it has stopped."""
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set() and not self._broker.closed:
            try:
                known = self._broker.catalogue.subscription(self._name)
            except RefusedError:
                return
            free = self._free()
            deliveries = self._broker.lease(known, free) if free > 0 else []
            for delivery in deliveries:
                with self._lock:
                    self._overdue_at[delivery.lease.id] = time.monotonic() + known.ack_deadline
                try:
                    self._pool.submit(self._push, known, delivery)
                except RuntimeError:  # stopped meanwhile
                    return
            if free <= 0:
                self._wait_for_room(known)
            elif not deliveries:
                self._broker.wait(known, known.ack_deadline)

    def _free(self) -> int:
        now = time.monotonic()
        with self._lock:
            for identifier in [one for one, at in self._overdue_at.items() if at < now]:
                del self._overdue_at[identifier]
            return self._window - len(self._overdue_at)

    def _wait_for_room(self, known: Known) -> None:
        with known.changed:
            if self._free() <= 0:
                known.changed.wait(1)

    def _push(self, known: Known, delivery: Delivery) -> None:
        started = time.monotonic()
        push = Push(
            endpoint=known.endpoint,
            identity=known.config.push_config.oidc_token.service_account_email or None,
            body=body(known, delivery),
            seconds=known.ack_deadline,
        )
        try:
            status = self._send(push)
        except (OSError, http.client.HTTPException) as error:
            _log.debug("push of %s to %s: %s", delivery.lease.id, known.endpoint, error)
            status = 0
        # What the other side answers after the deadline reaches nobody.
        good = status in _ACKNOWLEDGED and time.monotonic() - started <= known.ack_deadline
        with self._lock:
            self._overdue_at.pop(delivery.lease.id, None)
            self._window = min(self._window + 1, MOST_AT_ONCE) if good else max(self._window // 2, 1)
        if self._broker.closed:
            return
        if good:
            self._broker.acknowledge(known, [delivery.lease])
            wake(known)
        else:
            self._broker.extend(known, [delivery.lease], 0)


def body(known: Known, delivery: Delivery) -> bytes:
    """https://cloud.google.com/pubsub/docs/push#receive_push."""
    published = (
        datetime.fromtimestamp(delivery.published, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
    identifier = str(delivery.lease.id)
    content: dict[str, object] = {
        "message": {
            "attributes": dict(delivery.message.attributes),
            "data": base64.b64encode(delivery.message.data).decode(),
            "messageId": identifier,
            "message_id": identifier,
            "publishTime": published,
            "publish_time": published,
        },
        "subscription": known.name,
    }
    if known.attempts:
        content["deliveryAttempt"] = delivery.lease.attempt
    return json.dumps(content).encode()
