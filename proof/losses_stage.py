"""Both functions and the review app on one Cloud Storage, with every request's fate, and Pub/Sub, in the test's hands.

The functions and the app are the real ones with their real clients, over the wire; a process that is to die is a process.
Pub/Sub's place is taken here, so that a message comes when a test says so: late, twice, before others, or in the middle.
"""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import grpc
import httpx2
from flask import Flask
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.pubsub_v1.types import PublishRequest, PublishResponse
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from inspection import layout
from inspection.logs import structured_logger
from local.google.faults import FaultyGate, Kind, NoFaults, Once
from local.google.gate import Call
from local.google.http import serve
from local.google.identity import IdentityMiddleware, identity_path
from local.google.models.automl_prediction import prediction_service
from local.google.models.registry import ModelRegistry, RegisteredModel
from local.google.models.vertex_prediction import prediction_routes
from local.google.permissions import PUBLISH
from local.google.rpc import RunningGrpcServer, unary_method
from local.google.storage.server import storage_app
from local.google.storage.signing import Signers
from local.google.storage.store import ObjectStore
from proof.losses_check import NOTES, Found, Sent, what_is_wrong
from proof.losses_images import (
    ANNA,
    AUTOML_MODEL,
    BERT,
    CONTENT_TYPES,
    INBOUND,
    LABELS,
    MOVE,
    PREDICT,
    PREDICT_VERTEX,
    PREDICTION,
    REVIEW,
    ROOT,
    SITE,
    THRESHOLDS,
    TOPIC,
    VERTEX_MODEL,
    Brightness,
    scores_of,
)
from proof.losses_messages import InWork, LastLine, Requests, Subscription
from proof.losses_parts import (
    PROCESSES,
    Page,
    app_does_not_try_again,
    ask,
    ask_in_a_process,
    new_review_app,
    push_in_a_process,
    start,
)
from webapp import images, picture_store, waiting
from webapp.picture import PictureId

SECONDS_TO_GIVE_UP = 0.15
"""Instead of the half minute that the functions' and the app's clients wait."""


class Line:
    """The whole line. :func:`running_line` starts one; :meth:`reset` empties it."""

    def __init__(self, store: ObjectStore, stack: ExitStack, functions: Path) -> None:
        self._store = store
        self.requests = Requests()
        self.gate = FaultyGate(self.requests)
        self.gate.kill = self._kill
        self._in_work = InWork()
        self._victim: Any = None
        self._victim_ready = threading.Event()
        self.now = datetime.now(UTC)
        self._minutes = 0.0
        self.images, self.predictions = Subscription("images"), Subscription("predictions")
        self.sent: list[Sent] = []
        self.replaced: set[str] = set()
        self.models: set[str] = set()
        """Those that were asked."""
        self.counts = False
        """Whether the review app counts what waits."""
        self.rewrite_calls = 1
        """How many calls a copy takes."""
        self._log = LastLine()
        for part in ("predict", "move", "review", "review.guard", "review.waiting"):
            logger = structured_logger(part)
            stack.enter_context(patch.object(logger, "handlers", [self._log]))

        models = ModelRegistry()
        self.model = Brightness()
        for name in (AUTOML_MODEL, VERTEX_MODEL):
            models.register(RegisteredModel(name=name, model=self.model, display_name="brightness"))
        buckets = storage_app(
            store,
            gate=self.gate,
            publish=self._announce,
            signers=Signers([REVIEW]),
            rewrite_calls=lambda: self.rewrite_calls,
        )
        app = Starlette(routes=[*prediction_routes(models, gate=self.gate), Mount("/", buckets)])
        server = stack.enter_context(serve(self._in_work.watch(IdentityMiddleware(app))))
        self.url = server.url
        client = storage.Client(
            project="factory", credentials=AnonymousCredentials(), client_options={"api_endpoint": server.url}
        )
        self.inbound, self.prediction = client.create_bucket(INBOUND), client.create_bucket(PREDICTION)
        self.inbound.notification(
            topic_name="images", topic_project="factory", event_types=["OBJECT_FINALIZE"], payload_format="JSON_API_V1"
        ).create()

        self.pushes: Counter[str] = Counter()
        self.environments: dict[str, tuple[str, dict[str, str]]] = {}
        self._apps: dict[str, Flask] = {}
        self._once: list[dict[str, Any]] = []
        for identity, target, own in (
            (PREDICT, "predict", {"MODEL_ID": AUTOML_MODEL, "PREDICTIONS_TOPIC": TOPIC}),
            (PREDICT_VERTEX, "predict", {"MODEL_ID": VERTEX_MODEL, "PREDICTIONS_TOPIC": TOPIC}),
            (
                MOVE,
                "move",
                {
                    "PREDICTION_BUCKET": PREDICTION,
                    "LABELS": json.dumps(LABELS),
                    "THRESHOLD": str(THRESHOLDS.common),
                    "THRESHOLDS": "{}",
                },
            ),
        ):
            door = RunningGrpcServer(
                [self._publisher(identity), prediction_service(models, gate=self.gate, identity=identity)]
            )
            stack.callback(door.stop)
            here = {
                "STORAGE_EMULATOR_HOST": self.url + identity_path(identity),
                "AIPLATFORM_EMULATOR_HOST": self.url + identity_path(identity),
                "PUBSUB_EMULATOR_HOST": door.address,
                "AUTOML_EMULATOR_HOST": door.address,
            }
            self.environments[identity] = target, here | own
            self._apps[identity] = start(target, here | own, folder=functions)
            self._once.append(sys.modules["main" if target == "predict" else "mover"]._ONCE)
        self._review_environment = {"STORAGE_EMULATOR_HOST": self.url + identity_path(REVIEW)}
        with patch.dict(os.environ, self._review_environment):
            app = new_review_app(lambda: self.now, lambda: self._minutes * 60)
        self._review = TestClient(app, base_url=SITE, raise_server_exceptions=False)
        stack.enter_context(self._review)
        self.anna, self.bert = Page(self.ask, ANNA), Page(self.ask, BERT)

    # What can be done

    def upload(self, name: str, data: bytes, *, content_encoding: str = "", notes: str = "") -> Sent:
        """What a camera does. An image of this name that nobody has copied yet is overwritten, by the camera itself.

        `notes` are of its metadata, and more than there is room for.
        """
        copied = {found.metadata.get(layout.SOURCE) for found in self.found(PREDICTION)}
        for one in self.sent:
            if one.name == name and one.source not in copied:
                self.replaced.add(one.source)
        blob = self.inbound.blob(name)
        blob.metadata = {NOTES: notes} if notes else None
        return self._send(blob, data, content_encoding=content_encoding)

    def put(self, name: str, data: bytes) -> Sent:
        """A picture that is in the prediction bucket since earlier."""
        folder, _, last = name.partition("/")
        scores = Brightness().scores(data)
        label = max(scores, key=scores.__getitem__)
        generation = 7 + len(self.sent)
        blob = self.prediction.blob(name)
        blob.metadata = {
            layout.SOURCE: layout.source_uri(INBOUND, f"earlier/{last}", generation),
            layout.MODEL: AUTOML_MODEL,
            layout.PREDICTION_LABEL: label,
            layout.PREDICTION_SCORE: str(scores[label]),
        }
        self.models.add(AUTOML_MODEL)
        if folder == "human_decided":
            blob.metadata |= {
                layout.DECISION: name.rpartition("/")[2].partition("_")[0],
                layout.DECIDED_BY: BERT,
                layout.DECIDED_AT: self.now.isoformat(),
            }
        return self._send(blob, data, name=f"earlier/{last}", generation=generation)

    def _send(
        self, blob: storage.Blob, data: bytes, *, name: str = "", generation: int = 0, content_encoding: str = ""
    ) -> Sent:
        number = len(self.sent)
        camera = {"station": str(number), "taken-by": f"camera {number} \u00e4"}
        content_type = CONTENT_TYPES[number % len(CONTENT_TYPES)]
        blob.metadata = (blob.metadata or {}) | camera
        blob.content_encoding = content_encoding or None
        blob.upload_from_string(data, content_type=content_type)
        sent = Sent(
            name=name or str(blob.name),
            generation=generation or int(blob.generation or 0),
            data=data,
            content_type=content_type,
            content_encoding=content_encoding,
            metadata=camera,
        )
        self.sent.append(sent)
        return sent

    def predict(self, at: int = 0, identity: str = PREDICT) -> int:
        """One delivery of an announced picture."""
        self.models.add(self.environments[identity][1]["MODEL_ID"])
        return self.images.deliver(at, lambda body: self._push(identity, body), self._log.take)

    def move(self, at: int = 0) -> int:
        """One delivery of a prediction."""
        return self.predictions.deliver(at, lambda body: self._push(MOVE, body), self._log.take)

    def flow(self, identity: str = PREDICT) -> None:
        """Deliver until nothing waits."""
        while self.images.waiting or self.predictions.waiting:
            if self.images.waiting:
                self.predict(identity=identity)
            if self.predictions.waiting:
                self.move()

    @contextmanager
    def _patience(self) -> Generator[None]:
        """Let no client wait for half a minute in vain; and give those that need not wait in vain all their time."""
        plan = self.gate.plan
        if not (isinstance(plan, Once) and plan.kind in {Kind.TIME_OUT, Kind.LATE} and not plan.struck):
            yield
            return
        with ExitStack() as stack:
            for once in self._once:
                stack.enter_context(patch.dict(once, timeout=SECONDS_TO_GIVE_UP))
            for name in ("classifiers.automl", "classifiers.vertex"):
                stack.enter_context(patch.object(sys.modules[name], "TIMEOUT_SECONDS", SECONDS_TO_GIVE_UP))
            for module in (picture_store, waiting, images):
                stack.enter_context(patch.object(module, "_TIMEOUT", SECONDS_TO_GIVE_UP))
            yield

    def let_late_requests_happen(self) -> None:
        """What was withheld takes effect now, or is refused."""
        deadline = time.monotonic() + 30
        while not self._in_work.ends():
            if time.monotonic() > deadline:
                raise TimeoutError("a request at the local cloud never ends")
            self.gate.release()

    def shown(self, picture: Mapping[str, Any]) -> tuple[str, int]:
        """Name and generation of a picture as the page knows it."""
        target = PictureId.parse(picture["id"])
        return target.name, target.generation

    def settle(self) -> None:
        """Let what was withheld take effect, and everything that waits come through; nothing fails any more."""
        self.gate.plan = NoFaults()
        self.let_late_requests_happen()
        self.flow()

    def reset(self) -> None:
        """Empty buckets, no messages, no failures."""
        self.gate.plan = NoFaults()
        self.let_late_requests_happen()
        for bucket in (INBOUND, PREDICTION):
            for found in self.found(bucket):
                self._store.delete(bucket, found.name)
        self.images, self.predictions = Subscription("images"), Subscription("predictions")
        self.sent, self.replaced, self.models = [], set(), set()
        self.now = datetime.now(UTC)
        self.anna, self.bert = Page(self.ask, ANNA), Page(self.ask, BERT)
        self.model.answers_otherwise = False
        self.counts, self.rewrite_calls = False, 1
        self.requests.clear()

    def pass_by(self, minutes: float) -> None:
        """Let time go by for the review app."""
        self.now += timedelta(minutes=minutes)
        self._minutes += minutes

    # What is to be seen

    def found(self, bucket: str) -> list[Found]:
        """All objects of a bucket."""

        def read(name: str) -> bytes:
            _, file = self._store.open(bucket, name)
            with file:
                return file.read()

        return [
            Found(
                found.name,
                found.generation,
                found.fields.get("metadata", {}),
                found.fields.get("contentType", ""),
                found.fields.get("contentEncoding", ""),
                lambda name=found.name: read(name),
            )
            for found in self._store.list(bucket).objects
        ]

    def problems(self) -> list[str]:
        """What is wrong with the pictures that were sent, now that nothing is under way."""
        return what_is_wrong(
            self.sent,
            self.found(INBOUND),
            self.found(PREDICTION),
            scores=scores_of,
            models=self.models,
            replaced=self.replaced,
            waiting=self.images.sources() | self.predictions.sources(),
        )

    # Inside

    def _announce(self, _topic: str, data: bytes, attributes: dict[str, str]) -> None:
        self.images.publish(data, attributes)

    def _publisher(self, identity: str) -> grpc.GenericRpcHandler:
        def publish(request: PublishRequest) -> PublishResponse:
            call = Call(identity=identity, method=PUBLISH, resource=request.topic)
            with self._in_work.one():
                self.gate.enter(call)
                identifiers = [
                    self.predictions.publish(message.data, message.attributes) for message in request.messages
                ]
                self.gate.leave(call)
            return PublishResponse(message_ids=identifiers)

        return grpc.method_handlers_generic_handler(
            "google.pubsub.v1.Publisher", {"Publish": unary_method(publish, PublishRequest, PublishResponse)}
        )

    @property
    def _somebody_dies(self) -> bool:
        plan = self.gate.plan
        return isinstance(plan, Once) and plan.kind is Kind.DEATH and not plan.struck

    def _push(self, identity: str, body: dict[str, Any]) -> int:
        target, environment = self.environments[identity]
        self.pushes[identity] += 1
        if self._somebody_dies:
            # As Cloud Run answers for an instance that ended.
            return 200 if self._in_a_process(push_in_a_process, target, environment, body) else 503
        with self._patience():
            status = self._apps[identity].test_client().post("/", json=body).status_code
        self._given_up()
        return status

    def ask(self, path: str, body: object | None, headers: Mapping[str, str]) -> httpx2.Response | None:
        """One request at the review app, a GET where there is no body."""
        if self._somebody_dies:
            answers, here = PROCESSES.Pipe(duplex=False)
            with answers, here:
                asked = (here, self._review_environment, path, body, headers, self.counts)
                if not self._in_a_process(ask_in_a_process, *asked):
                    return None
                status, answered_headers, content = answers.recv()
            return httpx2.Response(status, headers=answered_headers, content=content)
        with self._patience():
            answer = ask(self._review, path, body, headers)
        self._given_up()
        return answer

    def _given_up(self) -> None:
        plan = self.gate.plan
        if isinstance(plan, Once) and plan.kind is not Kind.LATE:
            self.let_late_requests_happen()

    def _in_a_process(self, work: Callable[..., None], *args: object) -> bool:
        """Whether it did its work to the end."""
        self._victim_ready.clear()
        self._victim = PROCESSES.Process(target=work, args=args)
        self._victim.start()
        self._victim_ready.set()
        self._victim.join()
        return self._victim.exitcode == 0

    def _kill(self, _call: Call) -> None:
        self._victim_ready.wait()
        os.kill(self._victim.pid, signal.SIGKILL)
        self._victim.join()


@contextmanager
def running_line(folder: Path, *, functions: Path = ROOT) -> Generator[Line]:
    """A line that runs.

    Args:
        folder: for its objects.
        functions: where the folder `functions` is; another one for functions that are broken on purpose.
    """
    with ExitStack() as stack, ObjectStore(folder) as store:
        line = Line(store, stack, functions)
        stack.enter_context(app_does_not_try_again(lambda: line.counts))
        yield line
