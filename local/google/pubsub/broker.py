"""Delivers: publishing, leasing, acknowledging, dead letters and the end of retention."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from local.google.permissions import CONSUME, PUBLISH
from local.google.pubsub.catalogue import Catalogue, Known
from local.google.pubsub.store import Delivery, Lease, Message, MessageStore
from local.google.pubsub.supported import invalid
from local.google.rpc import RefusedError

_ADDED: Final = "CloudPubSubDeadLetterSource"
_HOUSEKEEPING_SECONDS: Final = 5
_LONGEST_WAIT: Final = 5.0

May = Callable[[str, str], bool]
"""`may(permission, resource)`: whether Pub/Sub's own agent is allowed to."""


class Broker:
    """One Pub/Sub. Usable from any thread; :meth:`close` ends its own."""

    def __init__(
        self, store: MessageStore, catalogue: Catalogue, *, may: May = lambda _permission, _resource: True
    ) -> None:
        """`may` is asked about every dead letter: without its two permissions Google delivers on and forwards nothing."""
        self._store = store
        self.catalogue = catalogue
        self._may = may
        self._closed = threading.Event()
        for known in catalogue.subscriptions(""):
            if known.endpoint or known.bucket:
                store.release(known.key, time.time())
        self._housekeeping = threading.Thread(target=self._keep_house, name="pubsub housekeeping", daemon=True)
        self._housekeeping.start()

    def close(self) -> None:
        """End the housekeeping, and whoever waits for messages."""
        self._closed.set()
        for known in self.catalogue.subscriptions(""):
            with known.changed:
                known.changed.notify_all()
        self._housekeeping.join()

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._closed.is_set()

    def publish(self, topic: str, messages: Sequence[Message]) -> list[str]:
        """Store messages for each of the topic's subscriptions; returns their IDs.

        Raises:
            RefusedError: there is no such topic.
        """
        self.catalogue.topic(topic)
        subscriptions = self.catalogue.on(topic)
        ids = self._store.publish(messages, [known.key for known in subscriptions], time.time())
        for known in subscriptions:
            wake(known)
        return [str(one) for one in ids]

    def lease(self, known: Known, limit: int, *, seconds: float | None = None) -> list[Delivery]:
        """Messages to work on, at most `limit`; without `seconds`, for the subscription's ack deadline."""
        self._forward(known)
        return self._store.lease(
            known.key, limit, now=time.time(), seconds=seconds or known.ack_deadline, backoff=known.backoff
        )

    def wait(self, known: Known, seconds: float) -> None:
        """Return when a message may be due, and after so many seconds at the latest."""
        with known.changed:
            due = self._store.next_due(known.key)
            left = seconds if due is None else min(seconds, due - time.time())
            if left > 0 and not self.closed:
                known.changed.wait(min(left, _LONGEST_WAIT))

    def acknowledge(self, known: Known, leases: Iterable[Lease]) -> None:
        """These messages are done."""
        self._store.acknowledge(leases)
        self.catalogue.use(known)

    def extend(self, known: Known, leases: Iterable[Lease], seconds: float) -> None:
        """Lease for so many seconds from now; 0 refuses the messages, which are due again after the backoff."""
        self._store.postpone(leases, until=time.time() + seconds, backoff=known.backoff, leased=seconds > 0)
        if not seconds:
            if known.attempts and self._may_forward(known):
                self._store.hurry(known.key, known.attempts, time.time())
            wake(known)
        self.catalogue.use(known)

    def held(self, leases: Iterable[Lease]) -> list[Lease]:
        """Those that are neither acknowledged nor refused nor expired."""
        return self._store.held(leases)

    def count(self, known: Known) -> int:
        """How many messages are not acknowledged."""
        return self._store.count(known.key)

    def _may_forward(self, known: Known) -> bool:
        return self._may(PUBLISH, known.dead_letter_topic) and self._may(CONSUME, known.name)

    def _forward(self, known: Known) -> None:
        """https://cloud.google.com/pubsub/docs/dead-letter-topics#track-delivery-attempts."""
        if not known.attempts:
            return
        dead = self._store.exhausted(known.key, known.attempts, time.time())
        if not dead or not self._may_forward(known):
            return
        _, project, _, name = known.name.split("/")
        letters = [
            Message(
                data=one.message.data,
                attributes={
                    **one.message.attributes,
                    f"{_ADDED}DeliveryCount": str(one.lease.attempt),
                    f"{_ADDED}Subscription": name,
                    f"{_ADDED}SubscriptionProject": project,
                    f"{_ADDED}TopicPublishTime": datetime.fromtimestamp(one.published, UTC).isoformat(
                        timespec="milliseconds"
                    ),
                },
            )
            for one in dead
        ]
        try:
            self.catalogue.topic(known.dead_letter_topic)
        except RefusedError:
            return  # A topic that is gone takes no dead letter: Google delivers on, as without the permissions.
        subscriptions = self.catalogue.on(known.dead_letter_topic)
        with self._store.transaction():
            # Another thread may have done it by now.
            still = set(self._store.held((one.lease for one in dead), leased=False))
            self._store.publish(
                [letter for one, letter in zip(dead, letters, strict=True) if one.lease in still],
                [one.key for one in subscriptions],
                time.time(),
            )
            self._store.acknowledge(still, leased=False)
        for one in subscriptions:
            wake(one)

    def _keep_house(self) -> None:
        while not self._closed.wait(_HOUSEKEEPING_SECONDS):
            for known in self.catalogue.subscriptions(""):
                self._forward(known)
                self._store.expire(known.key, time.time() - known.retention)
                if known.expires_after is not None and self.catalogue.idle_seconds(known) > known.expires_after:
                    with suppress(RefusedError):
                        self.catalogue.delete_subscription(known.name)


def wake(known: Known) -> None:
    """Let whoever waits for messages look again."""
    with known.changed:
        known.changed.notify_all()


def ack_id(lease: Lease) -> str:
    """What the API calls a lease."""
    return f"{lease.key}-{lease.id}-{lease.attempt}"


def leases_of(known: Known, ack_ids: Iterable[str]) -> list[Lease]:
    """The leases that the API's words stand for.

    Raises:
        RefusedError: one is not an ack ID, or one of another subscription.
    """
    leases: list[Lease] = []
    for text in ack_ids:
        try:
            key, identifier, attempt = (int(part) for part in text.split("-"))
        except ValueError:
            raise invalid(f"You have passed an invalid ack ID to the service (ack_id={text}).") from None
        if key != known.key:
            raise invalid(
                f"You have passed a subscription that does not belong to the given ack ID (resource={known.name})."
            )
        leases.append(Lease(key=key, id=identifier, attempt=attempt))
    return leases
