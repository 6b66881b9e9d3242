"""Subscriptions that Pub/Sub writes to a bucket."""

import json
import re
import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.pubsub_v1.types import Subscription, Topic

from local.google.http import serve
from local.google.pubsub.bucket_writer import AgentsBuckets, file_name
from local.google.pubsub.service import PubSub
from local.google.pubsub.store import Message
from local.google.rpc import RefusedError
from local.google.storage.server import storage_app
from local.google.storage.store import ObjectStore

TOPIC = "projects/factory/topics/predictions"
NAME = "projects/factory/subscriptions/journal"
CONFIG: dict[str, Any] = {
    "bucket": "journal",
    "filename_prefix": "predictions/",
    "filename_suffix": ".jsonl",
    "filename_datetime_format": "YYYY/MM/DD/hh_mm_ss",
    "max_bytes": 1000,
}


@pytest.fixture
def buckets(tmp_path: Path) -> Generator[storage.Client]:
    with ObjectStore(tmp_path / "storage") as store, serve(storage_app(store)) as server:
        client = storage.Client(
            project="factory", credentials=AnonymousCredentials(), client_options={"api_endpoint": server.url}
        )
        yield client


def written(buckets: storage.Client) -> dict[str, list[dict[str, int]]]:
    return {
        blob.name: [json.loads(line) for line in blob.download_as_text().splitlines()]
        for blob in buckets.list_blobs("journal")
    }


def test_messages_become_lines_of_files_and_are_then_acknowledged(buckets: storage.Client, tmp_path: Path) -> None:
    buckets.create_bucket("journal")
    with PubSub(tmp_path / "pubsub", buckets=AgentsBuckets(lambda: buckets)) as pubsub:
        pubsub.catalogue.create_topic(Topic(name=TOPIC))
        pubsub.catalogue.create_subscription(
            Subscription({"name": NAME, "topic": TOPIC, "cloud_storage_config": CONFIG})
        )
        known = pubsub.catalogue.subscription(NAME)
        for start in (0, 100):
            lines = [json.dumps({"number": number}).encode() for number in range(start, start + 100)]
            pubsub.broker.publish(TOPIC, [Message(data=line) for line in lines])
            ends = time.monotonic() + 30
            while pubsub.broker.count(known) and time.monotonic() < ends:
                time.sleep(0.05)
        assert pubsub.broker.count(known) == 0
    files = written(buckets)
    assert sorted(line["number"] for lines in files.values() for line in lines) == list(range(200))
    uuid = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    for name in files:
        assert re.fullmatch(rf"predictions/\d{{4}}/\d\d/\d\d/\d\d_\d\d_\d\d_{uuid}\.jsonl", name), name


def test_what_is_not_yet_in_a_file_is_written_after_a_restart(buckets: storage.Client, tmp_path: Path) -> None:
    buckets.create_bucket("journal")
    agents = AgentsBuckets(lambda: buckets)
    with PubSub(tmp_path / "pubsub", buckets=agents) as pubsub:
        pubsub.catalogue.create_topic(Topic(name=TOPIC))
        pubsub.catalogue.create_subscription(
            Subscription({"name": NAME, "topic": TOPIC, "cloud_storage_config": CONFIG})
        )
        pubsub.publish(TOPIC, b'{"number": 1}', {})
        time.sleep(0.3)
    assert written(buckets) == {}
    with PubSub(tmp_path / "pubsub", buckets=agents) as pubsub:
        pubsub.publish(TOPIC, json.dumps({"number": 2, "text": "x" * 1000}).encode(), {})
        known = pubsub.catalogue.subscription(NAME)
        ends = time.monotonic() + 30
        while pubsub.broker.count(known) and time.monotonic() < ends:
            time.sleep(0.05)
    assert sorted(line["number"] for lines in written(buckets).values() for line in lines) == [1, 2]


def test_a_bucket_that_does_not_exist_is_refused(buckets: storage.Client, tmp_path: Path) -> None:
    with PubSub(tmp_path / "pubsub", buckets=AgentsBuckets(lambda: buckets)) as pubsub:
        pubsub.catalogue.create_topic(Topic(name=TOPIC))
        with pytest.raises(RefusedError, match="journal does not exist"):
            pubsub.catalogue.create_subscription(
                Subscription({"name": NAME, "topic": TOPIC, "cloud_storage_config": CONFIG})
            )


def test_a_file_without_a_format_has_the_moment_in_its_name() -> None:
    subscription = Subscription({"cloud_storage_config": {"bucket": "journal", "filename_prefix": "log-"}})
    name = file_name(subscription, datetime(2026, 11, 26, 7, 5, 9, tzinfo=UTC))
    assert name.startswith("log-2026-11-26T07:05:09+00:00_")
