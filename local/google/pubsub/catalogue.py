"""Topics and subscriptions: made, changed, listed and deleted."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from google.pubsub_v1.types import Subscription, Topic

from local.google.pubsub.store import Backoff, MessageStore
from local.google.pubsub.supported import SUBSCRIPTION, TOPIC, check_subscription, check_topic, invalid, unsupported
from local.google.rpc import RefusedError

DELETED_TOPIC: Final = "_deleted-topic_"
_IMMUTABLE: Final = {"name", "topic"}
_PUSH_BACKOFF: Final = Backoff(minimum=0.1, maximum=60)
"""https://cloud.google.com/pubsub/docs/push#push_backoff; here it counts for each message by itself."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """A subscription that exists, with what is asked of it for every message."""

    key: int
    config: Subscription
    changed: threading.Condition = field(default_factory=threading.Condition)
    """Notified when a message may have become due, and when the subscription is gone."""

    name: str = field(init=False)
    topic: str = field(init=False)
    endpoint: str = field(init=False)
    bucket: str = field(init=False)
    ack_deadline: int = field(init=False)
    retention: float = field(init=False)
    expires_after: float | None = field(init=False)
    dead_letter_topic: str = field(init=False)
    attempts: int = field(init=False)
    """After which a message becomes a dead letter; 0 without a dead-letter policy."""
    backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        """Read once what the API's messages are slow to tell."""
        raw: Any = Subscription.pb(self.config)
        policy = raw.dead_letter_policy
        expiry = raw.expiration_policy
        if raw.HasField("retry_policy"):
            backoff = Backoff(
                minimum=raw.retry_policy.minimum_backoff.ToTimedelta().total_seconds(),
                maximum=raw.retry_policy.maximum_backoff.ToTimedelta().total_seconds(),
            )
        else:
            backoff = _PUSH_BACKOFF if raw.push_config.push_endpoint or raw.cloud_storage_config.bucket else Backoff()
        for name, value in {
            "name": raw.name,
            "topic": raw.topic,
            "endpoint": raw.push_config.push_endpoint,
            "bucket": raw.cloud_storage_config.bucket,
            "ack_deadline": raw.ack_deadline_seconds,
            "retention": raw.message_retention_duration.ToSeconds(),
            "expires_after": expiry.ttl.ToSeconds() if expiry.HasField("ttl") else None,
            "dead_letter_topic": policy.dead_letter_topic,
            "attempts": policy.max_delivery_attempts,
            "backoff": backoff,
        }.items():
            object.__setattr__(self, name, value)


class Catalogue:
    """Usable from any thread; the configurations are the API's messages, and a caller must not change those that it is given."""

    def __init__(self, store: MessageStore, *, check_bucket: Callable[[str], None] = lambda _: None) -> None:
        """Read what the store has; `check_bucket` raises if Pub/Sub cannot write to a bucket."""
        self._store = store
        self._check_bucket = check_bucket
        self._lock = threading.RLock()
        self._topics = {name: cast("Topic", Topic.deserialize(config)) for name, config in store.topics().items()}
        known = [
            Known(key=key, config=cast("Subscription", Subscription.deserialize(config)))
            for key, config, _ in store.subscriptions()
        ]
        self._subscriptions = {one.name: one for one in known}
        self._used = {key: used for key, _, used in store.subscriptions()}
        self.on_change: Callable[[Known | None, Known | None], None] = lambda _before, _after: None
        """Called with a subscription as it was and as it is."""

    # Topics.

    def create_topic(self, topic: Topic) -> Topic:
        """Raises RefusedError: it exists, or cannot be served."""
        check_topic(topic)
        with self._lock:
            if topic.name in self._topics:
                raise _exists(topic.name)
            self._store.save_topic(topic.name, Topic.serialize(topic))
            self._topics[topic.name] = topic
        return topic

    def update_topic(self, topic: Topic, paths: list[str]) -> Topic:
        """Labels are all that can change."""
        with self._lock:
            changed = Topic(self.topic(topic.name))
            _update(changed, topic, paths, known=TOPIC, kind="Topic")
            check_topic(changed)
            self._store.save_topic(changed.name, Topic.serialize(changed))
            self._topics[changed.name] = changed
        return changed

    def topic(self, name: str) -> Topic:
        """Raises RefusedError: there is none of this name."""
        if (topic := self._topics.get(name)) is None:
            raise _missing(name)
        return topic

    def topics(self, project: str) -> list[Topic]:
        """Those of `projects/P`, by name."""
        return [topic for name, topic in sorted(self._topics.items()) if name.startswith(f"{project}/")]

    def delete_topic(self, name: str) -> None:
        """Its subscriptions keep what they have."""
        with self._lock:
            self.topic(name)
            for known in self.on(name):
                config = Subscription(known.config)
                config.topic = DELETED_TOPIC
                self._save(config, known)
            self._store.delete_topic(name)
            del self._topics[name]

    # Subscriptions.

    def create_subscription(self, subscription: Subscription) -> Subscription:
        """Raises RefusedError: it exists, its topic does not, or it cannot be served."""
        check_subscription(subscription)
        with self._lock:
            if subscription.name in self._subscriptions:
                raise _exists(subscription.name)
            self.topic(subscription.topic)
            self._check_others(subscription)
            return self._save(subscription, None)

    def update_subscription(self, subscription: Subscription, paths: list[str]) -> Subscription:
        """Change the fields that `paths` name."""
        with self._lock:
            known = self.subscription(subscription.name)
            changed = Subscription(known.config)
            _update(changed, subscription, paths, known=SUBSCRIPTION, kind="Subscription")
            check_subscription(changed)
            self._check_others(changed)
            return self._save(changed, known)

    def subscription(self, name: str) -> Known:
        """Raises RefusedError: there is none of this name."""
        if (known := self._subscriptions.get(name)) is None:
            raise _missing(name)
        return known

    def subscriptions(self, project: str) -> list[Known]:
        """Those of `projects/P`, by name; all, if it is empty."""
        prefix = f"{project}/" if project else ""
        return [known for name, known in sorted(self._subscriptions.items()) if name.startswith(prefix)]

    def on(self, topic: str) -> list[Known]:
        """The subscriptions of a topic."""
        with self._lock:
            return [known for known in self._subscriptions.values() if known.topic == topic]

    def delete_subscription(self, name: str) -> None:
        """What waits in it is lost."""
        with self._lock:
            known = self.subscription(name)
            self._store.delete_subscription(known.key)
            del self._subscriptions[name]
        self._announce(known, None)

    def use(self, known: Known) -> None:
        """Remember, at most once an hour, that somebody uses a subscription, so that it does not expire."""
        now = time.time()
        if now - self._used.get(known.key, 0) > 3600:  # noqa: PLR2004 - an hour
            self._used[known.key] = now
            self._store.use(known.key, now)

    def idle_seconds(self, known: Known) -> float:
        """Since the last use."""
        return time.time() - self._used.get(known.key, 0)

    def _check_others(self, subscription: Subscription) -> None:
        raw: Any = Subscription.pb(subscription)
        if raw.HasField("dead_letter_policy"):
            self.topic(raw.dead_letter_policy.dead_letter_topic)
        if raw.HasField("cloud_storage_config"):
            self._check_bucket(raw.cloud_storage_config.bucket)

    def _save(self, subscription: Subscription, before: Known | None) -> Subscription:
        key = self._store.save_subscription(subscription.name, Subscription.serialize(subscription))
        after = Known(key=key, config=subscription, changed=before.changed if before else threading.Condition())
        self._subscriptions[after.name] = after
        self._used.setdefault(key, time.time())
        self._announce(before, after)
        return subscription

    def _announce(self, before: Known | None, after: Known | None) -> None:
        self.on_change(before, after)
        for known in (before, after):
            if known is not None:
                with known.changed:
                    known.changed.notify_all()


def _update(
    target: Topic | Subscription, source: Topic | Subscription, paths: list[str], *, known: set[str], kind: str
) -> None:
    request = f"Update{kind}Request"
    if not paths:
        raise invalid(f"The update_mask in the {request} must be set, and must contain a non-empty paths list.")
    to: Any = type(target).pb(target)
    of: Any = type(source).pb(source)
    for path in paths:
        if path in _IMMUTABLE:
            raise invalid(f"Invalid update_mask provided in the {request}: the {path} field is not mutable.")
        if path not in to.DESCRIPTOR.fields_by_name:
            raise invalid(f"Invalid update_mask provided in the {request}: {path} is not a known {kind} field.")
        if path not in known:
            raise unsupported(f"{path} of a {kind.lower()}")
        to.ClearField(path)
        one = type(of)()
        one.CopyFrom(of)
        for declared, _ in of.ListFields():
            if declared.name != path:
                one.ClearField(declared.name)
        to.MergeFrom(one)


def _missing(name: str) -> RefusedError:
    return RefusedError("NOT_FOUND", f"Resource not found (resource={name.rpartition('/')[2]}).")


def _exists(name: str) -> RefusedError:
    return RefusedError(
        "ALREADY_EXISTS", f"Resource already exists in the project (resource={name.rpartition('/')[2]})."
    )
