"""A cloud on one machine: it runs the Pulumi program of `infra/` and makes real what that declares."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from starlette.applications import Starlette
from starlette.routing import Mount

from console.transfer import split_uri
from inspection.environment import AUTOML_EMULATOR, PUBSUB_EMULATOR, STORAGE_EMULATOR, VERTEX_EMULATOR
from inspection.model_id import Backend, ModelId, parse_model_id
from inspection.names import LOCAL_STACK, PROJECT_NAME
from local.deploy.processes import CannotStartError
from local.deploy.program import ROOT, ProgramError, Stack, run_program
from local.deploy.provider import IGNORED, PUBSUB_AGENT, STORAGE_AGENT, CannotUpdateError, LocalProvider
from local.deploy.runner import ArchiveRunner, Program
from local.google.front import Front
from local.google.gate import ApiError, Call, Gate, RequestLog
from local.google.http import serve
from local.google.identity import IdentityMiddleware, identity_path
from local.google.logs import log_routes
from local.google.models.automl_prediction import prediction_service
from local.google.models.automl_service import model_services
from local.google.models.classifier import TrainedModel, ready_model
from local.google.models.imports import read_object
from local.google.models.registry import ModelRegistry, RegisteredModel
from local.google.models.vertex_prediction import prediction_routes
from local.google.models.vertex_service import model_routes
from local.google.models.workshop import Workshop
from local.google.permissions import PUBLISH, Binding, PermissionGate, Permissions, UnknownGrantError
from local.google.pubsub.bucket_writer import AgentsBuckets
from local.google.pubsub.rest import pubsub_routes
from local.google.pubsub.rpc import PubSubHandler
from local.google.pubsub.service import PubSub
from local.google.rpc import RunningGrpcServer
from local.google.storage.server import storage_app
from local.google.storage.signing import Signers
from local.google.storage.store import ObjectStore
from local.model_files import keep_model_files, restore_model_files

CACHE = Path(".local/cache")
"""Kept from one start to the next: installed packages and the trained model."""

STATE_FILE = "state.json"
SAMPLE_MODEL = "ICN1234567890"
"""The `modelId` of the model that is there from the start; another one must have been trained and deployed here."""

LOCK_SUFFIX = ".lock"
"""Of the file beside a cloud's home that a running one holds locked."""


class LocalCloud:
    """The running cloud. A context manager that stops everything it started."""

    def __init__(
        self,
        home: Path,
        *,
        gate: Gate | None = None,
        config: Mapping[str, object] | None = None,
        trained: Path = CACHE / "trained",
        root: Path = ROOT,
        grants_take_seconds: float = 0,
        before_build: Callable[[str], None] = lambda _: None,
    ) -> None:
        """A cloud that is not running yet.

        Args:
            home: keeps what only this run needs; emptied at the start.
            gate: passed by every call that the program's bindings permit.
            config: keys of the stack, without their namespace, whose values are to be others than in its file.
            grants_take_seconds: after which a new binding counts; at Google, minutes.
            trained: keeps the models that are trained here, so that a stack can name one after the next start.
            root: the repository whose stack file is read and whose `infra/` is run.
            before_build: called with the name of each function and App Engine service when its build begins, which the
                call may delay, or fail by raising :class:`ApiError`.
        """
        self._home = home
        self._running = ExitStack()
        self._gate = gate or RequestLog()
        self._config = config or {}
        self._trained = trained
        self._root = root
        self._grants_take_seconds = grants_take_seconds
        self._before_build = before_build
        self._signers = Signers()
        self.permissions = Permissions("")
        self.project = ""
        self.storage_url = ""
        self.pubsub_address = ""
        self.automl_address = ""
        """Of AutoML Vision, for the engineer at the machine; Vertex AI and Cloud Logging are at `storage_url`."""
        self.outputs: Mapping[str, Any] = {}
        self._keeps_models = False

    def start(self, say: Callable[[str], None]) -> None:
        """Start Google's services, then deploy with :meth:`up`; `say` is called with each step.

        Raises:
            CannotStartError: something is missing or did not start; the text says what to do.
        """
        with _as_start_errors():
            self._start(say)
        self.up(say)

    def up(self, say: Callable[[str], None]) -> None:
        """Run the program as `pulumi up` does: create what it declares and what does not exist yet.

        Raises:
            CannotStartError: a resource could not be created. What was created stays and runs; the next call goes on.
        """
        say("the Pulumi program")
        self._provider.ignored.clear()
        with _as_start_errors():
            try:
                outputs = run_program(
                    self._program,
                    self._provider,
                    root=self._root,
                    say=say,
                    run_hooks=True,
                    existing=self._provider.existing,
                ).outputs
            finally:
                without = self._provider.without_dead_letters()
        self.outputs = {**outputs, **_local_addresses(outputs, self._provider.addresses)}
        self._restore_models(say)
        if without:
            say(f"Dead letters are not kept, because Pub/Sub's service agent lacks a role: {', '.join(without)}")
        say(_ignored_resources(self._provider.ignored))
        self._write_state()

    def _restore_models(self, say: Callable[[str], None]) -> None:
        """Bring back the model files of the last run, and say so if the stack's own is missing even then."""
        bucket = self.storage_client().bucket(split_uri(self.outputs["modelsBucket"])[0])
        folder = self._trained / "files"
        restore_model_files(bucket, folder)
        if not self._keeps_models:
            self._keeps_models = True
            self._running.callback(keep_model_files, bucket, folder)
        ours = self._model.backend is Backend.OWN and self._model.bucket == bucket.name
        if ours and bucket.get_blob(self._model.resource) is None:
            say(f"There is no model file {self._model.name} yet: upload it before the first image arrives")

    def _start(self, say: Callable[[str], None]) -> None:
        self._take_home()
        self._running.callback((self._home / STATE_FILE).unlink, missing_ok=True)
        stack = Stack.read(LOCAL_STACK, root=self._root)
        others = {f"{stack.project}:{key}": value for key, value in self._config.items()}
        stack = self._program = replace(stack, config={**stack.config, **others})
        self.project = stack.text("gcp:project")
        self._model = _model_of(stack)
        self.permissions = Permissions(self.project, grants_take_seconds=self._grants_take_seconds)
        models = ModelRegistry()
        sample = parse_model_id(SAMPLE_MODEL, project=self.project).name
        models.register(RegisteredModel(name=sample, model=_model(say), display_name="castings"))

        say("Cloud Storage, Pub/Sub and the models")
        front = self._serve(models)
        channel = grpc.insecure_channel(self.pubsub_address)
        self._running.callback(channel.close)
        publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        self._running.callback(publisher.stop)
        subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        found = models.find(self._model.name)
        if self._model.backend is not Backend.OWN and (found is None or not found.deployed):
            say(
                f"modelId {self._model.name} is not deployed here, so every image becomes a dead letter, as at Google; "
                f"{SAMPLE_MODEL} is the sample model"
            )
        runner = ArchiveRunner(
            home=self._home,
            environments=CACHE / "packages",
            surroundings=lambda identity: self._surroundings(identity, models),
            say=say,
        )
        self._running.callback(runner.stop)
        self._running.callback(front.close)
        self._runner = runner
        self._provider = LocalProvider(
            project=self.project,
            storage_client=self.storage_client(),
            publisher=publisher,
            subscriber=subscriber,
            runner=runner,
            permissions=self.permissions,
            front=front,
            before_build=self._before_build,
        )

    @contextmanager
    def without(self, *bindings: Binding) -> Generator[None]:
        """Let the block run while these are not granted."""
        for binding in bindings:
            self.permissions.revoke(binding)
        try:
            yield
        finally:
            for binding in bindings:
                self.permissions.grant(binding)

    def build_again(self) -> None:
        """Ask for all that a new build of what runs would need.

        Raises:
            PermissionDeniedError: the builder's account lacks a permission.
        """
        self._provider.build_again()

    def storage_client(self, identity: str | None = None) -> storage.Client:
        """A client that speaks as a service account, or as the engineer at the machine."""
        return storage.Client(
            project=self.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=self.storage_url + identity_path(identity)),
        )

    @property
    def inbound_bucket(self) -> str:
        """The name of the bucket that the camera writes to."""
        return str(self.outputs["inboundBucket"]).removeprefix("gs://")

    @property
    def prediction_bucket(self) -> str:
        """The name of the bucket that receives the classified images."""
        return str(self.outputs["predictionBucket"]).removeprefix("gs://")

    @property
    def review_url(self) -> str | None:
        """The address of the review app's page; None where the stack has no reviewers."""
        return self.outputs.get("reviewUrl")

    def how_to_use(self) -> str:
        """The addresses, and the commands that send an image."""
        page = (
            f"Review app      {self.review_url}"
            if self.review_url
            else "Review app      none: the stack has no reviewers"
        )
        return f"""
{page}
Cloud Storage   {self.storage_url}
Pub/Sub         {self.pubsub_address}
Images in       gs://{self.inbound_bucket}
Images out      gs://{self.prediction_bucket}

Send an image:
  .venv/bin/inspection send IMAGE...
or with Google's own command:
  export CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE={self.storage_url}/ CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true CLOUDSDK_CORE_PROJECT={self.project}
  gcloud storage cp IMAGE gs://{self.inbound_bucket}/
  gcloud storage ls --recursive gs://{self.prediction_bucket}/

Logs are in {self._home}/*.log. Ctrl-C stops everything.
"""

    def check(self) -> None:
        """Raise if a program has ended by itself.

        Raises:
            CannotStartError: it names the program and the end of its log.
        """
        self._runner.check()

    def kill(self, name: str) -> None:
        """End a program at once, in the middle of whatever it does, as when its machine dies."""
        self._runner.programs[name].process.kill()

    def restart(self, name: str) -> None:
        """Start a program that has ended once more, as the cloud does; returns when it listens.

        Raises:
            CannotStartError: it does not start; the text has the end of its log.
        """
        self._runner.restart(name)

    def programs(self) -> Mapping[str, Program]:
        """What runs, by the declared name."""
        return self._runner.programs

    def logs(self) -> str:
        """The end of each program's log."""
        return self._runner.log_tails()

    def stop(self) -> None:
        """Stop everything that was started."""
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_home(self) -> None:
        self._home.parent.mkdir(parents=True, exist_ok=True)
        # The operating system lets go of it when this process ends, whatever ends it.
        lock = self._home.with_suffix(LOCK_SUFFIX).open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            message = f"a local cloud runs already in {self._home} (process {lock.read() or 'unknown'}); stop it first"
            lock.close()
            raise CannotStartError(message) from None
        self._running.callback(lock.close)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir()

    def _write_state(self) -> None:
        state = {
            "pid": os.getpid(),
            "storageUrl": self.storage_url,
            "pubsubAddress": self.pubsub_address,
            "loggingUrl": self.storage_url,
            "automl": self.automl_address,
            "project": self.project,
            "outputs": self.outputs,
        }
        unfinished = self._home / f"{STATE_FILE}.new"
        unfinished.write_text(json.dumps(state))
        unfinished.replace(self._home / STATE_FILE)

    def _serve(self, models: ModelRegistry) -> Front:
        def publish(topic: str, data: bytes, attributes: dict[str, str]) -> None:
            call = Call(identity=STORAGE_AGENT, method=PUBLISH, resource=topic)
            self._gate.enter(call)
            pubsub.publish(topic, data, attributes)
            self._gate.leave(call)

        store = ObjectStore(self._home / "storage")
        self._running.callback(store.close)
        self._gate = PermissionGate(self.permissions, self._gate, exists=store.exists)
        front = Front(self._gate, self.permissions, pubsub_agent=PUBSUB_AGENT)
        pubsub = self.pubsub = PubSub(
            self._home / "pubsub",
            permissions=self.permissions,
            agent=PUBSUB_AGENT,
            send=front.push,
            buckets=AgentsBuckets(lambda: self.storage_client(PUBSUB_AGENT)),
        )
        self._running.callback(pubsub.close)
        buckets = storage_app(
            store,
            gate=self._gate,
            publish=publish,
            signers=self._signers,
            policies=lambda bucket: self.permissions.on("bucket", bucket),
        )
        workshop = Workshop(lambda uri: read_object(store, uri), models, folder=self._trained)
        self._running.callback(workshop.stop)
        models_routes = [*prediction_routes(models, gate=self._gate), *model_routes(workshop, gate=self._gate)]
        logs_routes = log_routes(lambda: self._home.glob("*.log"), gate=self._gate)
        routes = [*models_routes, *logs_routes, *pubsub_routes(pubsub, gate=self._gate), *front.routes()]
        app = Starlette(routes=[*routes, Mount("/", buckets)])
        server = serve(IdentityMiddleware(app))
        self._running.callback(server.stop)
        self.storage_url = front.url = server.url
        engineer = RunningGrpcServer(
            [
                PubSubHandler(None, pubsub, self._gate),
                *model_services(workshop, gate=self._gate, identity=None),
                prediction_service(models, gate=self._gate, identity=None),
            ]
        )
        self._running.callback(engineer.stop)
        self.automl_address = self.pubsub_address = engineer.address
        return front

    def _surroundings(self, identity: str, models: ModelRegistry) -> dict[str, str]:
        """The addresses of the cloud for the clients of a deployed program; each identity has its own."""
        self._signers.add(identity)
        door = RunningGrpcServer(
            [
                PubSubHandler(identity, self.pubsub, self._gate),
                prediction_service(models, gate=self._gate, identity=identity),
            ]
        )
        self._running.callback(door.stop)
        address = self.storage_url + identity_path(identity)
        return {
            STORAGE_EMULATOR: address,
            PUBSUB_EMULATOR: door.address,
            AUTOML_EMULATOR: door.address,
            VERTEX_EMULATOR: address,
        }


@contextmanager
def _as_start_errors() -> Generator[None]:
    try:
        yield
    except (ProgramError, UnknownGrantError, CannotUpdateError, ApiError, GoogleAPICallError, OSError) as error:
        raise CannotStartError(str(error)) from error


def _model_of(stack: Stack) -> ModelId:
    # In a project made by `pulumi new` under another name, the examples' keys keep their namespace.
    try:
        text = stack.text(f"{stack.project}:modelId", f"{PROJECT_NAME}:modelId")
        return parse_model_id(text, project=stack.text("gcp:project"))
    except ValueError as error:
        raise CannotStartError(f"Pulumi.{stack.name}.yaml: modelId: {error}") from None


def _model(say: Callable[[str], None]) -> TrainedModel:
    announced = False

    def progress(_done: int, count: int) -> None:
        nonlocal announced
        if not announced:
            announced = True
            say(f"training the model on {count} sample images (once)")

    return ready_model(CACHE / "models", progress=progress)


def _local_addresses(outputs: Mapping[str, Any], addresses: Mapping[str, str]) -> dict[str, str]:
    """The outputs that are addresses of App Engine, with those that they have on this machine."""
    return {key: addresses[value] for key, value in outputs.items() if isinstance(value, str) and value in addresses}


def _ignored_resources(counts: Mapping[str, int]) -> str:
    """One line on the resources that change nothing on one machine, in the order of :data:`IGNORED`."""
    named = [f"{counts[typ]} {names[counts[typ] > 1]}" for typ, names in IGNORED.items() if typ in counts]
    return f"Ignored locally: {', '.join(named) or 'nothing'}."
