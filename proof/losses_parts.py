"""The deployed parts of the loss proof: both functions, the review app, and a reviewer's page; each also in a process that can die."""

import importlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import functions_framework
import httpx2
from flask import Flask
from google.cloud.storage.retry import DEFAULT_RETRY
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from inspection.environment import ReviewEnvironment, SignInMode
from proof.losses_images import ANNA, BERT, LABELS, PREDICTION, REVIEW, ROOT, SITE
from webapp import picture_store, reviewing, waiting
from webapp.guard import PAGE_HEADER
from webapp.images import ImageLinks
from webapp.main import google_credentials, review_app, storage_client
from webapp.waiting import COUNTING_THREAD, WaitingCount


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
        answer = ask(client, path, body, headers)
        answers.send((answer.status_code, dict(answer.headers), answer.content))
        os._exit(0)


def ask(client: TestClient, path: str, body: object | None, headers: Mapping[str, str]) -> httpx2.Response:
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

    send: Callable[[str, object | None, Mapping[str, str]], httpx2.Response | None]
    """Path, body (None: a GET) and headers to the answer; None where the app died of it."""
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
        return self.send(path, body, headers)

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
