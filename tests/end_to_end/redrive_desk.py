"""A person at the `redrive` command, and the dead letters of a local cloud."""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from google.api_core.exceptions import DeadlineExceeded
from google.cloud import storage
from google.pubsub_v1 import PublisherClient, PubsubMessage, SubscriberClient

from console.target import LOCAL_LOCK, LOCAL_STATE
from inspection.message import Prediction
from local.cloud import LocalCloud
from local.demo.samples import samples
from local.google.permissions import Binding

INSPECTION = str(Path(sys.executable).with_name("inspection"))
PICTURE = next(iter(samples(1, seed=41))).jpeg
SECONDS_TO_WAIT = 90
Answer = TypeVar("Answer")


def eventually(ask: Callable[[], Answer]) -> Answer:
    """What `ask` gives as soon as it gives something."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.3)
    return answer


class Desk:
    """Where the command is run: a folder whose local cloud is the one of the tests."""

    def __init__(self, cloud: LocalCloud, folder: Path, **addresses: str) -> None:
        """Where the local cloud's state would name other `addresses`, the command is told these."""
        self.cloud = cloud
        self._folder = folder
        line = cloud._home.parent  # pyright: ignore[reportPrivateUsage]
        (folder / LOCAL_LOCK).parent.mkdir(parents=True)
        (folder / LOCAL_LOCK).symlink_to(line / LOCAL_LOCK.name)
        state = json.loads((line / LOCAL_STATE.relative_to(".local")).read_text())
        (folder / LOCAL_STATE).parent.mkdir()
        (folder / LOCAL_STATE).write_text(json.dumps(state | addresses))

    def redrive(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [INSPECTION, "redrive", *arguments],
            cwd=self._folder,
            env=os.environ | {"COLUMNS": "300"},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def upload(self, name: str, data: bytes = PICTURE) -> storage.Blob:
        blob = self.cloud.storage_client().bucket(self.cloud.inbound_bucket).blob(name)
        blob.metadata = {"station": "7"}
        blob.upload_from_string(data, content_type="image/jpeg", if_generation_match=0)
        return blob

    def landed(self, name: str) -> storage.Blob | None:
        for blob in self.cloud.storage_client().list_blobs(self.cloud.prediction_bucket):
            if blob.name.endswith(f"/{name}"):
                return blob
        return None

    @contextmanager
    def without(self, role: str, account: str) -> Generator[None]:
        """The line without the bindings of a role to an account whose name contains this."""
        missing: list[Binding] = [
            binding for binding in self.cloud.permissions.bindings if binding.role == role and account in binding.member
        ]
        assert missing
        with self.cloud.without(*missing):
            yield


class DeadLetters:
    """What waits on either path, seen by another client than the command's."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._subscriptions: Mapping[str, str] = cloud.outputs["deadLetters"]
        self._subscriber = SubscriberClient()
        self._held: list[tuple[str, list[str]]] = []

    def wait_for(self, path: str, count: int) -> bool:
        """Whether there are so many, now or soon; they are given back."""
        held: list[str] = []
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while len(held) < count and time.monotonic() < deadline:
            with suppress(DeadlineExceeded):
                held += self._pull(path, timeout=10)
        self._give_back(path, held)
        return len(held) == count

    def put(self, path: str, *messages: PubsubMessage) -> None:
        """Dead letters, as if every attempt had failed."""
        topic = self._subscriber.get_subscription(subscription=self._subscriptions[path]).topic
        PublisherClient().publish(topic=topic, messages=list(messages))

    def hold(self, path: str) -> None:
        """Take one out of everybody else's sight."""
        pulled = self._subscriber.pull(subscription=self._subscriptions[path], max_messages=1, timeout=10)
        ids = [received.ack_id for received in pulled.received_messages]
        self._subscriber.modify_ack_deadline(
            subscription=self._subscriptions[path], ack_ids=ids, ack_deadline_seconds=600
        )
        self._held += [(path, ids)]

    def count(self) -> int:
        """How many there are now."""
        return sum(len(ids) for ids in self._all())

    def discard(self) -> None:
        for path, ids in self._held:
            self._give_back(path, ids)
        for _ in self._all(acknowledge=True):
            pass

    def _all(self, *, acknowledge: bool = False) -> Generator[list[str]]:
        for path, subscription in self._subscriptions.items():
            ids: list[str] = []
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                while some := self._pull(path, return_immediately=True):
                    ids += some
            if ids and acknowledge:
                self._subscriber.acknowledge(subscription=subscription, ack_ids=ids)
            self._give_back(path, ids)
            yield ids

    def _pull(self, path: str, *, return_immediately: bool = False, timeout: float = 10) -> list[str]:
        pulled = self._subscriber.pull(
            subscription=self._subscriptions[path],
            max_messages=100,
            return_immediately=return_immediately,
            timeout=timeout,
        )
        return [received.ack_id for received in pulled.received_messages]

    def _give_back(self, path: str, ids: list[str]) -> None:
        if ids:
            self._subscriber.modify_ack_deadline(
                subscription=self._subscriptions[path], ack_ids=ids, ack_deadline_seconds=0
            )


def prediction_of(name: str, generation: int, cloud: LocalCloud) -> PubsubMessage:
    unsure = Prediction(
        bucket_name=cloud.inbound_bucket,
        image_name=name,
        generation=generation,
        model="m",
        predicted_at="2026-11-21T08:30:00Z",
        prediction_label="ok",
        prediction_score=0.5,
        predictions={"ok": 0.5, "defect": 0.5},
    )
    return PubsubMessage(data=unsure.to_json())
