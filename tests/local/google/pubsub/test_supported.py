"""What the local cloud's Pub/Sub refuses, and by which name."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument, MethodNotImplemented
from google.pubsub_v1 import PubsubMessage

from tests.local.google.pubsub.conftest import PROJECT, Service, clients


@pytest.fixture(scope="module")
def local(pubsub_address: str) -> Generator[Service]:
    with ExitStack() as stack:
        yield clients(pubsub_address, stack)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"filter": 'attributes.a = "b"'}, "filter"),
        ({"enable_message_ordering": True}, "enable_message_ordering"),
        ({"enable_exactly_once_delivery": True}, "enable_exactly_once_delivery"),
        ({"retain_acked_messages": True}, "retain_acked_messages"),
        ({"bigquery_config": {"table": "a.b.c"}}, "bigquery_config"),
        ({"push_config": {"push_endpoint": "http://127.0.0.1:1/", "no_wrapper": {}}}, "no_wrapper"),
        ({"push_config": {"push_endpoint": "http://127.0.0.1:1/", "attributes": {"a": "b"}}}, "attributes"),
        ({"cloud_storage_config": {"bucket": "journal", "avro_config": {}}}, "avro_config"),
        ({"cloud_storage_config": {"bucket": "journal"}}, "no Cloud Storage"),
    ],
)
def test_a_subscription_that_needs_what_is_unsupported_is_refused_by_name(
    local: Service, settings: dict[str, Any], name: str
) -> None:
    with pytest.raises(MethodNotImplemented, match=name):
        local.subscription(local.topic(), **settings)


_REQUESTS: list[tuple[Callable[[Service, str], object], str]] = [
    (
        lambda service, topic: service.publisher.publish(
            topic=topic, messages=[PubsubMessage(data=b"x", ordering_key="k")]
        ),
        "orderingKey",
    ),
    (
        lambda service, _: service.publisher.create_topic(
            request={"name": f"{PROJECT}/topics/kept", "message_retention_duration": {"seconds": 3600}}
        ),
        "message_retention_duration",
    ),
    (
        lambda service, topic: service.subscriber.update_subscription(
            request={
                "subscription": {"name": service.subscription(topic), "filter": "x"},
                "update_mask": {"paths": ["filter"]},
            }
        ),
        "filter",
    ),
    (lambda service, topic: service.subscriber.seek(request={"subscription": service.subscription(topic)}), "seek"),
    (lambda service, _: service.subscriber.list_snapshots(project=PROJECT), "snapshots"),
    (
        lambda service, topic: service.publisher.set_iam_policy(request={"resource": topic, "policy": {}}),
        "Pulumi program",
    ),
]


@pytest.mark.parametrize(("call", "name"), _REQUESTS)
def test_a_request_that_is_unsupported_is_refused_by_name(
    local: Service, call: Callable[[Service, str], object], name: str
) -> None:
    with pytest.raises(MethodNotImplemented, match=name):
        call(local, local.topic())


@pytest.mark.parametrize(
    "message",
    [
        PubsubMessage(data=bytes(10_000_001)),
        PubsubMessage(attributes={str(number): "x" for number in range(101)}),
        PubsubMessage(attributes={"k" * 257: "x"}),
        PubsubMessage(attributes={"k": "x" * 1025}),
        PubsubMessage(attributes={"googclient": "x"}),
    ],
)
def test_googles_limits_of_a_message_hold(local: Service, message: PubsubMessage) -> None:
    topic = local.topic()
    subscription = local.subscription(topic)
    with pytest.raises(InvalidArgument):
        local.publisher.publish(topic=topic, messages=[PubsubMessage(data=b"good"), message])
    with pytest.warns(DeprecationWarning, match="return_immediately"):
        answer = local.subscriber.pull(
            request={"subscription": subscription, "max_messages": 10, "return_immediately": True}
        )
    assert not answer.received_messages, "all or nothing"


@pytest.mark.parametrize(
    "settings",
    [
        {"ack_deadline_seconds": 9},
        {"message_retention_duration": {"days": 32}},
        {"expiration_policy": {"ttl": {"seconds": 3600}}},
        {"dead_letter_policy": {"max_delivery_attempts": 4}},
        {"dead_letter_policy": {"max_delivery_attempts": 101}},
        {"cloud_storage_config": {"bucket": "gs://journal"}},
        {"cloud_storage_config": {"bucket": "journal", "max_duration": {"seconds": 59}}},
        {"cloud_storage_config": {"bucket": "journal", "max_bytes": 999}},
        {"cloud_storage_config": {"bucket": "journal", "filename_suffix": ".jsonl/"}},
        {"cloud_storage_config": {"bucket": "journal", "filename_datetime_format": "YYYY-MM-DD"}},
        {"cloud_storage_config": {"bucket": "journal", "filename_datetime_format": "YYYY-MM-DD hh:mm:ss of"}},
    ],
)
def test_googles_limits_of_a_subscription_hold(local: Service, settings: dict[str, Any]) -> None:
    topic = local.topic()
    if "dead_letter_policy" in settings:
        settings["dead_letter_policy"]["dead_letter_topic"] = topic
    if (kept := settings.get("message_retention_duration", {})).get("days"):
        kept["seconds"] = kept.pop("days") * 24 * 3600
    with pytest.raises(InvalidArgument):
        local.subscription(topic, **settings)


def test_what_pubsub_delivers_itself_is_not_pulled(local: Service) -> None:
    subscription = local.subscription(local.topic(), push_config={"push_endpoint": "http://127.0.0.1:1/"})
    with pytest.raises(InvalidArgument, match="not a pull subscription"):
        local.subscriber.pull(subscription=subscription, max_messages=1)
