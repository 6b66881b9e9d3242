"""One picture's whole way, through the archives that would be deployed and the program that deploys them."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1, storage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from rich.console import Console

from inspection import layout
from local.cloud import LocalCloud
from local.demo.run import wait_for_landing
from local.demo.samples import samples
from tests.functions.slow_files import repeated_scans

pytestmark = pytest.mark.xdist_group("cloud")

Answer = TypeVar("Answer")
SECONDS_TO_WAIT = 60

NAMES_OF_ALL_KINDS = [
    "part #7.png",
    "line 1/shift 2/part?.jpg",
    "100%.jpg",
    "%23 is no hash.jpg",
    "'single' \"double\".jpg",
    "Prüfling größer.jpg",
    "検査/部品.jpg",
    "no extension",
    "a+b&c=d.jpg",
    "ü" * 500 + ".jpeg",  # 1,005 bytes: no room for the folder in front
]


def eventually(ask: Callable[[], Answer]) -> Answer:
    """What `ask` gives as soon as it gives something."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


def upload(cloud: LocalCloud, name: str, data: bytes, content_type: str = "image/jpeg") -> storage.Blob:
    blob = cloud.storage_client().bucket(cloud.inbound_bucket).blob(name)
    blob.metadata = {"station": "7"}
    blob.upload_from_string(data, content_type=content_type, if_generation_match=0)
    return blob


def landed(cloud: LocalCloud, name: str) -> storage.Blob | None:
    source = f"gs://{cloud.inbound_bucket}/{name}#"
    blobs = cloud.storage_client().list_blobs(cloud.prediction_bucket)
    found = [blob for blob in blobs if (blob.metadata or {})[layout.SOURCE].startswith(source)]
    assert len(found) <= 1, f"{name!r} landed more than once: {found}"
    return found[0] if found else None


def images_topic(cloud: LocalCloud) -> str:
    """The topic that the inbound bucket's notification publishes to: `projects/P/topics/T`."""
    (notification,) = cloud.storage_client().bucket(cloud.inbound_bucket).list_notifications()
    return f"projects/{notification.topic_project}/topics/{notification.topic_name}"


@pytest.fixture(scope="module")
def channel(cloud: LocalCloud) -> Generator[grpc.Channel]:
    with grpc.insecure_channel(cloud.pubsub_address) as channel:
        yield channel


@pytest.fixture
def publisher(channel: grpc.Channel) -> pubsub_v1.PublisherClient:
    return pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))


@pytest.fixture
def subscriber(channel: grpc.Channel) -> pubsub_v1.SubscriberClient:
    return pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


def test_every_picture_lands_once_with_its_bytes_and_what_the_model_said(cloud: LocalCloud) -> None:
    sent = {f"whole/{sample.name}": sample for sample in samples(24, seed=3)}
    for name, sample in sent.items():
        upload(cloud, name, sample.jpeg)

    folders = wait_for_landing(cloud, sent.keys(), Console(quiet=True))

    assert folders.keys() == sent.keys()
    assert set(folders.values()) <= {"ok", "defect", "unclear"}
    for name, sample in sent.items():
        picture = landed(cloud, name)
        assert picture is not None
        assert picture.name == f"{folders[name]}/{name}"
        assert picture.download_as_bytes() == sample.jpeg
        assert picture.content_type == "image/jpeg"
        metadata = picture.metadata or {}
        assert metadata["station"] == "7", "the camera's own metadata stays"
        sure = float(metadata[layout.PREDICTION_SCORE]) >= 0.8
        assert folders[name] == (metadata[layout.PREDICTION_LABEL] if sure else "unclear")
    still_inbound = cloud.storage_client().list_blobs(cloud.inbound_bucket, prefix="whole/")
    assert [blob.name for blob in still_inbound] == []
    right = sum(folders[name] == sample.label for name, sample in sent.items())
    wrong = sum(folders[name] not in {sample.label, "unclear"} for name, sample in sent.items())
    assert right > wrong


def test_names_of_all_kinds_are_handled_as_any_other(cloud: LocalCloud) -> None:
    pictures = dict(zip(NAMES_OF_ALL_KINDS, samples(len(NAMES_OF_ALL_KINDS), seed=4), strict=True))
    for name, sample in pictures.items():
        upload(cloud, name, sample.jpeg)

    folders = wait_for_landing(cloud, pictures.keys(), Console(quiet=True))

    assert folders.keys() == pictures.keys()
    for name, sample in pictures.items():
        picture = landed(cloud, name)
        assert picture is not None
        assert picture.name == layout.folder_name(folders[name], name)
        assert picture.download_as_bytes() == sample.jpeg


def test_what_is_no_picture_is_rejected_with_the_reason(cloud: LocalCloud) -> None:
    upload(cloud, "notes.txt", b"no picture at all", "text/plain")
    upload(cloud, "empty.jpg", b"")
    upload(cloud, "slow.jpg", repeated_scans(2_000, 40_000))

    for name in ("notes.txt", "empty.jpg", "slow.jpg"):
        rejected = eventually(lambda name=name: landed(cloud, name))
        assert rejected is not None
        assert rejected.name == f"rejected/{name}"
        assert (rejected.metadata or {})[layout.ERROR]
        if name == "slow.jpg":
            assert "takes too long to decode" in (rejected.metadata or {})[layout.ERROR]


def test_a_second_picture_of_the_same_name_overwrites_nothing(cloud: LocalCloud) -> None:
    first, second = (sample.jpeg for sample in samples(2, seed=5))
    upload(cloud, "twice.jpeg", first)
    moved = eventually(lambda: landed(cloud, "twice.jpeg"))
    assert moved is not None

    again = upload(cloud, "twice.jpeg", second)
    source = layout.source_uri(cloud.inbound_bucket, "twice.jpeg", again.generation or 0)
    bucket = cloud.storage_client()

    def both() -> dict[str, bytes]:
        found = [blob for blob in bucket.list_blobs(cloud.prediction_bucket) if "twice" in blob.name]
        return (
            {(blob.metadata or {})[layout.SOURCE]: blob.download_as_bytes() for blob in found} if len(found) > 1 else {}
        )

    contents = eventually(both)
    assert contents[source] == second
    assert sorted(contents.values()) == sorted([first, second])


def test_the_same_news_told_twice_changes_nothing(cloud: LocalCloud, publisher: pubsub_v1.PublisherClient) -> None:
    (sample,) = samples(1, seed=6)
    blob = upload(cloud, "duplicate.jpeg", sample.jpeg)
    resource = {"size": str(len(sample.jpeg)), "contentType": "image/jpeg"}
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": cloud.inbound_bucket,
        "objectId": "duplicate.jpeg",
        "objectGeneration": str(blob.generation),
    }
    for _ in range(5):
        publisher.publish(images_topic(cloud), json.dumps(resource).encode(), **attributes).result()

    picture = eventually(lambda: landed(cloud, "duplicate.jpeg"))
    assert picture is not None
    # A picture sent afterwards has overtaken nothing: when it is there, the duplicates have been worked off.
    upload(cloud, "after the duplicates.jpeg", sample.jpeg)
    assert eventually(lambda: landed(cloud, "after the duplicates.jpeg"))
    assert landed(cloud, "duplicate.jpeg") is not None


def test_a_message_that_nobody_can_read_is_kept_as_a_dead_letter(
    cloud: LocalCloud, publisher: pubsub_v1.PublisherClient, subscriber: pubsub_v1.SubscriberClient
) -> None:
    publisher.publish(images_topic(cloud), b"no notification of Cloud Storage").result()

    subscription = cloud.outputs["deadLetters"]["images"]

    def dead_letters() -> list[bytes]:
        try:
            pulled = subscriber.pull(subscription=subscription, max_messages=10, timeout=5).received_messages
        except DeadlineExceeded:  # Pub/Sub answers once there is a message
            return []
        # Otherwise it would come back in the middle of another test.
        subscriber.acknowledge(subscription=subscription, ack_ids=[received.ack_id for received in pulled])
        return [received.message.data for received in pulled]

    assert eventually(dead_letters) == [b"no notification of Cloud Storage"]


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="the Google Cloud CLI is not on PATH")
def test_a_picture_copied_with_gcloud_lands(cloud: LocalCloud, tmp_path: Path) -> None:
    (sample,) = samples(1, seed=8)
    picture = tmp_path / "by gcloud #1.jpeg"
    picture.write_bytes(sample.jpeg)
    env = os.environ | {
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{cloud.storage_url}/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": cloud.project,
    }
    copy = ["gcloud", "storage", "cp", str(picture), f"gs://{cloud.inbound_bucket}/"]
    subprocess.run(copy, env=env, check=True, capture_output=True)

    moved = eventually(lambda: landed(cloud, picture.name))
    assert moved is not None
    assert moved.download_as_bytes() == sample.jpeg
