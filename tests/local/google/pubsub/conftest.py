import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import uuid4

import grpc
import pytest
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from local.deploy.processes import CannotStartError, Guarded, free_port, wait_for_port

PROJECT = "projects/factory"


@dataclass(frozen=True)
class Service:
    """A Pub/Sub and the clients of it."""

    channel: grpc.Channel
    publisher: PublisherClient
    subscriber: SubscriberClient

    def topic(self) -> str:
        """A new one."""
        return self.publisher.create_topic(name=f"{PROJECT}/topics/t-{uuid4().hex[:12]}").name

    def name(self) -> str:
        """For a new subscription."""
        return f"{PROJECT}/subscriptions/s-{uuid4().hex[:12]}"

    def subscription(self, topic: str, **settings: object) -> str:
        """A new one of the topic."""
        return self.subscriber.create_subscription(request={"name": self.name(), "topic": topic, **settings}).name


@pytest.fixture(scope="session")
def google_address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """`host:port` of Google's own emulator, where it is installed."""
    for command in ("gcloud", "java"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not on PATH: Google's Pub/Sub emulator is compared only where it is installed")
    folder = tmp_path_factory.mktemp("emulator")
    port = free_port()
    address = f"127.0.0.1:{port}"
    process = Guarded(
        [
            "gcloud", "beta", "emulators", "pubsub", "start", "--quiet", "--project=local", f"--host-port={address}",
            f"--data-dir={folder}",
        ],
        log=folder / "log",
        env=os.environ | {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
    )  # fmt: skip
    try:
        wait_for_port(port, process, name="The Pub/Sub emulator")
    except CannotStartError as error:
        process.stop()
        pytest.skip(f"Google's Pub/Sub emulator does not start: {error}")
    yield address
    process.stop()


@pytest.fixture(scope="session", params=["local", "google"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """The local cloud's Pub/Sub, and Google's emulator."""
    address: str = request.getfixturevalue("pubsub_address" if request.param == "local" else "google_address")
    with ExitStack() as stack:
        yield clients(address, stack)


def clients(address: str, stack: ExitStack) -> Service:
    """Google's own clients of a Pub/Sub."""
    channel = stack.enter_context(grpc.insecure_channel(address))
    return Service(
        channel,
        PublisherClient(transport=PublisherGrpcTransport(channel=channel)),
        SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)),
    )
