"""What this Pub/Sub takes: Google's limits, and by name what it does not do.

Limits are those of https://cloud.google.com/pubsub/quotas#resource_limits and of the API's reference. A field that is not listed here is
refused with UNIMPLEMENTED, wherever it comes from, so that nothing is ignored silently: message ordering, exactly-once delivery, filters,
schemas, keys, snapshots, seeking, retention on a topic, transformations, unwrapped pushes, BigQuery and Avro.
"""

import re
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

from google.pubsub_v1.types import Subscription, Topic

from local.google.rpc import RefusedError

_NAME: Final = re.compile(
    r"projects/[a-z0-9:.\-]+/(?P<collection>topics|subscriptions)/(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}"
)
_OUTPUT: Final = {"state", "topic_message_retention_duration", "satisfies_pzs"}

TOPIC: Final = {"name", "labels"} | _OUTPUT
SUBSCRIPTION: Final = {
    "name", "topic", "push_config", "ack_deadline_seconds", "message_retention_duration", "labels", "expiration_policy",
    "dead_letter_policy", "retry_policy", "cloud_storage_config",
} | _OUTPUT  # fmt: skip
PUSH: Final = {"push_endpoint", "oidc_token"}
BUCKET: Final = {
    "bucket", "filename_prefix", "filename_suffix", "filename_datetime_format", "text_config", "max_duration", "max_bytes",
    "max_messages",
} | _OUTPUT  # fmt: skip
MESSAGE: Final = {"data", "attributes", "message_id", "publish_time"}

ACK_DEADLINE_SECONDS: Final = 10
RETENTION_SECONDS: Final = 7 * 24 * 3600
EXPIRY_SECONDS: Final = 31 * 24 * 3600
BUCKET_SECONDS: Final = 300
_DAY: Final = 24 * 3600
_MINUTES: Final = 60

MOST_MESSAGES: Final = 1000
_MOST_BYTES: Final = 10_000_000
_MOST_ATTRIBUTES: Final = 100
_KEY_BYTES: Final = 256
_VALUE_BYTES: Final = 1024


def invalid(message: str) -> RefusedError:
    """A request that Google would refuse as well."""
    return RefusedError("INVALID_ARGUMENT", message)


def unsupported(what: str) -> RefusedError:
    """A request that Google would answer, and the local cloud does not."""
    return RefusedError("UNIMPLEMENTED", f"The local cloud's Pub/Sub does not support {what}.")


def check_name(name: str, collection: str) -> None:
    """https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names."""
    match = _NAME.fullmatch(name)
    if match is None or match["collection"] != collection:
        raise invalid(f"Invalid [{collection}] name: (name={name})")


def check_topic(topic: Topic) -> None:
    """Raises RefusedError unless the topic can be served."""
    check_name(topic.name, "topics")
    _only(topic, TOPIC, "a topic")


def check_subscription(subscription: Subscription) -> None:
    """Complete a subscription with Google's defaults; raises RefusedError unless it can be served."""
    check_name(subscription.name, "subscriptions")
    _only(subscription, SUBSCRIPTION, "a subscription")
    _only(subscription.push_config, PUSH, "a push subscription")
    _only(subscription.cloud_storage_config, BUCKET, "a Cloud Storage subscription")
    if not subscription.ack_deadline_seconds:
        subscription.ack_deadline_seconds = ACK_DEADLINE_SECONDS
    _within("ack_deadline_seconds", subscription.ack_deadline_seconds, 10, 600)
    raw: Any = Subscription.pb(subscription)
    _check_times(raw)
    if raw.HasField("retry_policy"):
        _check_retries(raw.retry_policy)
    if raw.HasField("dead_letter_policy"):
        policy = raw.dead_letter_policy
        check_name(policy.dead_letter_topic, "topics")
        policy.max_delivery_attempts = policy.max_delivery_attempts or 5
        _within("max_delivery_attempts", policy.max_delivery_attempts, 5, 100)
    if raw.push_config.push_endpoint:
        parts = urlsplit(raw.push_config.push_endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise invalid(f"Invalid push endpoint given (endpoint={raw.push_config.push_endpoint}).")
    if raw.HasField("cloud_storage_config"):
        if raw.push_config.push_endpoint:
            raise invalid("push_config and cloud_storage_config cannot both be set.")
        _check_bucket(raw.cloud_storage_config)


def _check_times(raw: Any) -> None:  # noqa: ANN401 - a generated message
    if not raw.HasField("message_retention_duration"):
        raw.message_retention_duration.seconds = RETENTION_SECONDS
    _within("message_retention_duration", raw.message_retention_duration.ToSeconds(), 10 * _MINUTES, 31 * _DAY)
    if not raw.HasField("expiration_policy"):
        raw.expiration_policy.ttl.seconds = EXPIRY_SECONDS
    if raw.expiration_policy.HasField("ttl"):
        if raw.expiration_policy.ttl.ToSeconds() == 0:
            raw.expiration_policy.ClearField("ttl")
        else:
            ttl = raw.expiration_policy.ttl.ToSeconds()
            _within("expiration_policy.ttl", ttl, max(_DAY, raw.message_retention_duration.ToSeconds()), 365 * _DAY)


def _check_retries(policy: Any) -> None:  # noqa: ANN401 - a generated message
    for name, seconds in (("minimum_backoff", 10), ("maximum_backoff", 600)):
        if not policy.HasField(name):
            getattr(policy, name).seconds = seconds
        _within(name, getattr(policy, name).ToTimedelta().total_seconds(), 0, 600)
    if policy.maximum_backoff.ToTimedelta() < policy.minimum_backoff.ToTimedelta():
        raise invalid("The value for maximum_backoff is too small: it is below minimum_backoff.")


def _check_bucket(config: Any) -> None:  # noqa: ANN401 - a generated message
    if not config.bucket or config.bucket.startswith("gs://"):
        raise invalid(f"cloud_storage_config.bucket is {config.bucket!r}. Give a bucket's name without gs://.")
    if config.filename_suffix.endswith("/"):
        raise invalid('cloud_storage_config.filename_suffix must not end in "/".')
    if not config.HasField("text_config"):
        config.text_config.SetInParent()
    if not config.HasField("max_duration"):
        config.max_duration.seconds = BUCKET_SECONDS
    _within("cloud_storage_config.max_duration", config.max_duration.ToSeconds(), 60, 600)
    if config.max_bytes:
        _within("cloud_storage_config.max_bytes", config.max_bytes, 1000, 10 * 2**30)
    if config.max_messages:
        _within("cloud_storage_config.max_messages", config.max_messages, 1000, 2**62)
    if config.filename_datetime_format:
        check_datetime_format(config.filename_datetime_format)


def check_datetime_format(text: str) -> None:
    """https://cloud.google.com/pubsub/docs/create-cloudstorage-subscription#file_names."""
    left = text
    for part in ("YYYY", "MM", "DD", "hh", "mm", "ss"):
        if left.count(part) != 1:
            raise invalid(f"cloud_storage_config.filename_datetime_format is {text!r}. It needs {part} exactly once.")
        left = left.replace(part, "")
    if not re.fullmatch(r"[\-/:_.TZ ]*", left):
        raise invalid(
            f"cloud_storage_config.filename_datetime_format is {text!r}. Allowed besides YYYY, MM, DD, hh, mm and ss are "
            "separators: - / : _ . T Z"
        )


def check_message(message: Any) -> None:  # noqa: ANN401 - a generated message
    """Raises RefusedError unless a `PubsubMessage` may be published."""
    if message.ordering_key:
        raise unsupported("ordering keys (orderingKey of a message)")
    if not message.data and not message.attributes:
        raise invalid("Some messages are empty. One or more messages have neither data nor attributes.")
    if len(message.data) > _MOST_BYTES:
        raise invalid(f"The value for message_size is too large: {len(message.data)} bytes. At most {_MOST_BYTES}.")
    if len(message.attributes) > _MOST_ATTRIBUTES:
        raise invalid(f"A message has {len(message.attributes)} attributes. At most {_MOST_ATTRIBUTES}.")
    for key, value in message.attributes.items():
        if not 0 < len(key.encode()) <= _KEY_BYTES or key.startswith("goog"):
            raise invalid(f"The attribute's key {key[:40]!r} is not 1 to {_KEY_BYTES} bytes, or starts with goog.")
        if len(value.encode()) > _VALUE_BYTES:
            raise invalid(
                f"The value of the attribute {key!r} has {len(value.encode())} bytes. At most {_VALUE_BYTES}."
            )


def _only(message: Topic | Subscription | Any, allowed: Collection[str], where: str) -> None:  # noqa: ANN401 - generated
    raw: Any = type(message).pb(message)
    for declared, _ in raw.ListFields():
        if declared.name not in allowed:
            raise unsupported(f"{declared.name} of {where}")


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise invalid(f"The value for {name} is out of bounds: {value}. It must be from {least} to {most}.")
