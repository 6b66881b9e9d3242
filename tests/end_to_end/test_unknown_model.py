"""A stack whose model nobody deployed: the line runs, and no other model answers in its place."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from local.cloud import SAMPLE_MODEL, LocalCloud
from local.demo.samples import samples

SECONDS_TO_WAIT = 60


@pytest.mark.parametrize(
    ("model_id", "answer"),
    [
        ("ICN404", "The model projects/local-factory/locations/us-central1/models/ICN404 does not exist."),
        (
            "projects/local-factory/locations/europe-west4/endpoints/404",
            "Endpoint projects/local-factory/locations/europe-west4/endpoints/404 does not exist.",
        ),
    ],
    ids=["AutoML Vision", "Vertex AI"],
)
def test_an_image_becomes_a_dead_letter_where_its_model_is_not_found(
    tmp_path: Path, model_id: str, answer: str
) -> None:
    said: list[str] = []
    home = tmp_path / "cloud"
    with LocalCloud(home, config={"modelId": model_id}, trained=tmp_path / "trained") as cloud:
        cloud.start(said.append)
        [line] = [line for line in said if "modelId" in line]
        assert model_id in line
        assert f"is not deployed here, so every image becomes a dead letter, as at Google; {SAMPLE_MODEL}" in line
        (sample,) = samples(1, seed=9)
        client = cloud.storage_client()
        client.bucket(cloud.inbound_bucket).blob("a.jpeg").upload_from_string(sample.jpeg, content_type="image/jpeg")
        assert dead_letters(cloud) == ["a.jpeg"]
        assert [blob.name for blob in client.list_blobs(cloud.inbound_bucket)] == ["a.jpeg"]
        assert list(client.list_blobs(cloud.prediction_bucket)) == []
    assert answer in "".join(file.read_text() for file in home.glob("*predict*.log")), "and the log says why"


def dead_letters(cloud: LocalCloud) -> Sequence[str]:
    """The names of the images among the dead letters, as soon as there are any."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    with grpc.insecure_channel(cloud.pubsub_address) as channel:
        subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        while time.monotonic() < deadline:
            subscription = cloud.outputs["deadLetters"]["images"]
            with suppress(DeadlineExceeded):  # Pub/Sub answers once there is a message
                pulled = subscriber.pull(subscription=subscription, max_messages=10, timeout=5).received_messages
                return [received.message.attributes["objectId"] for received in pulled]
    return []
