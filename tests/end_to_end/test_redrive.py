"""`inspection redrive` as a user runs it, beside a running line that has lost what it should deliver."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TypeVar

import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import storage
from google.pubsub_v1 import PublisherClient, PubsubMessage, SubscriberClient
from starlette.applications import Starlette

from console.target import LOCAL_LOCK, LOCAL_STATE
from inspection import layout
from inspection.message import Prediction
from local.cloud import LocalCloud
from local.demo.samples import samples
from local.google.gate import ApiError, Call, Gate, RequestLog
from local.google.http import serve
from local.google.logs import log_routes
from local.google.permissions import PUBLISH, Binding
from local.google.pubsub.rpc import PubSubHandler
from local.google.rpc import RunningGrpcServer

pytestmark = pytest.mark.xdist_group("redrive")

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


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Generator[LocalCloud]:
    """A line of its own: what other tests leave among the dead letters would be counted here."""
    with LocalCloud(tmp_path_factory.mktemp("line") / ".local" / "cloud") as running:
        running.start(print)
        yield running


@pytest.fixture
def desk(cloud: LocalCloud, tmp_path: Path) -> Desk:
    return Desk(cloud, tmp_path)


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


@pytest.fixture
def letters(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Generator[DeadLetters]:
    """None at first, and none afterwards."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", cloud.pubsub_address)
    letters = DeadLetters(cloud)
    letters.discard()
    yield letters
    letters.discard()


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


def test_a_picture_whose_model_was_away_is_shown_then_sent_again_and_lands(desk: Desk, letters: DeadLetters) -> None:
    name = "while the model was away.jpeg"
    malformed = PubsubMessage(data=b"{}", attributes={"objectId": "\x1b[2J"})
    with desk.without("roles/automl.predictor", "predict"):
        sent = desk.upload(name)
        PublisherClient().publish(topic=desk.cloud.outputs["topics"]["images"], messages=[malformed] * 10)
        assert letters.wait_for("images", 11), "all that fail at once are given up after five attempts"

    shown = desk.redrive()

    assert shown.returncode == 1, shown.stderr
    assert name in shown.stdout
    assert "predict failed in 5 attempts: Asking the AutoML Vision model" in shown.stdout, "its own words"
    assert "was refused (403)" in shown.stdout
    assert "roles/automl.predictor" in shown.stdout, "what to check is not cut off"
    assert "It is tried again" not in shown.stdout, "it is not"
    assert "predict.log" in shown.stdout
    assert "malformed: the field 'eventType' is missing; the message has ['objectId']" in shown.stdout
    assert "\x1b" not in shown.stdout, "a name must not command the terminal"
    assert "Send 1 again: pass --yes" in shown.stdout
    assert letters.wait_for("images", 11), "nothing is taken away"
    assert desk.landed(name) is None, "nothing is sent"

    done = desk.redrive("--yes")

    assert "1 sent again, 0 discarded, 10 left" in done.stdout, done.stderr
    assert done.returncode == 1, "a malformed message stays"
    assert letters.wait_for("images", 10)
    picture = eventually(lambda: desk.landed(name))
    assert picture is not None
    source = layout.source_uri(desk.cloud.inbound_bucket, name, sent.generation or 0)
    assert (picture.metadata or {})[layout.SOURCE] == source

    assert desk.redrive("--yes", "--discard-malformed").returncode == 0
    assert letters.count() == 0


def test_a_prediction_that_move_could_not_file_is_sent_again(desk: Desk, letters: DeadLetters) -> None:
    with desk.without("roles/storage.objectCreator", "move"):
        desk.upload("not filed.jpeg")
        assert letters.wait_for("predictions", 1)
    done = desk.redrive("--yes")
    assert done.returncode == 0, done.stderr
    assert "move failed in 5 attempts: Copying gs://" in done.stdout
    assert eventually(lambda: desk.landed("not filed.jpeg"))
    assert letters.count() == 0


def test_a_picture_whose_pushes_reached_nobody_says_so(desk: Desk, letters: DeadLetters) -> None:
    with desk.without("roles/run.invoker", "push"):
        desk.upload("pushed at a closed door.jpeg")
        assert letters.wait_for("images", 1)
    done = desk.redrive("--yes")
    assert "predict failed in 5 attempts, and predict logged nothing about it" in done.stdout
    assert "roles/run.invoker" in done.stdout
    assert done.returncode == 0, done.stderr
    assert eventually(lambda: desk.landed("pushed at a closed door.jpeg"))


def test_what_a_person_has_decided_meanwhile_is_not_filed_a_second_time(desk: Desk, letters: DeadLetters) -> None:
    name, cloud = "decided meanwhile.jpeg", desk.cloud
    with desk.without("roles/storage.objectCreator", "move"):
        with desk.without("roles/pubsub.publisher", "gs-project-accounts"):
            sent = desk.upload(name)
        unsure = prediction_of(name, sent.generation or 0, cloud)
        PublisherClient().publish(topic=cloud.outputs["topics"]["predictions"], messages=[unsure])
        assert letters.wait_for("predictions", 1)
    source = layout.source_uri(cloud.inbound_bucket, name, sent.generation or 0)
    decided = cloud.storage_client().bucket(cloud.prediction_bucket).blob(layout.decided_name("ok", name))
    decided.metadata = {layout.SOURCE: source}
    decided.upload_from_string(PICTURE, content_type="image/jpeg")

    assert desk.redrive("--yes").returncode == 0

    inbound = cloud.storage_client().bucket(cloud.inbound_bucket)
    assert eventually(lambda: not inbound.blob(name).exists())
    blobs = cloud.storage_client().list_blobs(cloud.prediction_bucket)
    assert [blob.name for blob in blobs if (blob.metadata or {})[layout.SOURCE] == source] == [decided.name]


def test_pictures_whose_notification_was_lost_are_found_by_their_age(desk: Desk, letters: DeadLetters) -> None:
    many = [f"one of many {number}.txt" for number in range(120)]
    with desk.without("roles/pubsub.publisher", "gs-project-accounts"):
        sent = desk.upload("nobody told.jpeg")
        for name in many:
            desk.upload(name, b"no picture, which is quicker")

    early = desk.redrive()
    assert early.returncode == 0, early.stderr
    assert early.stdout.startswith("Nothing to send again. (Messages leased by another redrive are not listed"), (
        "they have not lain there for an hour"
    )
    done = desk.redrive("--older-than", "0", "--show", "7", "--yes")

    assert done.returncode == 0, done.stderr
    assert "nobody told.jpeg" in done.stdout
    assert done.stdout.count("it arrived before the notification existed, its message was lost") == 7
    assert "and 114 more" in done.stdout
    assert "121 sent again" in done.stdout
    picture = eventually(lambda: desk.landed("nobody told.jpeg"))
    assert picture is not None
    assert picture.content_type == "image/jpeg"
    metadata = picture.metadata or {}
    assert metadata["station"] == "7", "the message says what Cloud Storage's own would"
    assert metadata[layout.SOURCE].endswith(f"#{sent.generation}")
    inbound = desk.cloud.storage_client().bucket(desk.cloud.inbound_bucket)
    assert eventually(lambda: not list(inbound.list_blobs(prefix="one of many")))


def test_a_picture_that_no_dead_letter_tells_of_shows_what_was_logged_about_it(
    cloud: LocalCloud, letters: DeadLetters, tmp_path: Path
) -> None:
    name = "letter thrown away.jpeg"
    desk = Desk(cloud, tmp_path / "home")
    with desk.without("roles/storage.objectViewer", "predict"):
        picture = desk.upload(name)
        assert letters.wait_for("images", 1)
    letters.discard()
    refusing = Starlette(routes=log_routes(list[Path], gate=NobodyReadsLogs()))
    with serve(refusing) as refuses, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        desks = [desk, *(Desk(cloud, tmp_path / str(len(url)), loggingUrl=url) for url in (refuses.url, nobody + "/"))]
        commands = [each.start("--older-than", "0") for each in desks]
        told, refused, alone = [(*command.communicate(), command.returncode) for command in commands]
    picture.delete()

    lost = "no dead letter names it: it arrived before the notification existed, its message was lost, or Pub/Sub still"
    for said, error, code in (told, refused, alone):
        assert code == 1, error
        assert name in said
        assert "Traceback" not in error
    assert lost not in told[0]
    assert "no dead letter names it: logged last, Reading gs://" in told[0]
    assert "roles/storage.objectViewer" in told[0], "what to check is not cut off"
    assert "roles/logging.viewer" not in told[0]
    for said, _, _ in (refused, alone):
        assert lost in said
        assert said.count("needs roles/logging.viewer on the project") == 1
    assert "Cloud Logging gave no reasons (403 Permission" in refused[0]
    assert "Connection refused" in alone[0]


class NobodyReadsLogs(RequestLog):
    def enter(self, call: Call) -> None:
        raise ApiError(403, "forbidden", f"Permission '{call.method}' denied on resource '{call.resource}'.")


class NobodyPublishes(RequestLog):
    def enter(self, call: Call) -> None:
        if call.method == PUBLISH:
            raise ApiError(403, "forbidden", "User not authorized to perform this action.")


class Leasing(RequestLog):
    """Tells when messages have been leased for longer."""

    def __init__(self) -> None:
        super().__init__()
        self.done = Event()

    def leave(self, call: Call) -> None:
        if call.method == "Subscriber/ModifyAckDeadline":
            self.done.set()


class Silent(RequestLog):
    """Takes every question for messages, and answers none before the end."""

    def __init__(self) -> None:
        super().__init__()
        self.over = Event()

    def enter(self, call: Call) -> None:
        if call.method == "Subscriber/Pull":
            self.over.wait()


@contextmanager
def door_to(cloud: LocalCloud, gate: Gate) -> Generator[str]:
    """The address of a Pub/Sub whose calls go through a gate."""
    with RunningGrpcServer([PubSubHandler("engineer", cloud.pubsub, gate)]) as door:
        yield door.address


def test_what_could_not_be_published_stays_a_dead_letter(
    cloud: LocalCloud, letters: DeadLetters, tmp_path: Path
) -> None:
    letters.put("predictions", *(prediction_of(f"{number}.jpeg", 1, cloud) for number in range(3)))

    with door_to(cloud, NobodyPublishes()) as address:
        refused = Desk(cloud, tmp_path, pubsubAddress=address).redrive("--yes", "--show", "0")

    assert refused.returncode == 1
    assert refused.stdout.startswith("dead letter for move: 3\n"), "no table without a line"
    assert "Error: 403 User not authorized to perform this action." in refused.stderr
    assert "roles/pubsub.publisher on the topics" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert letters.wait_for("predictions", 3)


def test_what_another_client_took_before_the_answer_counts_as_left(
    cloud: LocalCloud, desk: Desk, letters: DeadLetters
) -> None:
    letters.put("predictions", *(prediction_of(f"{number}.jpeg", 1, cloud) for number in range(3)))
    terminal, stdin = os.openpty()
    process = desk.start(stdin=stdin)
    os.close(stdin)
    assert process.stdout is not None
    asked = ""
    while not asked.endswith("Send 3 again?"):
        character = process.stdout.read(1)
        assert character, asked
        asked += character
    letters.hold("predictions")
    os.write(terminal, b"y\n")

    said, _ = process.communicate()

    os.close(terminal)
    assert "2 sent again, 0 discarded, 1 left" in said
    assert process.returncode == 1


def test_a_command_that_is_terminated_gives_back_what_it_looked_at(
    cloud: LocalCloud, letters: DeadLetters, tmp_path: Path
) -> None:
    letters.put("images", PubsubMessage(data=b"{}"))
    leasing = Leasing()
    with door_to(cloud, leasing) as address:
        process = Desk(cloud, tmp_path, pubsubAddress=address).start()
        assert leasing.done.wait(SECONDS_TO_WAIT)
        process.terminate()
        said, error = process.communicate()

    assert process.returncode > 0, "it ended by itself"
    assert "Nothing to send again" not in said
    assert "Traceback" not in error
    assert letters.wait_for("images", 1), "sooner than the ten minutes of a lease"


def test_a_pubsub_that_is_silent_or_away_is_an_error(cloud: LocalCloud, tmp_path: Path) -> None:
    silent = Silent()
    with (
        door_to(cloud, silent) as says_nothing,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket() as closed,
    ):
        closed.bind(("127.0.0.1", 0))
        no_grpc, nobody = (f"127.0.0.1:{port.getsockname()[1]}" for port in (listener, closed))
        addresses = {says_nothing: "whether projects/", no_grpc: "Check the network", nobody: "Connection refused"}
        commands = [Desk(cloud, tmp_path / address, pubsubAddress=address).start("--yes") for address in addresses]
        try:
            ended = [(*command.communicate(), command.returncode) for command in commands]
        finally:
            silent.over.set()
    for (address, reason), (said, error, code) in zip(addresses.items(), ended, strict=True):
        assert code == 1, error
        assert "Nothing to send again" not in said
        assert error.startswith("Error: "), error
        assert re.search(rf"Pub/Sub (is asked )?at {re.escape(address)}", error), error
        assert reason in error
        assert "What was not acknowledged stays" in error
        assert "roles/" not in error
        assert "Traceback" not in error


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    def redrive(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [INSPECTION, "redrive", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    nowhere = redrive()
    assert nowhere.returncode == 1
    assert "make local" in nowhere.stderr
    state = tmp_path / ".local" / "cloud" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text(json.dumps({"pid": _ended_process(), "storageUrl": "http://127.0.0.1:1", "outputs": {}}))
    assert "No local cloud is running here" in redrive().stderr
    for minutes in ("soon", "99999999999999"):
        assert redrive("--older-than", minutes).returncode == 2


def test_a_deployed_stack_is_asked_for_its_outputs(tmp_path: Path) -> None:
    """What `pulumi` answers is what the command goes by; here a stack of before this command."""
    pulumi = tmp_path / "pulumi"
    pulumi.write_text('#!/bin/sh\necho "$*" >&2\necho \'{"inboundBucket": "gs://inbound", "deadLetters": {}}\'\n')
    pulumi.chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    asked = subprocess.run(
        [INSPECTION, "redrive", "--stack", "old"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 1
    assert "no output 'topics'" in asked.stderr
    assert "pulumi up" in asked.stderr


def _ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid
