"""Pushes: their pauses, their number at once, their dead letters; and that nothing is lost when everything dies."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.pubsub_v1.types import Subscription, Topic

from local.google.pubsub.push import FIRST_AT_ONCE, MOST_AT_ONCE, Push
from local.google.pubsub.service import PubSub
from local.google.pubsub.store import Backoff, Message

TOPIC = "projects/factory/topics/images"
NAME = "projects/factory/subscriptions/images"
LETTERS = "projects/factory/topics/letters"
SECONDS_TO_WAIT = 30


def eventually(ask: Callable[[], object]) -> bool:
    ends = time.monotonic() + SECONDS_TO_WAIT
    while not (answer := ask()) and time.monotonic() < ends:
        time.sleep(0.02)
    return bool(answer)


def declare(pubsub: PubSub, **settings: object) -> None:
    for topic in (TOPIC, LETTERS):
        pubsub.catalogue.create_topic(Topic(name=topic))
    pubsub.catalogue.create_subscription(Subscription(name="projects/factory/subscriptions/letters", topic=LETTERS))
    push = {"push_endpoint": "http://127.0.0.1:1/"}
    pubsub.catalogue.create_subscription(Subscription({"name": NAME, "topic": TOPIC, "push_config": push, **settings}))


def waiting(pubsub: PubSub, name: str = NAME) -> int:
    return pubsub.broker.count(pubsub.catalogue.subscription(name))


class Endpoint:
    """Answers pushes, and remembers when each came."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.came: list[float] = []
        self.bodies: list[dict[str, Any]] = []
        self.at_once = 0
        self.peak = 0
        self.hold = threading.Event()
        self.hold.set()
        self._lock = threading.Lock()

    def __call__(self, push: Push) -> int:
        with self._lock:
            self.came.append(time.monotonic())
            self.bodies.append(json.loads(push.body))
            self.at_once += 1
            self.peak = max(self.peak, self.at_once)
        self.hold.wait(SECONDS_TO_WAIT)
        with self._lock:
            self.at_once -= 1
        return self.status


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (8, 600), (5000, 600)])
def test_the_pause_doubles_from_the_minimum_to_the_maximum(attempt: int, seconds: float) -> None:
    assert Backoff(minimum=10, maximum=600).after(attempt) == seconds


def test_the_declared_retry_policy_counts_between_attempts(tmp_path: Path) -> None:
    endpoint = Endpoint(503)
    with PubSub(tmp_path, send=endpoint) as pubsub:
        declare(
            pubsub, retry_policy={"minimum_backoff": {"nanos": 300_000_000}, "maximum_backoff": {"nanos": 600_000_000}}
        )
        pubsub.publish(TOPIC, b"x", {})
        assert eventually(lambda: len(endpoint.came) >= 4)
    pauses = [after - before for before, after in zip(endpoint.came, endpoint.came[1:], strict=False)]
    for pause, least in zip(pauses, (0.3, 0.6, 0.6), strict=False):
        assert pause >= least - 0.01


def test_many_messages_that_fail_together_all_become_dead_letters_after_their_attempts(tmp_path: Path) -> None:
    endpoint = Endpoint(503)
    with PubSub(tmp_path, send=endpoint) as pubsub:
        declare(
            pubsub,
            retry_policy={"minimum_backoff": {}, "maximum_backoff": {"nanos": 50_000_000}},
            dead_letter_policy={"dead_letter_topic": LETTERS, "max_delivery_attempts": 5},
        )
        pubsub.broker.publish(TOPIC, [Message(data=str(number).encode()) for number in range(200)])
        assert eventually(lambda: waiting(pubsub, "projects/factory/subscriptions/letters") == 200)
        assert waiting(pubsub) == 0
    attempts = Counter(body["message"]["messageId"] for body in endpoint.bodies)
    assert set(attempts.values()) == {5}
    by_message: dict[str, list[int]] = {}
    for body in endpoint.bodies:
        by_message.setdefault(body["message"]["messageId"], []).append(body["deliveryAttempt"])
    assert all(sorted(counted) == [1, 2, 3, 4, 5] for counted in by_message.values())


def test_without_the_agents_permissions_delivery_goes_on_and_nothing_is_forwarded(tmp_path: Path) -> None:
    endpoint = Endpoint(503)
    with PubSub(tmp_path, send=endpoint, agent="agent@example.com") as pubsub:
        declare(
            pubsub,
            retry_policy={"minimum_backoff": {}, "maximum_backoff": {}},
            dead_letter_policy={"dead_letter_topic": LETTERS, "max_delivery_attempts": 5},
        )
        pubsub.publish(TOPIC, b"x", {})
        assert eventually(lambda: len(endpoint.came) > 7)
        assert waiting(pubsub, "projects/factory/subscriptions/letters") == 0


def test_a_subscription_without_dead_letters_says_nothing_of_attempts(tmp_path: Path) -> None:
    endpoint = Endpoint()
    with PubSub(tmp_path, send=endpoint) as pubsub:
        declare(pubsub)
        pubsub.publish(TOPIC, b"x", {})
        assert eventually(lambda: endpoint.bodies)
    assert "deliveryAttempt" not in endpoint.bodies[0]


def test_the_pushes_at_once_start_small_and_grow_with_success(tmp_path: Path) -> None:
    endpoint = Endpoint()
    endpoint.hold.clear()
    with PubSub(tmp_path, send=endpoint) as pubsub:
        declare(pubsub)
        pubsub.broker.publish(TOPIC, [Message(data=b"x") for _ in range(500)])
        assert eventually(lambda: endpoint.at_once == FIRST_AT_ONCE)
        time.sleep(0.2)
        assert endpoint.peak == FIRST_AT_ONCE
        endpoint.hold.set()
        assert eventually(lambda: waiting(pubsub) < 400)
        endpoint.hold.clear()
        assert eventually(lambda: endpoint.at_once == MOST_AT_ONCE)
        endpoint.hold.set()
        assert eventually(lambda: waiting(pubsub) == 0)
    assert len(endpoint.bodies) == 500, "each once"


_WRITER = """
import sys, time
from pathlib import Path
from local.google.pubsub.service import PubSub
from tests.local.google.pubsub.test_push import TOPIC, declare
pubsub = PubSub(Path(sys.argv[1]), send=lambda push: time.sleep(60))
declare(pubsub)
for number in range(100000):
    pubsub.publish(TOPIC, str(number).encode(), {"number": str(number)})
    print(number, flush=True)
"""


def test_what_was_published_before_a_kill_is_delivered_after_the_next_start(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 300:
            process.kill()
            break
    # What was said to be published, up to the very last moment.
    last = max([300, *(int(line) for line in process.stdout if line.endswith("\n"))])
    process.wait()
    endpoint = Endpoint()
    with PubSub(tmp_path, send=endpoint) as pubsub:
        assert eventually(lambda: waiting(pubsub) == 0), "those too that were being pushed at the time"
    found = {int(body["message"]["attributes"]["number"]) for body in endpoint.bodies}
    assert set(range(last + 1)) <= found
    assert len(endpoint.bodies) == len(found)


def test_an_acknowledged_message_leaves_nothing_on_disk(tmp_path: Path) -> None:
    with PubSub(tmp_path, send=Endpoint()) as pubsub:
        declare(pubsub)
        size = 0
        for round_ in range(4):
            pubsub.broker.publish(TOPIC, [Message(data=bytes(1000)) for _ in range(1000)])
            assert eventually(lambda: waiting(pubsub) == 0)
            grown = (tmp_path / "messages.sqlite").stat().st_size
            assert round_ < 2 or grown <= size * 1.5
            size = max(size, grown)
