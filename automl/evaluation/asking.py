"""A deployed model's answers about pictures whose labels are known.

Neither service tells what its model said about single pictures of its own test set, only figures over all. So the model
is asked about each picture as the line would ask it: what comes out is what the line would get, and thresholds and worst
mistakes need it. At Google this costs nothing beyond the deployed model's hours.
"""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from google.api_core import exceptions as api
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from urllib3.exceptions import HTTPError

from automl.dataset.import_file import Row
from automl.evaluation.metrics import EvaluatedPicture, Evaluation
from automl.services.service import Model, PictureRefusedError, Service
from console.transfer import split_uri
from imaging.bounded import UnusableImageError
from imaging.prepare import prepare

MOST_AT_ONCE = 10
"""Connections that the storage client keeps open."""


@dataclass(kw_only=True)
class Asked:
    """What became of the pictures."""

    pictures: list[EvaluatedPicture] = field(default_factory=list[EvaluatedPicture])
    failures: list[str] = field(default_factory=list[str])
    """One line for each picture that could not be asked about."""
    seconds: float = 0.0


def ask(
    service: Service,
    model: Model,
    rows: Iterable[Row],
    client: storage.Client,
    *,
    at_once: int = 8,
    progress: Callable[[], None] = lambda: None,
) -> Asked:
    """Ask the model about every picture, several at once; the answers stand in the order of the rows.

    Raises:
        ServiceError: the model, or the permission to ask it, is not there.
    """
    asked = Asked()
    begun = time.monotonic()
    stop = threading.Event()

    def one(row: Row) -> EvaluatedPicture | str | None:
        if stop.is_set():
            return None
        try:
            return EvaluatedPicture(
                name=row.uri, labels=row.labels, scores=service.scores(model, _jpeg(client, row.uri))
            )
        except (
            PictureRefusedError,
            UnusableImageError,
            api.GoogleAPIError,
            OSError,
            ValueError,
        ) as error:
            return f"{row.uri}: {' '.join(str(error).split())}"

    by_place: dict[int, EvaluatedPicture] = {}

    def collect(done: Iterable[Future[EvaluatedPicture | str | None]]) -> None:
        for future in done:
            answer = future.result()
            if isinstance(answer, EvaluatedPicture):
                by_place[places[future]] = answer
            elif answer:
                asked.failures.append(answer)
            progress()

    places: dict[Future[EvaluatedPicture | str | None], int] = {}
    running: set[Future[EvaluatedPicture | str | None]] = set()
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="ask")
    try:
        for place, row in enumerate(rows):
            future = pool.submit(one, row)
            places[future] = place
            running.add(future)
            if len(running) >= 2 * at_once:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                collect(done)
        collect(running)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    asked.pictures = [by_place[place] for place in sorted(by_place)]
    asked.seconds = time.monotonic() - begun
    return asked


def evaluation(model: str, pictures: Iterable[EvaluatedPicture], *, multi_label: bool) -> Evaluation:
    """The pictures as an evaluation; its labels are all that the model named or a picture has."""
    found = tuple(pictures)
    labels = sorted({label for each in found for label in (*each.scores, *each.labels)})
    return Evaluation(model, tuple(labels), found, multi_label)


def picture_bytes(client: storage.Client, uri: str) -> bytes:
    """A picture of the data set as it lies in its bucket.

    Raises:
        GoogleAPIError: Cloud Storage refuses.
        OSError: it is out of reach, or the download broke off.
    """
    bucket, name = split_uri(uri)
    try:
        return client.bucket(bucket).blob(name).download_as_bytes()
    except (HTTPError, DataCorruption) as error:
        raise ConnectionError(f"the download of {uri} broke off: {error}") from error


def _jpeg(client: storage.Client, uri: str) -> bytes:
    return prepare(picture_bytes(client, uri))
