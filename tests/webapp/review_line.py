"""A prediction bucket in the local storage server, a review app on it, and pages that reviewers have open."""

import json
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import jwt
from google.auth.crypt.es import EsSigner
from google.cloud.storage import Blob, Bucket
from starlette.testclient import TestClient

from inspection import layout
from inspection.environment import ReviewEnvironment, SignInMode
from local.google.gate import ApiError, Call, RequestLog
from local.google.storage.server import storage_app
from local.google.storage.signing import Signers
from local.google.storage.store import ObjectStore
from webapp.guard import PAGE_HEADER
from webapp.images import ImageLinks
from webapp.main import google_credentials, review_app, storage_client
from webapp.reviewing import Reviewing
from webapp.sign_in import IAP_HEADER, IAP_ISSUER, IdentityAwareProxy
from webapp.waiting import COUNTING_THREAD

AUDIENCE = "/projects/123/apps/line-4711"
SIGNER = "review@line-4711.iam.gserviceaccount.com"
ANNA, BERT = "anna@example.com", "bert@example.com"
LABELS = ("ok", "defect", "blow hole")
SITE = "https://review.example.com"
JPEG = b"\xff\xd8\xff\xe0 as good as a picture"


class WatchedGate(RequestLog):
    """Remembers the calls; runs `before` and `after` hooks by method, once each."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Callable[[], None]] = {}

    def enter(self, call: Call) -> None:
        super().enter(call)
        self.before.pop(call.method, lambda: None)()

    def leave(self, call: Call) -> None:
        self.after.pop(call.method, lambda: None)()


def fail(status: int = 400) -> Callable[[], None]:
    """A hook that ends the call with an error; the default is one that no client tries again."""

    def raise_error() -> None:
        raise ApiError(status, "test", "failed on purpose")

    return raise_error


@contextmanager
def storage_server(store: ObjectStore, gate: WatchedGate) -> Generator[str]:
    # With the protocol named, asyncio sets TCP_NODELAY; without, each answer waits 40 ms for an acknowledgement.
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with tcp as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        app = storage_app(store, gate=gate, signers=Signers([SIGNER]))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class Clock:
    """The time, as the test has it."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def pass_by(self, **time: float) -> None:
        self.time += timedelta(**time)


class IapKey:
    """A key pair as Identity-Aware Proxy has one."""

    def __init__(self, key_id: str = "key-1") -> None:
        self.key_id = key_id
        self.private = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_pem(self) -> str:
        return (
            self.private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def token(self, email: object, *, header: dict[str, Any] | None = None, **changed: object) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": IAP_ISSUER,
            "aud": AUDIENCE,
            "iat": now - 10,
            "exp": now + 600,
            "sub": "accounts.google.com:1",
            "email": email,
        } | changed
        claims = {key: value for key, value in claims.items() if value is not None}
        header = {"kid": self.key_id} | (header or {})
        return jwt.encode(EsSigner(self.private), claims, header=header).decode()


@dataclass
class Page:
    """A page that a reviewer has open."""

    client: TestClient
    headers: dict[str, str]
    number: int = 0
    last: dict[str, Any] = field(default_factory=dict[str, Any])
    undos: list[str] = field(default_factory=list[str])

    def get(self, path: str) -> httpx2.Response:
        return self.client.get(path, headers=self.headers)

    def post(self, path: str, body: object, **headers: str) -> httpx2.Response:
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, json=body, headers=sent)

    def queue(self, count: int = 5, cursor: str | None = None, held: Iterable[str] = ()) -> dict[str, Any]:
        answer = self.post("/api/queue", {"count": count, "cursor": cursor, "held": list(held)})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pictures(self, count: int = 5) -> list[dict[str, Any]]:
        return self.queue(count)["pictures"]

    def decide(self, picture: dict[str, Any], label: str = "ok", number: int | None = None) -> httpx2.Response:
        if number is None:
            self.number += 1
            number = self.number
        body = {"label": label, "claim": picture["claim"], "number": number}
        answer = self.post(f"/api/pictures/{picture['id']}/decision", body)
        if answer.status_code == 200:
            self.undos.append(answer.json()["undo"])
        return answer

    def skip(self, picture: dict[str, Any]) -> httpx2.Response:
        return self.post(f"/api/pictures/{picture['id']}/skip", {"claim": picture["claim"]})

    def undo(self, undo: str | None = None) -> httpx2.Response:
        return self.post("/api/undo", {"undo": undo or self.undos[-1], "number": self.number})

    def renew(self, *pictures: dict[str, Any]) -> httpx2.Response:
        return self.post("/api/claims", {"pictures": [_claimed(picture) for picture in pictures]})

    def release(self, *pictures: dict[str, Any]) -> httpx2.Response:
        return self.post("/api/claims/release", {"pictures": [_claimed(picture) for picture in pictures]})


def _claimed(picture: dict[str, Any]) -> dict[str, Any]:
    return {"id": picture["id"], "claim": picture["claim"]}


class Line:
    """One prediction bucket and the review app on it."""

    def __init__(self, bucket: Bucket, gate: WatchedGate, iap: IapKey, page_folder: Path) -> None:
        self.bucket = bucket
        self.gate = gate
        self.iap = iap
        self.clock = Clock()
        self.page_folder = page_folder
        self.reviewing = Reviewing(bucket, LABELS, now=self.clock, monotonic=self.clock.monotonic)
        settings = ReviewEnvironment(
            prediction_bucket=str(bucket.name),
            labels=LABELS,
            reviewers=frozenset({ANNA, BERT}),
            sign_in=SignInMode.IAP,
            iap_audience=AUDIENCE,
        )
        self.app = review_app(
            settings,
            reviewing=self.reviewing,
            images=ImageLinks(bucket, google_credentials(), SIGNER),
            sign_in=IdentityAwareProxy(audience=AUDIENCE, fetch_keys=lambda: {iap.key_id: iap.public_pem}),
            page=page_folder,
        )
        self.client = TestClient(self.app, base_url=SITE, raise_server_exceptions=False, follow_redirects=False)

    def page(self, email: str = ANNA, page: str = "page-of-anna") -> Page:
        return Page(self.client, {IAP_HEADER: self.iap.token(email), PAGE_HEADER: page, "Accept": "application/json"})

    def put(self, *names: str, folder: str = "unclear", **metadata: str) -> list[Blob]:
        blobs: list[Blob] = []
        for name in names:
            blob = self.bucket.blob(f"{folder}/{name}")
            blob.metadata = {
                layout.PREDICTION_LABEL: "defect",
                layout.PREDICTION_SCORE: "0.61",
                layout.MODEL: "ICN1",
                layout.SOURCE: layout.source_uri("inbound", name, 7),
            } | metadata
            blob.upload_from_string(JPEG, content_type="image/jpeg")
            blobs.append(blob)
        return blobs

    def names(self) -> list[str]:
        return [str(blob.name) for blob in self.bucket.list_blobs()]

    def metadata(self, name: str) -> dict[str, str]:
        blob = self.bucket.get_blob(name)
        assert blob is not None, f"{name} is not among {self.names()}"
        return dict(blob.metadata or {})

    @contextmanager
    def requests(self) -> Generator[list[str]]:
        """The storage requests of the block."""
        let_counting_end()
        self.gate.clear()
        methods: list[str] = []
        yield methods
        mine = [call for call in self.gate.calls if call.bucket in {None, self.bucket.name}]
        methods += [call.method.removeprefix("storage.objects.") for call in mine]


def let_counting_end() -> None:
    """Wait for the counts of waiting pictures that run in the background."""
    for thread in threading.enumerate():
        if thread.name == COUNTING_THREAD:
            thread.join()


def new_line(address: str, gate: WatchedGate, iap: IapKey, name: str, page_folder: Path) -> Line:
    """A line with an empty bucket; STORAGE_EMULATOR_HOST must point at `address`."""
    httpx2.post(f"{address}/storage/v1/b?project=local", content=json.dumps({"name": name})).raise_for_status()
    return Line(storage_client(google_credentials()).bucket(name), gate, iap, page_folder)
