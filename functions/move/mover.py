"""Moves one image, so that any crash and any number of deliveries end in the same state."""

import mimetypes
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from requests import RequestException

from inspection import layout
from inspection.labels import REJECTED, UNCLEAR
from inspection.logs import Steps
from inspection.message import Prediction
from inspection.push import NeedsAttentionError, RetryLaterError, failed_request
from inspection.routing import Thresholds, folder_for

_ONCE: dict[str, Any] = {"timeout": 30, "retry": None}
"""Seconds for each request, and no second try of it."""

_MAX_ERROR_BYTES = 1024
"""Of why an image is rejected: it may quote the file."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """What became of an image."""

    outcome: str
    """`moved`, `moved before` by an earlier delivery, or `gone`: deleted or replaced before its turn."""
    folder: str | None = None
    name: str | None = None
    """Of the object in the prediction bucket."""
    left_out: tuple[str, ...] = ()
    """Keys of the camera's own metadata for which there was no room."""


class Mover:
    """Moves images into the prediction bucket, where it never overwrites or deletes anything."""

    def __init__(self, client: storage.Client, prediction_bucket: str, thresholds: Thresholds) -> None:
        """Nothing is asked of the cloud yet."""
        self._client = client
        self._destination = client.bucket(prediction_bucket)
        self._thresholds = thresholds

    def move(self, prediction: Prediction, *, repeated: bool, steps: Steps) -> Move:
        """Copy the image to its folder, then delete it from the inbound bucket.

        Args:
            prediction: of the image.
            repeated: whether this may not be the first delivery of a prediction for the image. Only then can a copy be
                in another folder, or under another name, than this delivery would choose: thresholds may have been
                changed and names freed in between, the model may have answered otherwise, or a person may have
                decided already.
            steps: takes how long each request took.

        Raises:
            RetryLaterError: a request failed; a later delivery takes over from any state that this one left.
            NeedsAttentionError: as well, once a person has put right what the text names.
        """
        if prediction.error is not None or prediction.prediction_label is None or prediction.prediction_score is None:
            folder = REJECTED
        else:
            folder = folder_for(prediction.prediction_label, prediction.prediction_score, self._thresholds)
        source = layout.source_uri(prediction.bucket_name, prediction.image_name, prediction.generation)
        choices = layout.names_in(folder, prediction.image_name, prediction.generation, source)

        if repeated:
            with steps.time("look"):
                earlier = next((name for name in self._possible_names(prediction) if self._holds(name, source)), None)
            if earlier is not None:
                self._delete_source(prediction, steps)
                return Move(outcome="moved before", folder=earlier.partition("/")[0], name=earlier)

        metadata, left_out = _metadata(prediction, source)
        for name in choices:
            with steps.time("rewrite"):
                copied = self._copy(prediction, name, source, metadata)
            if copied is None:
                return Move(outcome="gone")
            # Where the name is taken, it is by another image, or by this one: from a delivery that ended before its
            # delete, or that is at work right now.
            if copied or self._holds(name, source):
                self._delete_source(prediction, steps)
                outcome = "moved" if copied else "moved before"
                return Move(outcome=outcome, folder=folder, name=name, left_out=left_out)
        raise RetryLaterError(f"all names for {source} are taken by other images: {', '.join(choices)}")

    def _possible_names(self, prediction: Prediction) -> Iterator[str]:
        """Every name under which an earlier delivery, with whatever the model said then, may have left the image."""
        image, generation = prediction.image_name, prediction.generation
        source = layout.source_uri(prediction.bucket_name, image, generation)
        unclear = layout.names_in(UNCLEAR, image, generation, source)
        yield from unclear
        for folder in (*self._thresholds.labels, REJECTED):
            yield from layout.names_in(folder, image, generation, source)
        for name in unclear:
            for label in self._thresholds.labels:
                yield from layout.decided_names(label, name.removeprefix(f"{UNCLEAR}/"), generation)

    def _holds(self, name: str, source: str) -> bool:
        """Whether the object is a copy of this source; False if there is none, or not any more."""
        with _asking(f"Looking at gs://{self._destination.name}/{name}"):
            copy = self._destination.get_blob(name, **_ONCE)
        return copy is not None and (copy.metadata or {}).get(layout.SOURCE) == source

    def _copy(self, prediction: Prediction, name: str, source: str, metadata: dict[str, str]) -> bool | None:
        """Whether the copy was made: False if the name is taken, None if the source is gone."""
        # The generation is named, rather than required by a precondition: then a source that was replaced is not
        # found (404), and 412 can only mean that the destination's name is taken.
        image = self._client.bucket(prediction.bucket_name).blob(
            prediction.image_name, generation=prediction.generation
        )
        copy = self._destination.blob(name)
        copy.content_type = (
            prediction.content_type or mimetypes.guess_type(prediction.image_name)[0] or "application/octet-stream"
        )
        if prediction.content_encoding is not None:
            copy.content_encoding = prediction.content_encoding
        copy.metadata = metadata
        token: str | None = None
        try:
            with _asking(f"Copying {source} to gs://{self._destination.name}/{name}"):
                while True:  # a large image between locations takes several calls
                    token, _, _ = copy.rewrite(image, token=token, if_generation_match=0, **_ONCE)
                    if token is None:
                        return True
        except PreconditionFailed:
            return False
        except NeedsAttentionError:
            # Whoever may not overwrite may be told so (403), rather than that the name is taken (412).
            with _asking(f"Looking at gs://{self._destination.name}/{name}"):
                if copy.exists(**_ONCE):
                    return False
            raise
        except NotFound as error:
            with _asking(f"Looking at {source}"):
                still_there = image.exists(**_ONCE)
            if not still_there:
                return None
            raise NeedsAttentionError(
                f"{source} cannot be copied: {error.message} - check that the bucket {self._destination.name} exists"
            ) from error

    def _delete_source(self, prediction: Prediction, steps: Steps) -> None:
        """Delete the very generation that was copied; another one has its own event."""
        image = self._client.bucket(prediction.bucket_name).blob(prediction.image_name)
        doing = f"Deleting gs://{prediction.bucket_name}/{prediction.image_name}"
        # Deleted by another delivery, or replaced: both as good.
        with steps.time("delete"), suppress(NotFound, PreconditionFailed), _asking(doing):
            image.delete(if_generation_match=prediction.generation, **_ONCE)


def _metadata(prediction: Prediction, source: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The copy's metadata: ours, and the camera's own as far as a decision still has room beside it.

    The second part names those of the camera's own that are left out for want of room.
    """
    ours = {layout.MODEL: prediction.model, layout.SOURCE: source}
    if prediction.prediction_label is None:
        ours[layout.ERROR] = (prediction.error or "").encode()[:_MAX_ERROR_BYTES].decode(errors="ignore")
    else:
        ours[layout.PREDICTION_LABEL] = prediction.prediction_label
        ours[layout.PREDICTION_SCORE] = str(prediction.prediction_score)
    room = layout.MAX_METADATA_BYTES - layout.REVIEW_RESERVE_BYTES - sum(map(layout.metadata_bytes, ours.items()))
    kept: dict[str, str] = {}
    left_out: list[str] = []
    for key, value in prediction.metadata.items():
        if layout.is_our_key(key):
            continue
        size = layout.metadata_bytes((key, value))
        if size > room:
            left_out.append(key)
            continue
        room -= size
        kept[key] = value
    return kept | ours, tuple(left_out)


@contextmanager
def _asking(doing: str) -> Generator[None]:
    """Says what Cloud Storage refused; what the caller decides on (404, 412) passes through."""
    try:
        yield
    except (NotFound, PreconditionFailed):
        raise
    except GoogleAPICallError as error:
        raise failed_request(
            doing,
            status=error.code,
            answer=error.message,
            check="that this function's account may read and delete in the inbound bucket (roles/storage.objectUser), and "
            "create and read in the prediction bucket (roles/storage.objectCreator, roles/storage.objectViewer)",
        ) from error
    except (RequestException, GoogleAuthError) as error:
        raise failed_request(doing, status=None, answer=str(error), check="") from error
