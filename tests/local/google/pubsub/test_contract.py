"""What Google's own client finds at the local cloud's Pub/Sub, and at Google's emulator where that is installed."""

import http.server
import json
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Generator
from queue import Queue
from typing import Any

import pytest
from google.api_core.exceptions import AlreadyExists, InvalidArgument, NotFound
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message
from google.pubsub_v1 import PubsubMessage
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PullRequest, ReceivedMessage

from tests.local.google.pubsub.conftest import PROJECT, Service

pytestmark = pytest.mark.xdist_group("pubsub contract")

SECONDS_TO_WAIT = 20
Call = Callable[[Service, str], object]
"""Of a service and a topic that exists."""


def pull(service: Service, subscription: str, count: int = 1) -> list[ReceivedMessage]:
    """So many messages, or those that have come until nothing more is waited for."""
    found: list[ReceivedMessage] = []
    ends = time.monotonic() + SECONDS_TO_WAIT
    while len(found) < count and time.monotonic() < ends:
        found += pull_now(service, subscription)
    return found


def pull_now(service: Service, subscription: str) -> list[ReceivedMessage]:
    request = PullRequest(subscription=subscription, max_messages=100, return_immediately=True)
    with pytest.warns(DeprecationWarning, match="return_immediately"):
        answer = service.subscriber.pull(request)
    time.sleep(0.05)
    return list(answer.received_messages)


def publish(service: Service, topic: str, *data: bytes) -> list[str]:
    return list(service.publisher.publish(topic=topic, messages=[PubsubMessage(data=one) for one in data]).message_ids)


def test_a_message_arrives_once_at_each_subscription_as_it_was_published(service: Service) -> None:
    topic = service.topic()
    publish(service, topic, b"lost: there is no subscription yet")
    subscriptions = [service.subscription(topic) for _ in range(2)]
    message = PubsubMessage(data=b"\x00\xff", attributes={"eventType": "OBJECT_FINALIZE"})
    ids = service.publisher.publish(topic=topic, messages=[message, PubsubMessage(attributes={"a": "b"})]).message_ids
    for subscription in subscriptions:
        first, second = sorted(pull(service, subscription, 2), key=lambda one: int(one.message.message_id))
        assert [first.message.message_id, second.message.message_id] == list(ids)
        assert first.message.data == b"\x00\xff"
        assert dict(first.message.attributes) == {"eventType": "OBJECT_FINALIZE"}
        assert dict(second.message.attributes) == {"a": "b"}
        published: Any = first.message.publish_time
        assert abs(published.timestamp() - time.time()) < 60
        service.subscriber.acknowledge(subscription=subscription, ack_ids=[first.ack_id, second.ack_id])
        service.subscriber.acknowledge(subscription=subscription, ack_ids=[first.ack_id])
        assert pull_now(service, subscription) == []


def test_a_refused_message_comes_again_and_its_old_ack_id_is_worth_nothing(service: Service) -> None:
    topic = service.topic()
    subscription = service.subscription(topic)
    publish(service, topic, b"x")
    (first,) = pull(service, subscription)
    assert pull_now(service, subscription) == [], "it is leased"
    service.subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    service.subscriber.acknowledge(subscription=subscription, ack_ids=[first.ack_id])
    (second,) = pull(service, subscription)
    assert second.message == first.message
    assert second.ack_id != first.ack_id
    service.subscriber.acknowledge(subscription=subscription, ack_ids=[second.ack_id])
    assert pull_now(service, subscription) == []


def test_a_lease_that_runs_out_or_was_extended_counts_from_when_it_was_set(service: Service) -> None:
    topic = service.topic()
    subscription = service.subscription(topic)
    publish(service, topic, b"short", b"long")
    leases = {one.message.data: one.ack_id for one in pull(service, subscription, 2)}
    for data, seconds in ((b"short", 1), (b"long", 60)):
        service.subscriber.modify_ack_deadline(
            subscription=subscription, ack_ids=[leases[data]], ack_deadline_seconds=seconds
        )
    assert [one.message.data for one in pull(service, subscription)] == [b"short"]


def test_pull_waits_for_a_message(service: Service) -> None:
    topic = service.topic()
    subscription = service.subscription(topic)
    timer = threading.Timer(0.5, publish, (service, topic, b"late"))
    timer.start()
    answer = service.subscriber.pull(subscription=subscription, max_messages=1, timeout=SECONDS_TO_WAIT)
    timer.join()
    assert [one.message.data for one in answer.received_messages] == [b"late"]


def test_a_streaming_pull_hands_out_no_more_than_its_subscriber_takes(service: Service) -> None:
    topic = service.topic()
    subscription = service.subscription(topic)
    publish(service, topic, *(str(number).encode() for number in range(30)))
    transport = SubscriberGrpcTransport(channel=service.channel)
    client = pubsub_v1.SubscriberClient(transport=transport)
    at_work = 0
    peak = 0
    refused = threading.Event()
    lock = threading.Lock()
    done: Queue[bytes] = Queue()

    def work(message: Message) -> None:
        nonlocal at_work, peak
        with lock:
            at_work += 1
            peak = max(peak, at_work)
        time.sleep(0.01)
        with lock:
            at_work -= 1
        if message.data == b"7" and not refused.is_set():
            refused.set()
            message.nack()
        else:
            message.ack()
            done.put(message.data)

    future = client.subscribe(subscription, work, flow_control=pubsub_v1.types.FlowControl(max_messages=4))
    try:
        received = {int(done.get(timeout=SECONDS_TO_WAIT)) for _ in range(30)}
    finally:
        future.cancel()
        future.result(SECONDS_TO_WAIT)
    assert received == set(range(30))
    assert refused.is_set()
    assert peak <= 4
    assert pull_now(service, subscription) == []


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Keeps what is pushed, refuses the first."""

    pushes: Queue[dict[str, Any]]
    refused: threading.Event

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(204 if self.refused.is_set() else 503)
        self.refused.set()
        self.end_headers()
        self.pushes.put(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def endpoint() -> Generator[tuple[str, "Queue[dict[str, Any]]"]]:
    pushes: Queue[dict[str, Any]] = Queue()
    handler = type("Handler", (Endpoint,), {"pushes": pushes, "refused": threading.Event()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/", pushes
        server.shutdown()


def test_a_push_is_tried_until_the_endpoint_takes_it(
    service: Service, endpoint: tuple[str, "Queue[dict[str, Any]]"]
) -> None:
    address, pushes = endpoint
    topic = service.topic()
    subscription = service.subscription(topic, push_config={"push_endpoint": address})
    (identifier,) = service.publisher.publish(
        topic=topic, messages=[PubsubMessage(data=b"x", attributes={"a": "b"})]
    ).message_ids
    for _ in range(2):
        push = pushes.get(timeout=SECONDS_TO_WAIT)
        assert push["subscription"] == subscription
        assert b64decode(push["message"]["data"]) == b"x"
        assert push["message"]["attributes"] == {"a": "b"}
        assert push["message"]["messageId"] == push["message"]["message_id"] == identifier
        assert push["message"]["publishTime"] == push["message"]["publish_time"]
    time.sleep(1.5)
    assert pushes.empty()
    service.subscriber.delete_subscription(subscription=subscription)


def test_after_its_last_attempt_a_message_is_a_dead_letter_with_its_attributes(service: Service) -> None:
    topic, dead = service.topic(), service.topic()
    letters = service.subscription(dead)
    subscription = service.subscription(
        topic, dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5}
    )
    service.publisher.publish(topic=topic, messages=[PubsubMessage(data=b"poison", attributes={"a": "b"})])
    for attempt in range(1, 6):
        (one,) = pull(service, subscription)
        assert one.delivery_attempt == attempt
        service.subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[one.ack_id], ack_deadline_seconds=0)
    # Forwarding may wait until somebody looks.
    ends = time.monotonic() + SECONDS_TO_WAIT
    found: list[ReceivedMessage] = []
    while not found and time.monotonic() < ends:
        assert pull_now(service, subscription) == []
        found = pull_now(service, letters)
    (letter,) = found
    assert letter.message.data == b"poison"
    attributes = dict(letter.message.attributes)
    assert attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert attributes == {
        "a": "b",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": subscription.rpartition("/")[2],
        "CloudPubSubDeadLetterSourceSubscriptionProject": "factory",
    }


def test_settings_come_back_with_defaults_and_can_be_changed(service: Service) -> None:
    topic = service.topic()
    name = service.subscription(topic, retry_policy={}, labels={"part": "predict"})
    found = service.subscriber.get_subscription(subscription=name)
    assert (found.topic, found.ack_deadline_seconds, dict(found.labels)) == (topic, 10, {"part": "predict"})
    kept: Any = found.message_retention_duration
    assert kept.total_seconds() == 7 * 24 * 3600
    backoff: list[Any] = [found.retry_policy.minimum_backoff, found.retry_policy.maximum_backoff]
    assert [pause.total_seconds() for pause in backoff] == [10, 600]
    changed = service.subscriber.update_subscription(
        request={
            "subscription": {"name": name, "ack_deadline_seconds": 30, "labels": {"not": "named"}},
            "update_mask": {"paths": ["ack_deadline_seconds"]},
        }
    )
    assert changed.ack_deadline_seconds == 30
    assert dict(service.subscriber.get_subscription(subscription=name).labels) == {"part": "predict"}
    assert list(service.publisher.list_topic_subscriptions(topic=topic)) == [name]
    service.publisher.delete_topic(topic=topic)
    assert service.subscriber.get_subscription(subscription=name).topic == "_deleted-topic_"


def test_lists_come_in_pages(service: Service) -> None:
    topics = {service.topic() for _ in range(3)}
    pages = service.publisher.list_topics(request={"project": PROJECT, "page_size": 2})
    assert topics <= {topic.name for topic in pages}
    subscriptions = {service.subscription(topic) for topic in topics}
    assert subscriptions <= {
        one.name for one in service.subscriber.list_subscriptions(request={"project": PROJECT, "page_size": 2})
    }


MISSING_TOPIC = f"{PROJECT}/topics/missing"
MISSING = f"{PROJECT}/subscriptions/missing"


_NOT_FOUND: list[Call] = [
    lambda service, _: service.publisher.get_topic(topic=MISSING_TOPIC),
    lambda service, _: service.publisher.delete_topic(topic=MISSING_TOPIC),
    lambda service, _: publish(service, MISSING_TOPIC, b"x"),
    lambda service, _: service.subscription(MISSING_TOPIC),
    lambda service, topic: service.subscription(topic, dead_letter_policy={"dead_letter_topic": MISSING_TOPIC}),
    lambda service, _: service.subscriber.get_subscription(subscription=MISSING),
    lambda service, _: service.subscriber.delete_subscription(subscription=MISSING),
    lambda service, _: service.subscriber.pull(subscription=MISSING, max_messages=1),
    lambda service, _: service.subscriber.acknowledge(subscription=MISSING, ack_ids=["x"]),
]


@pytest.mark.parametrize("call", _NOT_FOUND)
def test_what_does_not_exist_is_not_found(service: Service, call: Call) -> None:
    with pytest.raises(NotFound):
        call(service, service.topic())


def test_a_name_is_taken_once(service: Service) -> None:
    topic = service.topic()
    subscription = service.subscription(topic)
    with pytest.raises(AlreadyExists):
        service.publisher.create_topic(name=topic)
    with pytest.raises(AlreadyExists):
        service.subscriber.create_subscription(name=subscription, topic=topic)


_INVALID: list[Call] = [
    lambda service, _: service.publisher.create_topic(name=f"{PROJECT}/topics/a"),
    lambda service, _: service.publisher.create_topic(name=f"{PROJECT}/topics/google-news"),
    lambda service, _: service.publisher.create_topic(name="news"),
    lambda service, topic: service.publisher.publish(topic=topic, messages=[]),
    lambda service, topic: publish(service, topic, b""),
    lambda service, topic: service.subscription(topic, ack_deadline_seconds=601),
    lambda service, topic: service.subscription(topic, message_retention_duration={"seconds": 599}),
    lambda service, topic: service.subscription(topic, retry_policy={"maximum_backoff": {"seconds": 601}}),
    lambda service, topic: service.subscription(
        topic, retry_policy={"minimum_backoff": {"seconds": 60}, "maximum_backoff": {"seconds": 10}}
    ),
    lambda service, topic: service.subscription(topic, push_config={"push_endpoint": "nowhere"}),
    lambda service, topic: service.subscriber.pull(subscription=service.subscription(topic), max_messages=0),
    lambda service, topic: service.subscriber.acknowledge(
        subscription=service.subscription(topic), ack_ids=["made-up"]
    ),
    lambda service, topic: service.subscriber.update_subscription(
        request={"subscription": {"name": service.subscription(topic)}, "update_mask": {"paths": ["topic"]}}
    ),
    lambda service, topic: service.subscriber.update_subscription(
        request={"subscription": {"name": service.subscription(topic)}, "update_mask": {}}
    ),
]


@pytest.mark.parametrize("call", _INVALID)
def test_what_is_not_allowed_is_an_invalid_argument(service: Service, call: Call) -> None:
    with pytest.raises(InvalidArgument):
        call(service, service.topic())
