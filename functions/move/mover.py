"""Moves one image, so that any crash and any number of deliveries end in the same state."""

import mimetypes
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound, PreconditionFailed, RetryError
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests import ReadTimeout
from urllib3.exceptions import HTTPError

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

_PATIENT: dict[str, Any] = {"timeout": 10, "retry": DEFAULT_RETRY.with_timeout(30)}
"""For the many requests of a look at every name, where one failure would throw away all answers."""

_MOST_PAGES = 4
"""Of a listing that looks for a copy: with the others at most eight requests for a repeated delivery."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """What became of an image."""

    outcome: str
    """`moved`; `moved before` by an earlier delivery that ended before its delete; or `gone`.

    What is gone does not lie in the inbound bucket: it was deleted or replaced, or an earlier delivery has finished.
    """
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

        taken: frozenset[str] = frozenset()
        if repeated:
            with steps.time("look"):
                if not self._is_there(prediction):
                    return Move(outcome="gone")
                earlier, taken = self._find_copy(prediction, source)
            if earlier is not None:
                self._delete_source(prediction, steps)
                return Move(outcome="moved before", folder=earlier.partition("/")[0], name=earlier)

        metadata, left_out = _metadata(prediction, source)
        for name in choices:
            if name in taken:
                continue
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

    def _find_copy(self, prediction: Prediction, source: str) -> tuple[str | None, frozenset[str]]:
        """The name under which an earlier delivery has left the image, if one has, and names that others have."""
        # One request, whatever the number of labels. Google does not say how many names it looks at for a page: where
        # the bucket is so large that the listing does not end, each name is asked for.
        listing = self._destination.list_blobs(
            match_glob=layout.glob_of_copies(prediction.image_name, prediction.generation),
            fields="items(name,metadata),nextPageToken",
            **_ONCE,
        )
        others: set[str] = set()
        with _asking(f"Looking for a copy of {source} in gs://{self._destination.name}"):
            try:
                for page in islice(listing.pages, _MOST_PAGES):
                    for copy in page:
                        if (copy.metadata or {}).get(layout.SOURCE) == source:
                            return copy.name, frozenset()
                        others.add(copy.name)
                ended = listing.next_page_token is None
            except (ReadTimeout, BadRequest):
                ended = False
            except NotFound:
                ended = True  # no such bucket: the copy fails as well, and says what to do
        names = () if ended else self._possible_names(prediction)
        return next((name for name in names if self._holds(name, source, _PATIENT)), None), frozenset(others)

    def _is_there(self, prediction: Prediction) -> bool:
        """Whether the very image lies in the inbound bucket."""
        with _asking(f"Looking at gs://{prediction.bucket_name}/{prediction.image_name}"):
            return self._source(prediction).exists(**_ONCE)

    def _source(self, prediction: Prediction) -> storage.Blob:
        """The image, of just this generation."""
        return self._client.bucket(prediction.bucket_name).blob(prediction.image_name, generation=prediction.generation)

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

    def _holds(self, name: str, source: str, how: dict[str, Any] = _ONCE) -> bool:
        """Whether the object is a copy of this source; False if there is none, or not any more."""
        with _asking(f"Looking at gs://{self._destination.name}/{name}"):
            copy = self._destination.get_blob(name, **how)
        return copy is not None and (copy.metadata or {}).get(layout.SOURCE) == source

    def _copy(self, prediction: Prediction, name: str, source: str, metadata: dict[str, str]) -> bool | None:
        """Whether the copy was made: False if the name is taken, None if the source is gone."""
        # The generation is named, rather than required by a precondition: then a source that was replaced is not
        # found (404), and 412 can only mean that the destination's name is taken.
        image = self._source(prediction)
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
            if not self._is_there(prediction):
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
        if prediction.heat_map is not None:
            ours[layout.PREDICTION_HEAT_MAP] = prediction.heat_map
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
    except (OSError, HTTPError, GoogleAuthError, RetryError) as error:
        # OSError: all of requests' as well. The others are urllib3's own, where a connection breaks in an answer.
        raise failed_request(doing, status=None, answer=str(error), check="") from error
