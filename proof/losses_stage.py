"""Both functions and the review app on one Cloud Storage, with every request's fate, and Pub/Sub, in the test's hands.

The functions and the app are the real ones with their real clients, over the wire; a process that is to die is a process.
Pub/Sub's place is taken here, so that a message comes when a test says so: late, twice, before others, or in the middle.
"""

import base64
import gzip
import importlib
import io
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import functions_framework
import grpc
import httpx2
from flask import Flask
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from google.pubsub_v1.types import PublishRequest, PublishResponse
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from inspection import layout
from inspection.environment import ReviewEnvironment, SignInMode
from inspection.labels import REJECTED
from inspection.logs import structured_logger
from inspection.push import REPEATED
from inspection.routing import Thresholds, folder_for
from local.google.faults import FaultyGate, Kind, NoFaults, Once
from local.google.gate import Call, RequestLog
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
from webapp import images, picture_store, reviewing, waiting
from webapp.guard import PAGE_HEADER
from webapp.images import ImageLinks
from webapp.main import google_credentials, review_app, storage_client
from webapp.picture import PictureId
from webapp.waiting import COUNTING_THREAD, WaitingCount

ROOT = Path(__file__).resolve().parents[1]
INBOUND, PREDICTION = "inbound", "prediction"
TOPIC = "projects/factory/topics/predictions"
AUTOML_MODEL = "projects/factory/locations/us-central1/models/ICN42"
VERTEX_MODEL = "projects/factory/locations/europe-west4/endpoints/42"
LABELS = ("ok", "defect")
THRESHOLDS = Thresholds(labels=LABELS, common=0.8)
ANNA, BERT = "anna@example.com", "bert@example.com"
SITE = "https://review.example.com"
CONTENT_TYPES = ("image/jpeg", "image/pjpeg", "application/octet-stream")
"""What cameras call a JPEG."""

PREDICT, PREDICT_VERTEX, MOVE, REVIEW = (
    f"{part}@factory.iam.gserviceaccount.com" for part in ("predict", "predict-vertex", "move", "review")
)

SECONDS_TO_GIVE_UP = 0.15
"""Instead of the half minute that the functions' and the app's clients wait."""
MAX_ATTEMPTS = 5

GZIP = b"\x1f\x8b"
"""https://www.rfc-editor.org/rfc/rfc1952#section-2.3.1"""
A_SHIFT = timedelta(hours=8)
"""No test lets more time go by."""

DARK, GREY, LIGHT = 40, 128, 220
"""Of a picture: a good part, one that the model is unsure about, a defective one."""


@cache
def picture(grey: int, number: int) -> bytes:
    """A small JPEG; each number's bytes are its own."""
    buffer = io.BytesIO()
    Image.new("L", (16, 16), grey).save(buffer, "JPEG", comment=f"picture {number}".encode())
    return buffer.getvalue()


class Brightness:
    """A model whose answer can be foretold from the picture, and from nothing else."""

    labels = LABELS

    def __init__(self) -> None:
        self.answers_otherwise = False
        """Says the other label of every picture, as a model does that was trained anew."""

    def scores(self, picture: bytes) -> dict[str, float]:
        """As :class:`local.google.models.classifier.TrainedModel` gives them."""
        grey = Image.open(io.BytesIO(picture)).convert("L").getpixel((8, 8))
        assert isinstance(grey, int | float)
        ok = 0.97 if grey < (DARK + GREY) / 2 else 0.55 if grey < (GREY + LIGHT) / 2 else 0.0625
        return {"ok": 1 - ok, "defect": ok} if self.answers_otherwise else {"ok": ok, "defect": 1 - ok}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A picture as the camera uploaded it; `source` tells it from every other one."""

    name: str
    generation: int
    data: bytes
    content_type: str
    content_encoding: str = ""
    metadata: Mapping[str, str]
    """The camera's own."""

    @property
    def source(self) -> str:
        """As it stands in the metadata of its copy."""
        return layout.source_uri(INBOUND, self.name, self.generation)


@dataclass(frozen=True)
class Found:
    """An object of a bucket."""

    name: str
    generation: int
    metadata: Mapping[str, str]
    content_type: str
    content_encoding: str
    read: Callable[[], bytes]


NOTES = "notes"
"""Of the camera's metadata, and more than there is room for: it may be left out."""


def what_is_wrong(
    sent: Iterable[Sent],
    inbound: Iterable[Found],
    predicted: Iterable[Found],
    *,
    scores: Callable[[bytes], Mapping[str, float] | None],
    models: Container[str],
    replaced: frozenset[str] | set[str] = frozenset(),
    waiting: frozenset[str] | set[str] = frozenset(),
    bucket: str = INBOUND,
) -> list[str]:
    """Every picture that is lost, doubled, changed, in the wrong folder or told untruths about; empty if all is well.

    Args:
        sent: every picture that was uploaded.
        inbound: what is in the inbound bucket now.
        predicted: what is in the prediction bucket now.
        scores: what the model says of a picture's bytes; None where it cannot take them.
        models: the names of those that were asked.
        replaced: the sources that the camera itself overwrote before their turn.
        waiting: the sources that may lie in the inbound bucket, as their messages are kept.
        bucket: the inbound bucket's name.
    """
    problems: list[str] = []
    places: dict[str, list[Found]] = {}
    for found in predicted:
        places.setdefault(found.metadata.get(layout.SOURCE, f"{found.name}, which says no source"), []).append(found)
    still_inbound = {layout.source_uri(bucket, found.name, found.generation): found for found in inbound}
    for one in sent:
        source = layout.source_uri(bucket, one.name, one.generation)
        copies, original = places.pop(source, []), still_inbound.pop(source, None)
        if source in replaced:
            problems += [f"{source} was replaced by the camera, and is in {copy.name}" for copy in copies]
            continue
        problems += _misplaced(source, copies, original, kept=source in waiting)
        for place in [*copies, *([original] if original else [])]:
            problems += _changes(place, one)
        problems += [problem for copy in copies for problem in _untruths(copy, scores(one.data), models)]
        problems += [problem for copy in copies for problem in _too_full(copy)]
    problems += [
        f"FOREIGN: {found.name} ({source}) was never sent" for source, all_ in places.items() for found in all_
    ]
    problems += [f"FOREIGN: {source} in the inbound bucket was never sent" for source in still_inbound]
    return problems


def _misplaced(source: str, copies: list[Found], original: Found | None, *, kept: bool) -> list[str]:
    where = [copy.name for copy in copies]
    if original and not (copies and kept):  # what is left to do may be the original's deletion
        where.append("the inbound bucket")
    if not where:
        return [f"LOST: {source} is nowhere"]
    if len(where) > 1:
        return [f"DOUBLED: {source} is in {' and in '.join(where)}"]
    if original and not kept:
        return [f"STUCK: {source} is in the inbound bucket, and no message is kept for it"]
    return []


def _changes(place: Found, sent: Sent) -> list[str]:
    changed = [f"CHANGED: {place.name} has not the bytes of {sent.source}"] if place.read() != sent.data else []
    camera = {key: value for key, value in place.metadata.items() if not layout.is_our_key(key) and key != NOTES}
    for what, has, had in (
        ("content type", place.content_type, sent.content_type),
        ("content encoding", place.content_encoding, sent.content_encoding),
        ("metadata of the camera's own", camera, sent.metadata),
    ):
        if has != had:
            changed.append(f"CHANGED: {place.name} has the {what} {has}, {sent.source} had {had}")
    return changed


def _too_full(copy: Found) -> list[str]:
    filed = [entry for entry in copy.metadata.items() if entry[0] not in layout.REVIEW_METADATA]
    room = layout.MAX_METADATA_BYTES - sum(map(layout.metadata_bytes, filed))
    needed = layout.REVIEW_RESERVE_BYTES
    return [f"NO ROOM: {copy.name} has {room} bytes left for a decision, which may need {needed}"] * (room < needed)


def _untruths(copy: Found, scores: Mapping[str, float] | None, models: Container[str]) -> list[str]:
    metadata = copy.metadata
    folder = copy.name.partition("/")[0]
    model = metadata.get(layout.MODEL, "")
    problems = [] if model in models else [f"{copy.name} says {model}, which was never asked"]
    if scores is None:
        if folder != REJECTED or not metadata.get(layout.ERROR):
            problems.append(
                f"{copy.name} is no picture, and its place or its metadata {dict(metadata)} does not say so"
            )
        return problems
    label = max(scores, key=scores.__getitem__)
    if metadata.get(layout.PREDICTION_LABEL) != label:
        problems.append(f"{copy.name} says {metadata.get(layout.PREDICTION_LABEL)}, the model {label}")
    if abs(float(metadata.get(layout.PREDICTION_SCORE, -1)) - scores[label]) > 1e-5:
        problems.append(f"{copy.name} says {metadata.get(layout.PREDICTION_SCORE)}, the model {scores[label]}")
    decision = metadata.get(layout.DECISION)
    expected = folder_for(label, scores[label], THRESHOLDS)
    if folder == "human_decided":
        last = copy.name.rpartition("/")[2]
        known = decision and metadata.get(layout.DECIDED_BY) and _is_past(metadata.get(layout.DECIDED_AT, ""))
        if not (known and last.startswith(f"{decision}_")):
            problems.append(f"{copy.name} is decided, and its metadata {dict(metadata)} says otherwise")
    elif folder != expected:
        problems.append(f"{copy.name} belongs into {expected}/")
    return problems


def _is_past(time: str) -> bool:
    try:
        return datetime.fromisoformat(time) <= datetime.now(UTC) + A_SHIFT
    except (ValueError, TypeError):  # no time, or one without its zone
        return False


@dataclass
class Message:
    """One message on its way to one function."""

    body: dict[str, Any]
    attempts: int = 0
    why: str = ""
    """The log line of the last attempt."""

    @property
    def is_repeated(self) -> bool:
        """Whether its function will know that it may not be the first."""
        return self.attempts > 0 or REPEATED in self.body["message"]["attributes"]


@dataclass
class Subscription:
    """Pub/Sub's side of a push subscription; it delivers nothing by itself."""

    name: str
    waiting: list[Message] = field(default_factory=list[Message])
    dead: list[Message] = field(default_factory=list[Message])
    _published: int = 0

    def publish(self, data: bytes, attributes: Mapping[str, str] | None = None) -> str:
        """Take a message."""
        self._published += 1
        identifier = f"{self.name}-{self._published}"
        message = {
            "data": base64.b64encode(data).decode(),
            "attributes": dict(attributes or {}),
            "messageId": identifier,
            "message_id": identifier,
            "publishTime": "2026-11-21T08:30:00Z",
        }
        self.waiting.append(
            Message({"message": message, "subscription": f"projects/factory/subscriptions/{self.name}"})
        )
        return identifier

    def deliver(self, at: int, post: Callable[[dict[str, Any]], int], log: Callable[[], str]) -> int:
        """One attempt at one of the waiting messages; returns the answer's status.

        https://cloud.google.com/pubsub/docs/handling-failures: anything but 2xx is another attempt, until there are
        no more.
        """
        message = self.waiting[at]
        message.attempts += 1
        status = post({**message.body, "deliveryAttempt": message.attempts})
        if status // 100 == 2:
            self.waiting.remove(message)
        else:
            message.why = log()
            if message.attempts == MAX_ATTEMPTS:
                self.waiting.remove(message)
                self.dead.append(message)
        return status

    def deliver_twice(self, at: int) -> None:
        """Let a message come once more, as if Pub/Sub had never heard that it was worked on."""
        self.waiting.append(replace(self.waiting[at]))

    def send_dead_letters_again(self) -> None:
        """What a person does once the reason is gone."""
        for letter in self.dead:
            message = letter.body["message"]
            self.publish(base64.b64decode(message["data"]), message["attributes"] | {REPEATED: "true"})
        self.dead.clear()

    def sources(self) -> set[str]:
        """Of the pictures that the dead letters are about."""
        return set(map(_source_of, self.dead))

    def passing_for_first(self) -> list[str]:
        """The source of every message that does not say that it may not be the first about it."""
        return [_source_of(message) for message in (*self.waiting, *self.dead) if not message.is_repeated]


def _source_of(message: Message) -> str:
    content = message.body["message"]
    if "objectId" in (fields := content["attributes"]):
        return layout.source_uri(INBOUND, fields["objectId"], int(fields["objectGeneration"]))
    fields = json.loads(base64.b64decode(content["data"]))
    return layout.source_uri(INBOUND, fields["image_name"], fields["generation"])


class Requests(RequestLog):
    """Remembers as well which calls took effect."""

    def __init__(self) -> None:
        super().__init__()
        self._took_effect: list[Call] = []

    def leave(self, call: Call) -> None:
        self._took_effect.append(call)

    def of(self, identity: str) -> list[tuple[str, bool]]:
        """Methods since the last :meth:`clear`, and whether each took effect."""
        return [
            (call.method, any(call is other for other in self._took_effect))
            for call in self.calls
            if call.identity == identity
        ]

    def clear(self) -> None:
        super().clear()
        self._took_effect.clear()


class _InWork:
    """Counts the requests that are being answered: those whose answers are withheld go on after their askers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    @contextmanager
    def one(self) -> Generator[None]:
        with self._changed:
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def ends(self) -> bool:
        """Whether there are none, now or in a moment."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, 0.01)

    def watch(self, app: ASGIApp) -> ASGIApp:
        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            with self.one():
                await app(scope, receive, send)

        return watched


class _HeaderSignIn:
    """Believes a header: who signs in is not in question here."""

    HEADER = "x-reviewer"

    def email(self, headers: Mapping[str, str]) -> str:
        return headers[self.HEADER]


def new_review_app(now: Callable[[], datetime], monotonic: Callable[[], float]) -> ASGIApp:
    """The review app of this process; the environment says where the storage is."""
    credentials = google_credentials()
    bucket = storage_client(credentials).bucket(PREDICTION)
    settings = ReviewEnvironment(
        prediction_bucket=PREDICTION,
        labels=LABELS,
        reviewers=frozenset({ANNA, BERT}),
        sign_in=SignInMode.DEVELOPMENT,
    )
    return review_app(
        settings,
        reviewing=reviewing.Reviewing(bucket, LABELS, now=now, monotonic=monotonic),
        images=ImageLinks(bucket, credentials, REVIEW),
        sign_in=_HeaderSignIn(),
    )


@contextmanager
def app_does_not_try_again(counts: Callable[[], bool]) -> Generator[None]:
    """Leave out the review app's own second try.

    And, unless `counts` says so, its count of what waits: in the background and now and then, its requests would come at
    any time among those of the steps.
    """
    count = WaitingCount._count  # pyright: ignore[reportPrivateUsage]

    def count_or_not(count_of: WaitingCount) -> None:
        if counts():
            count(count_of)
        else:
            count_of._first_page.set()  # pyright: ignore[reportPrivateUsage]

    with (
        patch.object(WaitingCount, "_count", count_or_not),
        patch.object(waiting, "_RETRY", None),
        patch.object(picture_store, "_RETRY", None),
    ):
        yield


@contextmanager
def app_tries_again() -> Generator[None]:
    """Let the review app's client mend failures by itself, as it does when deployed, but without its pauses."""
    retry = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.05).with_timeout(5)
    with patch.object(picture_store, "_RETRY", retry), patch.object(waiting, "_RETRY", retry):
        yield


def start(target: str, environment: Mapping[str, str], *, folder: Path = ROOT) -> Flask:
    """A function as its server starts it; its clients are made at once, while the environment is its own."""
    with patch.dict(os.environ, {**environment, "FUNCTION_TARGET": "", "FUNCTION_SIGNATURE_TYPE": ""}):
        app = functions_framework.create_app(target, str(folder / "functions" / target / "main.py"))
        main = sys.modules["main"]
        if target == "predict":
            for module in ("classifiers.automl", "classifiers.vertex"):
                importlib.import_module(module)
            main._clients()
        else:
            main._mover()
    assert isinstance(app, Flask)
    return app


def _be_quiet() -> None:
    """Let what a process logs before it dies not stand in a report."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def push_in_a_process(target: str, environment: Mapping[str, str], body: dict[str, Any]) -> None:
    """Work on one push; for a process of its own, which then ends."""
    _be_quiet()
    status = start(target, environment).test_client().post("/", json=body).status_code
    os._exit(0 if status // 100 == 2 else 1)


def ask_in_a_process(
    answers: Connection,
    environment: Mapping[str, str],
    path: str,
    body: object | None,
    headers: Mapping[str, str],
    counts: bool,
) -> None:
    """Work on one request of the page; for a process of its own, which then ends."""
    _be_quiet()
    os.environ.update(environment)
    app = new_review_app(lambda: datetime.now(UTC), time.monotonic)
    with app_does_not_try_again(counts=lambda: counts), TestClient(app, base_url=SITE) as client:
        answer = _ask(client, path, body, headers)
        answers.send((answer.status_code, dict(answer.headers), answer.content))
        os._exit(0)


def _ask(client: TestClient, path: str, body: object | None, headers: Mapping[str, str]) -> httpx2.Response:
    method = "GET" if body is None else "POST"
    answer = client.request(method, path, json=body, headers=dict(headers), follow_redirects=False)
    for thread in threading.enumerate():
        if thread.name == COUNTING_THREAD:
            thread.join()
    return answer


PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "google.cloud.automl_v1", "google.cloud.storage"])


@dataclass
class Page:
    """A page that a reviewer has open; what is not answered it sends again, as the real one does."""

    line: "Line"
    email: str
    number: int = 0
    failures: int = 0
    """How often there was no answer that counts."""

    def ask(self, path: str, body: object | None) -> httpx2.Response | None:
        """One request, a GET where there is no body; None where the app died of it."""
        headers = {
            _HeaderSignIn.HEADER: self.email,
            PAGE_HEADER: f"page-of-{self.email.partition('@')[0]}",
            "Accept": "application/json",
        }
        return self.line.ask(path, body, headers)

    def do(self, path: str, body: object | None = None, *, tries: int = 6) -> httpx2.Response:
        """Send until there is an answer that counts."""
        for _ in range(tries):
            answer = self.ask(path, body)
            if answer is not None and answer.status_code < 500:
                return answer
            self.failures += 1
        raise AssertionError(f"{path} is never answered")

    def queue(self, count: int = 1) -> list[dict[str, Any]]:
        """The next pictures."""
        answer = self.do("/api/queue", {"count": count})
        assert answer.status_code == 200, answer.text
        return answer.json()["pictures"]

    def decide(self, shown: dict[str, Any], label: str) -> httpx2.Response:
        """Decide on a picture."""
        self.number += 1
        body = {"label": label, "claim": shown["claim"], "number": self.number}
        return self.do(f"/api/pictures/{shown['id']}/decision", body)

    def undo(self, decision: dict[str, Any]) -> httpx2.Response:
        """Take a decision back."""
        return self.do("/api/undo", {"undo": decision["undo"], "number": self.number})

    def image(self, shown: dict[str, Any]) -> httpx2.Response:
        """The way to the picture itself."""
        return self.do(shown["image_url"])

    def waiting(self) -> dict[str, Any]:
        """How many pictures wait, as the page is told when it opens."""
        return self.do("/api/session").json()["waiting"]

    def skip(self, shown: dict[str, Any]) -> httpx2.Response:
        """Leave a picture to others."""
        return self.do(f"/api/pictures/{shown['id']}/skip", {"claim": shown["claim"]})


class Line:
    """The whole line. :func:`running_line` starts one; :meth:`reset` empties it."""

    def __init__(self, store: ObjectStore, stack: ExitStack, functions: Path) -> None:
        self._store = store
        self.requests = Requests()
        self.gate = FaultyGate(self.requests)
        self.gate.kill = self._kill
        self._in_work = _InWork()
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
        self._log = _LastLine()
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
        self.anna, self.bert = Page(self, ANNA), Page(self, BERT)

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
        self.anna, self.bert = Page(self, ANNA), Page(self, BERT)
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
            scores=_scores,
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
            answer = _ask(self._review, path, body, headers)
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


class _LastLine(logging.Handler):
    """What was logged last: why a push was refused."""

    def __init__(self) -> None:
        super().__init__()
        self._line = ""

    def emit(self, record: logging.LogRecord) -> None:
        fields: Mapping[str, object] = getattr(record, "fields", {})
        self._line = f"{fields.get('image')}: {record.getMessage()}"

    def take(self) -> str:
        line, self._line = self._line, ""
        return line


def _scores(data: bytes) -> Mapping[str, float] | None:
    try:
        return Brightness().scores(gzip.decompress(data) if data.startswith(GZIP) else data)
    except OSError:
        return None


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
