"""Each binding of the program taken away, alone, while the line runs; and what failed without it.

python -m proof.permissions
"""

import logging
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import grpc
import httpx
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from rich.console import Console
from rich.table import Table

from automl.own.symmetry import Symmetry
from automl.own.training import Options, train
from console.transfer import split_uri
from inspection.layout import SOURCE
from inspection.names import LOCAL_STACK
from local.cloud import LocalCloud
from local.demo.run import wait_for_landing
from local.demo.samples import samples
from local.deploy.program import Stack
from local.google.gate import Call, RequestLog
from local.google.permissions import INVOKE, Binding, PermissionDeniedError, Refusal
from proof.report import finish, report_console

SECONDS_TO_WAIT = 30
ATTEMPTS = 5
"""As few as Pub/Sub allows; then a message becomes a dead letter."""

CONFIG: Mapping[str, object] = {
    "deliveryAttempts": ATTEMPTS,
    # Seven attempts within the wait: the pauses must not grow.
    "minimumBackoffSeconds": 1,
    "maximumBackoffSeconds": 1,
    "threshold": 1,  # every picture is unclear
}

_NUMBERS = count()

WRITE_IMAGE, WRITE_LOG = "artifactregistry.repositories.uploadArtifacts", "logging.logEntries.create"
"""What Google's builder does as the account that builds; the local cloud asks for it, and builds nothing."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happened while one binding was missing."""

    binding: Binding
    failed: str
    """What somebody would have noticed; empty if nothing failed, which means that the binding is not needed."""


class Deliveries(RequestLog):
    """Counts pushes, and lets a test wait for them."""

    def __init__(self) -> None:
        """None yet."""
        super().__init__()
        self._pushed = threading.Condition()
        self._pushes: dict[str, int] = {}

    def enter(self, call: Call) -> None:
        """Count it if it is a push."""
        super().enter(call)
        if call.method == INVOKE and call.resource:
            with self._pushed:
                part = call.resource.rpartition("-")[2]
                self._pushes[part] = self._pushes.get(part, 0) + 1
                self._pushed.notify_all()

    def wait(self, part: str, more: int) -> bool:
        """Whether a part is pushed to so many times more."""
        with self._pushed:
            enough = self._pushes.get(part, 0) + more
            return self._pushed.wait_for(lambda: self._pushes.get(part, 0) >= enough, SECONDS_TO_WAIT)


@dataclass
class Line:
    """The running line, and what each experiment needs of it."""

    cloud: LocalCloud
    deliveries: Deliveries
    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient
    held_back: list[str] = field(default_factory=list[str])
    """Pictures that a missing binding kept from landing; each must land once it is granted again."""
    _jpeg: bytes = field(default_factory=lambda: next(iter(samples(1, seed=31))).jpeg)

    def new_name(self) -> str:
        """A picture's name that none has had."""
        return f"picture-{next(_NUMBERS)}.jpeg"

    def send(self, name: str) -> None:
        """Upload a picture."""
        self.cloud.storage_client().bucket(self.cloud.inbound_bucket).blob(name).upload_from_string(
            self._jpeg, content_type="image/jpeg"
        )

    def lands(self, *names: str) -> bool:
        """Whether all of these land."""
        return wait_for_landing(self.cloud, set(names), Console(quiet=True)).keys() == set(names)

    def topic(self, path: str) -> str:
        """Of `images` or `predictions`."""
        return (
            self.cloud.outputs["deadLetters"][path].replace("/subscriptions/", "/topics/").removesuffix("-dead-letters")
        )

    def dead_letter(self, path: str) -> bytes | None:
        """The next dead letter's data, as soon as there is one; taken away."""
        subscription = self.cloud.outputs["deadLetters"][path]
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while time.monotonic() < deadline:
            with suppress(DeadlineExceeded):  # Pub/Sub answers once there is a message
                pulled = self.subscriber.pull(subscription=subscription, max_messages=1, timeout=10)
                for received in pulled.received_messages:
                    self.subscriber.acknowledge(subscription=subscription, ack_ids=[received.ack_id])
                    return received.message.data
        return None


@dataclass(frozen=True, kw_only=True)
class Stops:
    """Without the binding this permission is refused, and a picture stays where it is."""

    permission: str
    so: str
    """What somebody notices."""
    name_taken: bool = False
    """Whether it takes a picture whose name another one has."""

    def run(self, line: Line, binding: Binding) -> Outcome:
        """Send a picture without the binding."""
        name = line.new_name()
        if self.name_taken:
            line.send(name)
            if not line.lands(name):
                return Outcome(binding=binding, failed="")
        landed_before = _count_landed(line.cloud, name)

        def landed() -> bool:
            return _count_landed(line.cloud, name) > landed_before

        def refused() -> bool:
            return any(
                binding.member.endswith(f":{refusal.identity}") and refusal.need.permission == self.permission
                for refusal in line.cloud.permissions.refusals[refused_before:]
            )

        refused_before = len(line.cloud.permissions.refusals)
        with line.cloud.without(binding):
            line.send(name)
            failed = _until(lambda: refused() or landed()) and refused() and not landed()
        if not failed:
            return Outcome(binding=binding, failed="")
        if binding.name != "announcement-publisher":  # what was never announced comes back by itself in the cloud alone
            line.held_back.append(name)
        return Outcome(binding=binding, failed=f"{self.permission} is refused: {self.so}")


@dataclass(frozen=True, kw_only=True)
class KeepsNoDeadLetter:
    """Without the binding a message that cannot be delivered is delivered again and again, and kept nowhere."""

    path: str
    part: str

    def run(self, line: Line, binding: Binding) -> Outcome:
        """Publish what nobody can read without the binding."""
        data = binding.name.encode()
        with line.cloud.without(binding):
            line.publisher.publish(line.topic(self.path), data).result()
            still_delivered = line.deliveries.wait(self.part, ATTEMPTS + 2)
        kept = line.dead_letter(self.path) == data
        if not (still_delivered and kept):
            return Outcome(binding=binding, failed="")
        return Outcome(
            binding=binding,
            failed=f"after {ATTEMPTS} attempts a message that nobody can read is delivered on and on, and is no dead letter",
        )


@dataclass(frozen=True, kw_only=True)
class CannotDecide:
    """Without the binding a reviewer cannot do the work."""

    permission: str
    so: str

    def run(self, line: Line, binding: Binding) -> Outcome:
        """Look at an unclear picture and decide on it, without the binding."""
        line.send(name := line.new_name())
        ready = line.lands(name)
        with line.cloud.without(binding):
            worked = _review(line.cloud)
            refused = line.cloud.permissions.refusals[-1:]
        if not ready or worked or not refused or refused[0].need.permission != self.permission:
            return Outcome(binding=binding, failed="")
        if not _review(line.cloud):
            return Outcome(binding=binding, failed="")
        return Outcome(binding=binding, failed=f"{self.permission} is refused: {self.so}")


@dataclass(frozen=True, kw_only=True)
class CannotBuild:
    """Without the binding nothing can be deployed."""

    permission: str
    so: str

    def run(self, line: Line, binding: Binding) -> Outcome:
        """Build without the binding."""
        with line.cloud.without(binding):
            try:
                line.cloud.build_again()
            except PermissionDeniedError:
                refusal = line.cloud.permissions.refusals[-1]
            else:
                return Outcome(binding=binding, failed="")
        if refusal.need.permission != self.permission or not binding.member.endswith(f":{refusal.identity}"):
            return Outcome(binding=binding, failed="")
        line.cloud.build_again()
        return Outcome(binding=binding, failed=f"{self.permission} is refused: {self.so}")


Experiment = Stops | KeepsNoDeadLetter | CannotDecide | CannotBuild

EXPERIMENTS: Mapping[str, Experiment] = {
    "announcement-publisher": Stops(permission="pubsub.topics.publish", so="nobody hears of the picture"),
    "push-signer": Stops(
        permission="iam.serviceAccounts.getOpenIdToken", so="pushes bear no token, and the functions refuse them"
    ),
    "predict-invoker": Stops(permission="run.routes.invoke", so="predict refuses the push"),
    "predict-image-reader": Stops(permission="storage.objects.get", so="the picture cannot be read"),
    "predict-model-user": Stops(permission="automl.models.predict", so="the model does not answer"),
    "predict-publisher": Stops(permission="pubsub.topics.publish", so="the prediction reaches nobody"),
    "move-invoker": Stops(permission="run.routes.invoke", so="move refuses the push"),
    "move-image-taker": Stops(permission="storage.objects.get", so="the picture cannot be copied"),
    "move-image-sorter": Stops(permission="storage.objects.create", so="the picture has nowhere to go"),
    "move-image-checker": Stops(
        permission="storage.objects.get",
        so="whether a taken name is the picture's own from an earlier attempt cannot be seen",
        name_taken=True,
    ),
    "images-dead-letters-publisher": KeepsNoDeadLetter(path="images", part="predict"),
    "images-forwarder": KeepsNoDeadLetter(path="images", part="predict"),
    "predictions-dead-letters-publisher": KeepsNoDeadLetter(path="predictions", part="move"),
    "predictions-forwarder": KeepsNoDeadLetter(path="predictions", part="move"),
    "review-image-decider": CannotDecide(permission="storage.objects.list", so="the reviewer gets no picture"),
    "review-link-signer": CannotDecide(
        permission="iam.serviceAccounts.signBlob", so="the reviewer does not see the picture"
    ),
    "build-source-reader": CannotBuild(permission="storage.objects.get", so="a build cannot read its sources"),
    "build-copied-source-reader": CannotBuild(
        permission="storage.objects.get", so="a build cannot read the copy that Cloud Functions makes of them"
    ),
    "build-image-writer": CannotBuild(permission=WRITE_IMAGE, so="a build cannot keep its image"),
    "build-log-writer": CannotBuild(permission=WRITE_LOG, so="a build cannot write its log"),
    "app-engine-source-reader": CannotBuild(permission="storage.objects.get", so="a build cannot read its sources"),
    "app-engine-staged-source-reader": CannotBuild(
        permission="storage.objects.get", so="a build cannot read the copy that App Engine makes of them"
    ),
    "app-engine-image-writer": CannotBuild(permission=WRITE_IMAGE, so="a build cannot keep its image"),
    "app-engine-log-writer": CannotBuild(permission=WRITE_LOG, so="a build cannot write its log"),
}
"""By the binding's name in the program. A binding that is not here is one that nobody has shown to be needed."""


MODEL_FILE = "models/proof.onnx"
READS_MODEL = Stops(permission="storage.objects.get", so="the model file cannot be read, and no image is classified")
"""Without `predict-model-user` where `modelId` is a model file; it has to come before the first image, as predict reads
the file once."""


def model_file_config() -> Mapping[str, object]:
    """Keys of a stack whose model is a file in its own models bucket."""
    stack = Stack.read(LOCAL_STACK)
    bucket = f"{stack.text('gcp:project')}-inspection-{LOCAL_STACK}-models"
    return {**CONFIG, "modelId": f"gs://{bucket}/{MODEL_FILE}"}


def upload_model_file(cloud: LocalCloud) -> None:
    """Train a model on a few sample castings, and upload it where :func:`model_file_config` says."""
    castings = list(samples(40, seed=41))
    options = Options(size=128, symmetry=Symmetry.NONE, seed=0)
    with tempfile.TemporaryDirectory() as cache:
        trained = train(
            [each.jpeg for each in castings], [(each.label,) for each in castings], options, Path(cache), lambda: None
        )
    bucket, _ = split_uri(cloud.outputs["modelsBucket"])
    cloud.storage_client().bucket(bucket).blob(MODEL_FILE).upload_from_string(trained.file)


def prove_model_file(cloud: LocalCloud, deliveries: Deliveries) -> Outcome:
    """Take the grant on the models bucket away while the first image comes; it must land once it is granted again."""
    (binding,) = [binding for binding in bindings_of(cloud) if binding.name == "predict-model-user"]
    upload_model_file(cloud)
    with grpc.insecure_channel(cloud.pubsub_address) as channel:
        line = Line(
            cloud=cloud,
            deliveries=deliveries,
            publisher=pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel)),
            subscriber=pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)),
        )
        outcome = READS_MODEL.run(line, binding)
        landed = bool(line.held_back) and line.lands(*line.held_back)
    return outcome if landed else Outcome(binding=binding, failed="")


@dataclass(frozen=True, kw_only=True)
class Proof:
    """All experiments."""

    outcomes: Mapping[str, Outcome]
    refused_with_all: list[Refusal]
    """What was refused before any binding was taken away."""
    landed_again: bool
    """Whether every picture that was held back landed once all was granted again."""
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether each binding is needed and none is missing."""
        needed = all(outcome.failed for outcome in self.outcomes.values())
        return needed and not self.not_granted and not self.refused_with_all and self.landed_again

    @property
    def not_granted(self) -> set[str]:
        """Bindings that something needs, and that the program does not declare."""
        return EXPERIMENTS.keys() - self.outcomes.keys()


def bindings_of(cloud: LocalCloud) -> list[Binding]:
    """All that the program has granted."""
    return cloud.permissions.bindings


def prove(cloud: LocalCloud, deliveries: Deliveries) -> Proof:
    """Take each binding of the running cloud away, one at a time.

    Raises:
        KeyError: nobody has said what should fail without a binding.
    """
    started = time.monotonic()
    bindings = {binding.name: binding for binding in bindings_of(cloud)}
    with grpc.insecure_channel(cloud.pubsub_address) as channel:
        line = Line(
            cloud=cloud,
            deliveries=deliveries,
            publisher=pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel)),
            subscriber=pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)),
        )
        line.send(first := line.new_name())
        permissions, refused_before = cloud.permissions, len(cloud.permissions.refusals)
        _until(lambda: _count_landed(cloud, first) > 0 or len(permissions.refusals) > refused_before)
        refused = permissions.refusals[refused_before:]
        all_granted = not refused and line.lands(first)
        outcomes: dict[str, Outcome] = {}
        if all_granted:
            pictures = [name for name in bindings if not isinstance(EXPERIMENTS[name], KeepsNoDeadLetter)]
            for name in pictures:
                outcomes[name] = EXPERIMENTS[name].run(line, bindings[name])
            outcomes |= _side_by_side(line, bindings)
        landed_again = all_granted and line.lands(*line.held_back)
    return Proof(
        outcomes={name: outcomes.get(name, Outcome(binding=binding, failed="")) for name, binding in bindings.items()},
        refused_with_all=refused,
        landed_again=landed_again,
        seconds=time.monotonic() - started,
    )


def _side_by_side(line: Line, bindings: Mapping[str, Binding]) -> dict[str, Outcome]:
    """The paths have nothing to do with each other, so that each waits for its own dead letters at the same time."""

    def run(path: str) -> list[Outcome]:
        return [
            experiment.run(line, bindings[name])
            for name, experiment in EXPERIMENTS.items()
            if isinstance(experiment, KeepsNoDeadLetter) and experiment.path == path and name in bindings
        ]

    with ThreadPoolExecutor() as pool:
        found = pool.map(run, ("images", "predictions"))
        return {outcome.binding.name: outcome for outcomes in found for outcome in outcomes}


def _until(what: Callable[[], bool]) -> bool:
    """Whether this becomes true in time."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not (true := what()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return true


def _review(cloud: LocalCloud) -> bool:
    """Whether a reviewer sees an unclear picture, and can decide on it."""
    with httpx.Client(base_url=cloud.review_url or "", headers={"X-Review-Page": secrets.token_urlsafe(12)}) as page:
        queue = page.post("/api/queue", json={"count": 1, "cursor": None, "held": []})
        if not queue.is_success:
            return False
        (picture,) = queue.json()["pictures"]
        if not page.get(picture["image_url"], follow_redirects=True).is_success:
            page.post("/api/claims/release", json={"pictures": [{"id": picture["id"], "claim": picture["claim"]}]})
            return False
        decision = {"label": "ok", "claim": picture["claim"], "number": 1}
        return page.post(f"/api/pictures/{picture['id']}/decision", json=decision).is_success


def _count_landed(cloud: LocalCloud, name: str) -> int:
    """How many pictures of this name are in the prediction bucket."""
    source = f"gs://{cloud.inbound_bucket}/{name}#"
    blobs = cloud.storage_client().list_blobs(cloud.prediction_bucket)
    return sum((blob.metadata or {})[SOURCE].startswith(source) for blob in blobs)


def table(proof: Proof) -> Table:
    """The report, binding by binding."""
    table = Table(title=f"{len(proof.outcomes)} bindings, each taken away alone")
    for heading in ("binding", "role", "without it"):
        table.add_column(heading, overflow="fold")
    for outcome in sorted(proof.outcomes.values(), key=lambda outcome: outcome.binding.name):
        table.add_row(
            outcome.binding.name,
            f"{outcome.binding.role.removeprefix('roles/')} on a {outcome.binding.kind}",
            outcome.failed or "[red]nothing failed[/red]",
        )
    return table


def main() -> None:
    """Print the report; exit code 1 if a binding is missing or not needed."""
    console = report_console()
    # A missing binding is what it would warn of.
    logging.getLogger("local.google.storage").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as home:
        deliveries = Deliveries()
        with LocalCloud(Path(home), gate=deliveries, config=CONFIG) as cloud:
            with console.status("Starting the local cloud"):
                cloud.start(lambda _: None)
            with console.status("Taking each binding away"):
                proof = prove(cloud, deliveries)
    with tempfile.TemporaryDirectory() as home:
        deliveries = Deliveries()
        with (
            LocalCloud(
                Path(home) / "cloud", gate=deliveries, config=model_file_config(), trained=Path(home) / "trained"
            ) as cloud,
            console.status("Starting the local cloud with a model file"),
        ):
            cloud.start(lambda _: None)
            model_file = prove_model_file(cloud, deliveries)
    console.print(table(proof))
    console.print(f"{model_file.binding.name}, with a model file: {model_file.failed or 'nothing failed without it'}")
    for refusal in proof.refused_with_all:
        console.print(f"[red]refused with all bindings:[/red] {refusal}")
    for name in sorted(proof.not_granted):
        console.print(f"[red]needed, and not declared:[/red] {name}")
    if not proof.landed_again:
        console.print("[red]a picture did not land after its binding was granted again[/red]")
    finish(
        console,
        f"{len(proof.outcomes)} bindings, {sum(bool(outcome.failed) for outcome in proof.outcomes.values())} of which fail "
        f"something when taken away alone; {len(proof.not_granted)} missing, {len(proof.refused_with_all)} requests refused "
        "with all of them",
        holds=proof.holds and bool(model_file.failed),
    )


if __name__ == "__main__":
    main()
