"""Thousands of pictures while requests fail and the functions' processes are killed; then each is accounted for.

python -m proof.losses_many [COUNT]
"""

import json
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import grpc
from google.cloud import pubsub_v1, storage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from rich.table import Table

from inspection.push import REPEATED
from local.cloud import CACHE, LocalCloud
from local.demo.samples import samples
from local.deploy.runner import Program
from local.google.faults import FaultyGate, Kind, NoFaults, Randomly, When
from local.google.gate import Call, RequestLog
from local.google.models.classifier import ready_model
from proof.losses_stage import CONTENT_TYPES, Found, Sent, what_is_wrong
from proof.report import finish, report_console

FUNCTIONS = ("-predict", "-move")
PICTURES = 5000
CONTENTS = 200
"""So many parts are drawn; each is sent often, with a comment of its own, so that no two files are the same."""
SHARE = 0.05
SEED = 5
SHARE_OF_NAMES_AGAIN = 0.1
SHARE_TOLD_TWICE = 0.02
SECONDS_WITHOUT_PROGRESS = 120
AT_ONCE = 8

# A time-out lasts the half minute that the functions' clients really wait; nothing is shortened here.
OFTEN = (Kind.TOO_MANY, Kind.INTERNAL, Kind.UNAVAILABLE, Kind.RESET)
KINDS: Sequence[Kind] = (*OFTEN * 60, *[Kind.DEATH] * 4, Kind.TIME_OUT)
KINDS_FOR_FEW: Sequence[Kind] = (*OFTEN * 4, Kind.DEATH)

CONFIG: Mapping[str, object] = {"deliveryAttempts": 8}


@dataclass(kw_only=True)
class Account:
    """What was done to the line, and what became of the pictures."""

    pictures: int
    seconds: float
    """From the first upload until every picture was in its place."""
    failures: Mapping[tuple[When, Kind], int]
    kills: Counter[str]
    told_twice: int
    dead_letters: list[str]
    """What each message that was kept is about; all were sent again."""
    folders: Mapping[str, int]
    problems: list[str]


class _Killer:
    """Kills the process that asks, or that is asked, and has it started again."""

    def __init__(self, cloud: LocalCloud, pool: ThreadPoolExecutor) -> None:
        self._cloud = cloud
        self._pool = pool
        self._lock = threading.Lock()
        self._starting: dict[str, Future[None]] = {}
        self.kills: Counter[str] = Counter()

    def __call__(self, call: Call) -> None:
        name = self._program(call)
        with self._lock:
            if name in self._starting and not self._starting[name].done():
                return  # it is dead already
            self._cloud.kill(name)
            self.kills[name] += 1
            self._starting[name] = self._pool.submit(self._cloud.restart, name)

    def _program(self, call: Call) -> str:
        for name, program in self._cloud.programs().items():
            asks = _identity(program) == call.identity
            is_asked = call.resource is not None and call.resource.endswith(f"/services/{name}")
            if asks or is_asked:
                return name
        raise LookupError(f"no program makes or answers {call}")

    def wait(self) -> None:
        """Return when everything runs again."""
        for start in self._starting.values():
            start.result()


def _model(cloud: LocalCloud) -> str:
    (name,) = {program.env["MODEL_ID"] for program in cloud.programs().values() if "MODEL_ID" in program.env}
    return name


def _identity(program: Program) -> str:
    """The account that a program runs as."""
    return unquote(program.env["STORAGE_EMULATOR_HOST"].rpartition("/as/")[2])


def run(
    count: int,
    *,
    kinds: Sequence[Kind],
    seed: int = SEED,
    share: float = SHARE,
    tell: Callable[[str], None] = lambda _: None,
) -> Account:
    """Send pictures through a local cloud of its own while a share of all requests and pushes fails.

    `tell` hears how far it is.
    """
    gate = FaultyGate(RequestLog())
    with (
        tempfile.TemporaryDirectory() as home,
        ThreadPoolExecutor(AT_ONCE) as pool,
        LocalCloud(Path(home), gate=gate, config=CONFIG) as cloud,
    ):
        cloud.start(tell)
        killer = gate.kill = _Killer(cloud, pool)
        pushing = {binding.member for binding in cloud.permissions.bindings if binding.role == "roles/run.invoker"}
        identities = {member.partition(":")[2] for member in pushing}
        identities |= {_identity(cloud.programs()[name]) for name in cloud.programs() if name.endswith(FUNCTIONS)}
        gate.plan = plan = Randomly(share, kinds, identities=identities, seed=seed)
        with grpc.insecure_channel(cloud.pubsub_address) as channel:
            line = _Line(cloud, channel, pool, tell)
            started = time.monotonic()
            again = round(count * SHARE_OF_NAMES_AGAIN)
            line.send([f"line {number % 7}/part {number:05}.jpeg" for number in range(count - again)])
            line.tell_twice(round(count * SHARE_TOLD_TWICE))
            line.wait()
            # Names that others have in the folders by now.
            line.send([sent.name for sent in line.sent[:again]])
            line.wait()
            seconds = time.monotonic() - started
        gate.plan = NoFaults()
        gate.release()
        killer.wait()
        predicted = line.found(cloud.prediction_bucket)
        return Account(
            pictures=count,
            seconds=seconds,
            failures=plan.struck,
            kills=killer.kills,
            told_twice=line.told_twice,
            dead_letters=line.dead_letters,
            folders=Counter(found.name.partition("/")[0] for found in predicted),
            problems=what_is_wrong(
                line.sent,
                line.found(cloud.inbound_bucket),
                predicted,
                scores=ready_model(CACHE / "models").scores,
                models={_model(cloud)},
                bucket=cloud.inbound_bucket,
            ),
        )


class _Line:
    """What the camera and a person with an eye on the dead letters do."""

    def __init__(
        self, cloud: LocalCloud, channel: grpc.Channel, pool: ThreadPoolExecutor, tell: Callable[[str], None]
    ) -> None:
        self._cloud = cloud
        self._tell = tell
        self._pool = pool
        self._client = cloud.storage_client()
        self._publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        self._subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        self._contents = [sample.jpeg for sample in samples(CONTENTS, seed=SEED)]
        self.sent: list[Sent] = []
        self.told_twice = 0
        self.dead_letters: list[str] = []

    def send(self, names: Sequence[str]) -> None:
        """Upload a picture of its own under each name, several at once."""
        first = len(self.sent)

        def upload(number: int, name: str) -> Sent:
            jpeg = self._contents[number % len(self._contents)]
            comment = f"picture {number}".encode()
            # A comment, which leaves the picture as it is, right behind the start of the file.
            data = jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
            blob = self._client.bucket(self._cloud.inbound_bucket).blob(name)
            blob.metadata = camera = {"shot": str(number)}
            content_type = CONTENT_TYPES[number % len(CONTENT_TYPES)]
            blob.upload_from_string(data, content_type=content_type, if_generation_match=0)
            return Sent(
                name=name, generation=int(blob.generation or 0), data=data, content_type=content_type, metadata=camera
            )

        self.sent += self._pool.map(upload, range(first, first + len(names)), names)

    def tell_twice(self, count: int) -> None:
        """Publish some notifications once more, of pictures that have moved on and of such that have not."""
        topic = self._topic("images")
        for sent in self.sent[:: max(1, len(self.sent) // count)][:count]:
            attributes = {
                "eventType": "OBJECT_FINALIZE",
                "bucketId": self._cloud.inbound_bucket,
                "objectId": sent.name,
                "objectGeneration": str(sent.generation),
            }
            resource = {"size": str(len(sent.data)), "contentType": sent.content_type, "metadata": dict(sent.metadata)}
            self._publisher.publish(topic, json.dumps(resource).encode(), **attributes).result()
            self.told_twice += 1

    def wait(self) -> None:
        """Return when every picture has left the inbound bucket, or when nothing has happened for long."""
        left, last = len(self.sent) + 1, time.monotonic()
        while left and time.monotonic() - last < SECONDS_WITHOUT_PROGRESS:
            time.sleep(0.5)
            self._send_dead_letters_again()
            now = sum(
                1 for _ in self._client.list_blobs(self._cloud.inbound_bucket, fields="items(name),nextPageToken")
            )
            self._tell(f"{len(self.sent) - now:,} of {len(self.sent):,} pictures have left the inbound bucket")
            if now < left:
                left, last = now, time.monotonic()

    def _send_dead_letters_again(self) -> None:
        for path, subscription in self._cloud.outputs["deadLetters"].items():
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                pulled = self._subscriber.pull(subscription=subscription, max_messages=100, return_immediately=True)
            for received in pulled.received_messages:
                message = received.message
                attributes = {**message.attributes, REPEATED: "true"}
                self._publisher.publish(self._topic(path), message.data, **attributes).result()
                self._subscriber.acknowledge(subscription=subscription, ack_ids=[received.ack_id])
                self.dead_letters.append(f"{path}: {message.attributes.get('objectId') or message.data[:200]!r}")

    def _topic(self, path: str) -> str:
        dead_letters: str = self._cloud.outputs["deadLetters"][path]
        return dead_letters.replace("/subscriptions/", "/topics/").removesuffix("-dead-letters")

    def found(self, bucket: str) -> list[Found]:
        """Everything in a bucket, with its bytes."""

        def read(blob: storage.Blob) -> Found:
            data = blob.download_as_bytes()
            return Found(
                str(blob.name),
                int(blob.generation or 0),
                blob.metadata or {},
                blob.content_type or "",
                blob.content_encoding or "",
                lambda: data,
            )

        return list(self._pool.map(read, self._client.list_blobs(bucket)))


def table(account: Account) -> Table:
    """The figures."""
    failures = Counter[str]()
    for (when, kind), number in account.failures.items():
        if kind is not Kind.DEATH:
            failures[f"{kind}, {when} the effect"] += number
    table = Table("what", "how often", title=f"{account.pictures:,} pictures through a line that fails")
    for what, number in sorted(failures.items()):
        table.add_row(f"failed: {what}", str(number))
    for name, number in sorted(account.kills.items()):
        table.add_row(f"killed: {name}", str(number))
    table.add_row("notifications told twice", str(account.told_twice))
    table.add_row("dead letters, all sent again", str(len(account.dead_letters)))
    for folder, number in sorted(account.folders.items()):
        table.add_row(f"in {folder}/", str(number))
    table.add_row("not accounted for", str(len(account.problems)), style="bold")
    table.add_row("seconds", f"{account.seconds:.0f} ({account.pictures / account.seconds:.1f} pictures a second)")
    return table


def main() -> None:
    """Print the figures; exit code 1 if a picture is not accounted for."""
    console = report_console()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else PICTURES
    with console.status(f"{count} pictures, {SHARE:.0%} of all requests and pushes fail") as status:
        account = run(count, kinds=KINDS if count >= PICTURES else KINDS_FOR_FEW, tell=status.update)
    console.print(table(account))
    for problem in account.problems:
        console.print(problem, style="red", markup=False)
    finish(
        console,
        f"{account.pictures:,} pictures in {account.seconds:.0f} s, {SHARE:.0%} of all requests failing "
        f"({sum(account.failures.values()):,}), functions killed {account.kills.total()} times: "
        f"{len(account.problems)} not accounted for",
        holds=not account.problems,
    )


if __name__ == "__main__":
    main()
