"""A bucket of sample pictures, the review app for each reviewer, and the built page, for tests in a browser."""

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import httpx2
import uvicorn
from google.cloud.storage import Bucket
from playwright.sync_api import Browser, Playwright
from starlette.types import ASGIApp

from inspection import layout
from inspection.environment import ReviewEnvironment, SignInMode
from local.demo.samples import Sample, samples
from tests.webapp.review_line import SIGNER, Clock
from webapp.images import ImageLinks
from webapp.main import google_credentials, review_app, storage_client
from webapp.reviewing import Reviewing
from webapp.sign_in import sign_in_for

FRONTEND = Path(__file__).parents[2] / "webapp" / "frontend"
LABELS = ("ok", "defect", "blow hole")
ANNA, BERT = "anna@example.com", "bert@example.com"

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_BROWSER_ARGUMENTS = (
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class MissingError(Exception):
    """A program that the browser tests need is not on this machine; the text says which, and how to get it."""


def open_browser(playwright: Playwright) -> Browser:
    """The Chromium of this machine: CHROMIUM if it is set, else the first on PATH under one of its usual names.

    Raises:
        MissingError: there is none.
    """
    named = os.environ.get("CHROMIUM")
    path = named or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        raise MissingError(
            f"none of {', '.join(_BROWSERS)} is on PATH; install one (Debian: apt-get install chromium) "
            "or set CHROMIUM to its path"
        )
    return playwright.chromium.launch(executable_path=path, args=list(_BROWSER_ARGUMENTS))


def build_page(folder: Path) -> Path:
    """Build the page into `folder`, as it is deployed.

    Raises:
        MissingError: Node is not there.
    """
    if shutil.which("npm") is None:
        raise MissingError("npm is not on PATH; install Node 20.19 or later")
    if not (FRONTEND / "node_modules").is_dir():
        _npm("ci")
    _npm("run", "build", "--", "--outDir", str(folder))
    return folder


def _npm(*arguments: str) -> None:
    done = subprocess.run(
        ["npm", "--silent", *arguments], cwd=FRONTEND, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"npm {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}"


class Desk:
    """One prediction bucket, and the review app on it, once for each reviewer."""

    def __init__(self, bucket: Bucket, page: Path, servers: ExitStack) -> None:
        self.bucket = bucket
        self.clock = Clock()
        self._page = page
        self._servers = servers

    def open(self, reviewer: str = ANNA, labels: tuple[str, ...] = LABELS) -> str:
        """The address of an app whose requests all come from `reviewer`."""
        settings = ReviewEnvironment(
            prediction_bucket=str(self.bucket.name),
            labels=labels,
            reviewers=frozenset({ANNA, BERT}),
            sign_in=SignInMode.DEVELOPMENT,
            development_reviewer=reviewer,
        )
        app = review_app(
            settings,
            reviewing=Reviewing(self.bucket, labels, now=self.clock, monotonic=self.clock.monotonic),
            images=ImageLinks(self.bucket, google_credentials(), SIGNER),
            sign_in=sign_in_for(settings),
            page=self._page,
        )
        return self._servers.enter_context(_served(app))

    def put(self, count: int) -> list[str]:
        """Pictures that the model was unsure about; gives their names."""
        names: list[str] = []
        for sample in _pictures(count):
            blob = self.bucket.blob(f"unclear/{sample.name}")
            blob.metadata = metadata(sample.name, len(names))
            blob.upload_from_string(sample.jpeg, content_type="image/jpeg")
            names.append(sample.name)
        return names

    def names(self, folder: str) -> list[str]:
        """The pictures of a folder, without the folder."""
        return [str(blob.name).removeprefix(f"{folder}/") for blob in self.bucket.list_blobs(prefix=f"{folder}/")]


@cache
def _pictures(count: int) -> tuple[Sample, ...]:
    return tuple(samples(count, seed=4))


def metadata(name: str, number: int) -> dict[str, str]:
    """What the move function writes for a picture that the model was unsure about."""
    return {
        layout.PREDICTION_LABEL: LABELS[number % 2],
        layout.PREDICTION_SCORE: f"{0.5 + number * 37 % 30 / 100:.2f}",
        layout.MODEL: "projects/123/locations/us-central1/models/ICN4711",
        layout.SOURCE: layout.source_uri("inbound", name, 7),
    }


@contextmanager
def new_desk(storage_address: str, bucket: str, page: Path) -> Generator[Desk]:
    """A desk with an empty bucket; STORAGE_EMULATOR_HOST must point at `storage_address`."""
    httpx2.post(
        f"{storage_address}/storage/v1/b?project=local", content=json.dumps({"name": bucket})
    ).raise_for_status()
    with storage_client(google_credentials()) as client, ExitStack() as servers:
        yield Desk(client.bucket(bucket), page, servers)


@contextmanager
def _served(app: ASGIApp) -> Generator[str]:
    # With the protocol named, asyncio sets TCP_NODELAY; without, each answer waits 40 ms for an acknowledgement.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
