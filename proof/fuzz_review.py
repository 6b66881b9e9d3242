"""Mutated requests at the review app's API, between such as its page sends, by a reviewer who works on a queue."""

import base64
import hashlib
import json
import logging
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2

from inspection import layout
from inspection.environment import STORAGE_EMULATOR
from local.google.storage.store import ObjectStore
from proof.fuzz_mutations import Fuzzed, as_json, mutated, mutated_bytes
from tests.support.gate import ScriptedGate
from tests.webapp.review_line import (
    ANNA,
    BERT,
    JPEG,
    SITE,
    IapKey,
    Line,
    let_counting_end,
    new_line,
    storage_server,
)
from webapp.guard import PAGE_HEADER
from webapp.sign_in import IAP_HEADER

ROOT = Path(__file__).resolve().parents[1]
SECONDS_FOR_ONE = 20.0
_PICTURES = 8
"""That wait at least."""
_PATHS = ["/api/pictures//image", "/api/pictures/%ff/image", "/api/../secret.txt", "/%2e%2e/secret.txt", "/api/queue/"]


_SAFE = {"GET", "HEAD", "OPTIONS"}
_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "X" * 300)
_ODD_VALUES = (
    "", "x", "a" * 9000, "\xe9", "page of nobody", "text/plain", "application/json; charset=utf-16", "null",
    "\xff\xfe", "a, b", '"', "%00", "; ;", "=" * 50,
)  # fmt: skip
_ODD_HEADERS = {
    "Origin": (
        "http://[", "http://[::1", "https://", "://", "null", "https://evil.example", f"{SITE}.evil.example", f"{SITE}:444",
        f"{SITE}/", SITE.upper(), SITE.replace("https", "http"), f"https://a@{SITE.removeprefix('https://')}", "file:///etc/passwd",
    ),
    "Sec-Fetch-Site": ("cross-site", "same-site", "none", "same-origin, cross-site", "SAME-ORIGIN"),
    IAP_HEADER: ("{cut}", "{header nested}", "{claims nested}", "{no signature}", "{claims twice}", "..", "e30.e30.e30", "W10.W10.eA"),
    PAGE_HEADER: ("short", "a" * 65, "a/../../../b", "page-of-nobody"),
    "Host": ("evil.example", "[", "a:b:c", "127.0.0.1:99999"),
}  # fmt: skip


@dataclass(kw_only=True)
class Request:
    """One request; `template` is its path as the API's description writes it."""

    method: str
    template: str
    path: str
    body: Any = None


@dataclass
class Desk:
    """What a reviewer has on the desk."""

    rng: random.Random
    email: str
    number: int = 0
    pictures: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    undos: list[str] = field(default_factory=list[str])

    def next(self) -> Request:
        """What the page could send now."""
        rng, claims = self.rng, [{"id": picture["id"], "claim": picture["claim"]} for picture in self.pictures]
        requests: list[Callable[[], Request]] = [self._session, self._queue]
        if claims:
            requests += [self._image, self._decide, self._decide, self._skip]
            requests += [lambda: self._claims("", claims), lambda: self._claims("/release", rng.sample(claims, 1))]
        if self.undos:
            requests.append(self._undo)
        return rng.choice(requests)()

    def _session(self) -> Request:
        return Request(method="GET", template="/api/session", path="/api/session")

    def _queue(self) -> Request:
        body = {"count": self.rng.randrange(1, 6), "cursor": None, "held": [picture["id"] for picture in self.pictures]}
        return Request(method="POST", template="/api/queue", path="/api/queue", body=body)

    def _image(self) -> Request:
        return self._of_picture("GET", "image", None, self.rng.choice(self.pictures))

    def _decide(self) -> Request:
        picture, self.number = self.rng.choice(self.pictures), self.number + 1
        label = self.rng.choice(["ok", "defect", "blow hole"])
        return self._of_picture(
            "POST", "decision", {"label": label, "claim": picture["claim"], "number": self.number}, picture
        )

    def _skip(self) -> Request:
        picture = self.rng.choice(self.pictures)
        return self._of_picture("POST", "skip", {"claim": picture["claim"]}, picture)

    def _of_picture(self, method: str, what: str, body: Any, picture: dict[str, Any]) -> Request:  # noqa: ANN401
        template = f"/api/pictures/{{picture_id}}/{what}"
        return Request(method=method, template=template, path=f"/api/pictures/{picture['id']}/{what}", body=body)

    def _claims(self, what: str, claims: list[dict[str, Any]]) -> Request:
        return Request(
            method="POST", template=f"/api/claims{what}", path=f"/api/claims{what}", body={"pictures": claims}
        )

    def _undo(self) -> Request:
        body = {"undo": self.rng.choice(self.undos), "number": self.number}
        return Request(method="POST", template="/api/undo", path="/api/undo", body=body)

    def take(self, request: Request, answer: Any) -> None:  # noqa: ANN401 - any JSON
        """What the page does with an answer to a request that was good."""
        if request.path == "/api/queue":
            self.pictures += answer["pictures"]
        elif request.path == "/api/undo":
            self.pictures.append(answer)
        elif request.path.endswith("/decision"):
            self.undos = [*self.undos[-9:], answer["undo"]]

    def leave(self, request: Request) -> None:
        """Forget a picture whose request was answered, however."""
        gone = request.path.split("/")[3] if request.template.startswith("/api/pictures") else None
        self.pictures = [picture for picture in self.pictures if picture["id"] != gone][-20:]


def fuzz_review(count: int, seed: int) -> Fuzzed:
    """`count` mutated requests, and one in five as it should be besides; the same for the same seed."""
    fuzzed, rng = Fuzzed(target="review app: API requests"), random.Random(seed)
    asked = Counter[str]()
    with _line() as (line, unexpected):
        desks = [Desk(rng, ANNA), Desk(rng, BERT)]
        sent: set[str] = set()
        with fuzzed.timed():
            while fuzzed.count < count:
                if (fuzzed.count + fuzzed.originals) % 50 == 0:
                    _fill(line, sent)
                _ask(fuzzed, line, rng.choice(desks), rng, asked)
                for record in unexpected:
                    kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else "?"
                    fuzzed.find(f"unexpected {kind}", record.getMessage())
                unexpected.clear()
        _account(fuzzed, line, sent)
    for operation in _operations() - asked.keys():
        fuzzed.find("an operation that was never asked for", operation)
    return fuzzed


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What goes over the wire."""

    method: str
    path: str
    content: bytes
    headers: dict[str, str]

    @property
    def is_from_elsewhere(self) -> bool:
        """Whether a browser would say that another site sends it, to change something."""
        elsewhere = self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin"
        # App Engine turns plain http away before the app sees it.
        ours = {SITE, SITE.replace("https:", "http:")}
        return self.method not in _SAFE and (elsewhere or self.headers.get("Origin", SITE).lower() not in ours)


def _ask(fuzzed: Fuzzed, line: Line, desk: Desk, rng: random.Random, asked: Counter[str]) -> None:
    request = desk.next()
    asked[f"{request.method} {request.template}"] += 1
    original = Sent(
        method=request.method,
        path=request.path,
        content=b"" if request.body is None else json.dumps(request.body).encode(),
        headers={
            IAP_HEADER: _TOKEN,
            PAGE_HEADER: f"page-of-{desk.email.partition('@')[0]}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Origin": SITE,
            "Sec-Fetch-Site": "same-origin",
        },
    )
    good = rng.random() < 0.2
    sent = original if good else fuzzed.drawn(lambda: _mutated(request, original, rng), original)
    token = line.iap.token(desk.email)

    def send() -> httpx2.Response:
        return line.client.request(
            sent.method,
            sent.path,
            content=sent.content,
            headers=[
                (key.encode(), _with_token(value, token).encode("latin-1")) for key, value in sent.headers.items()
            ],
        )

    answer = fuzzed.one(sent, send, limit=SECONDS_FOR_ONE, is_original=good)
    if answer is None:
        return
    fuzzed.outcomes[f"answered {answer.status_code}"] += 1
    about = f"{sent.method} {sent.path!r} {sent.headers} {sent.content[:500]!r}: {answer.text[:300]}"
    if answer.status_code >= 500:
        fuzzed.find(f"answered {answer.status_code}", about)
    if answer.status_code < 400 and sent.is_from_elsewhere:
        fuzzed.find("another site was let in", about)
    if answer.status_code >= 400 and sent.path.startswith("/api/") and sent.method != "HEAD":
        try:
            told = answer.json()["message"]
        except (ValueError, TypeError, KeyError):
            told = None
        if not told:
            fuzzed.find("a refusal without words", about)
    if good and answer.status_code == 200:
        desk.take(request, answer.json())
    if request.template.startswith("/api/pictures") and request.method == "POST":
        desk.leave(request)


_TOKEN = "{token}"
"""Stands for the sign-in in a request as it is drawn: the token has the time in it, and a signature with a random number."""


def _with_token(value: str, token: str) -> str:
    header, claims, signature = token.split(".")
    nested = base64.urlsafe_b64encode(b'{"a":' * 5000 + b"1" + b"}" * 5000).rstrip(b"=").decode()
    return {
        _TOKEN: token,
        "{cut}": token[: len(token) // 2],
        "{header nested}": f"{nested}.{claims}.{signature}",
        "{claims nested}": f"{header}.{nested}.{signature}",
        "{no signature}": f"{header}.{claims}.",
        "{claims twice}": f"{header}.{claims}.{claims}.{signature}",
    }.get(value, value)


def _mutated(request: Request, sent: Sent, rng: random.Random) -> Sent:
    what = rng.choices(["body", "bytes", "path", "headers", "method"], [8, 2, 3, 4, 1])[0]
    if request.body is None and what in {"body", "bytes"}:
        what = "path"
    match what:
        case "body":
            body = as_json(mutated(request.body, rng, changes=rng.choice([1, 1, 2, 4])), rng)
            return replace(sent, content=body)
        case "bytes":
            return replace(sent, content=mutated_bytes(sent.content, rng, changes=rng.choice([1, 2, 8])))
        case "path":
            path = rng.choice([_odd_path(sent.path, rng), _odd_id(sent.path, rng), rng.choice(_PATHS)])
            return replace(sent, path=path)
        case "method":
            return replace(sent, method=rng.choice(_METHODS))
        case _:
            headers = dict(sent.headers)
            for key in rng.sample([*headers, "Host", "Cookie", "X-Appengine-User-Email"], rng.choice([1, 1, 2])):
                headers[key] = rng.choice(_ODD_HEADERS.get(key, ()) or _ODD_VALUES)
                if rng.random() < 0.2:
                    del headers[key]
                elif rng.random() < 0.3:
                    headers[key] = rng.choice(_ODD_VALUES)
            return replace(sent, headers=headers)


def _odd_path(path: str, rng: random.Random) -> str:
    at = rng.randrange(5, len(path) + 1)
    odd = ["%00", "%2F", "..", "/", "%ff", "é", "A", "-", "_", "=", "%23", "?a=b", "%0d%0a", "a" * 3000]
    return path[:at] + rng.choice(odd) + path[at + rng.randrange(3) :]


def _odd_id(path: str, rng: random.Random) -> str:
    """An id that is one in form, and names what it may not."""
    parts = path.split("/")
    name = rng.choice(
        ["unclear/../ok/a", "ok/a", "unclear/", "unclear/\0", "unclear/\n", "unclear/é", "unclear/" + "x" * 1100]
    )
    named: Any = rng.choice(
        [[name, 1], [name, -1], [name, 2**70], [name, True], [name], {"a": name}, None, [1, name], []]
    )
    if len(parts) > 3:  # /api/pictures/ID/...
        parts[3] = base64.urlsafe_b64encode(json.dumps(named).encode()).rstrip(b"=").decode()
    return "/".join(parts)


def _fill(line: Line, sent: set[str]) -> None:
    waiting = sum(name.startswith("unclear/") for name in line.names())
    for _ in range(_PICTURES - waiting):
        name = f"line 1/part {len(sent)}.jpg"
        line.put(name)
        sent.add(layout.source_uri("inbound", name, 7))


def _account(fuzzed: Fuzzed, line: Line, sent: set[str]) -> None:
    """Each picture is in one place, with its own bytes."""
    md5 = base64.b64encode(hashlib.md5(JPEG, usedforsecurity=False).digest()).decode()
    places = Counter[str]()
    for blob in line.bucket.list_blobs():
        places[(blob.metadata or {}).get(layout.SOURCE, "no source")] += 1
        fuzzed.outcomes[f"in {str(blob.name).partition('/')[0]}"] += 1
        if blob.md5_hash != md5:
            fuzzed.find("a picture with other bytes", blob.name)
    for source in sent | places.keys():
        if source not in sent or places[source] != 1:
            fuzzed.find("a picture is not in exactly one place", source)


def _operations() -> set[str]:
    described: dict[str, dict[str, Any]] = json.loads((ROOT / "webapp" / "openapi.json").read_text())["paths"]
    return {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}


@contextmanager
def _line() -> Generator[tuple[Line, list[logging.LogRecord]]]:
    """A line with a review app, and what the app logs with a traceback."""
    unexpected = list[logging.LogRecord]()

    class Watching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                unexpected.append(record)

    gate, iap = ScriptedGate(once=True), IapKey()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        page = folder / "dist"
        page.mkdir()
        (page / "index.html").write_text("<!doctype html><title>Review</title>")
        store = stack.enter_context(ObjectStore(folder / "storage"))
        address = stack.enter_context(storage_server(store, gate))
        stack.enter_context(patch.dict(os.environ, {STORAGE_EMULATOR: address}))
        for name in logging.root.manager.loggerDict:
            if name.partition(".")[0] == "review":
                stack.enter_context(patch.object(logging.getLogger(name), "handlers", [Watching()]))
        line = new_line(address, gate, iap, "prediction", page)
        with line.client:
            yield line, unexpected
        let_counting_end()
