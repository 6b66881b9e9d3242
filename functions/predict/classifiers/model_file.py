"""A model file of one's own, which runs in the function: no service, and nothing to pay while no image comes."""

import hashlib
import threading
from typing import Any, NoReturn

import numpy as np
import onnxruntime
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from urllib3.exceptions import HTTPError

from classifiers import Answer, checked_scores
from imaging.pixels import pixels
from inspection.heat_map import write_heat_map
from inspection.model_file import (
    HEAT_MAP,
    IMAGE,
    MAX_FILE_BYTES,
    PROBABILITIES,
    SHA256,
    ModelCard,
    NotAModelFileError,
)
from inspection.model_id import ModelId
from inspection.push import WHAT_COMES, NeedsAttentionError, failed_request

_ONCE: dict[str, Any] = {"timeout": 30, "retry": None}
"""Seconds for each request, and no second try of it."""


class ModelFileClassifier:
    """A model file, loaded by the first request that needs it and then kept: of one generation for the whole process."""

    def __init__(self, model: ModelId, labels: tuple[str, ...]) -> None:
        """Load nothing yet; `labels` are the stack's."""
        self._model = model
        self._labels = labels
        self._client = storage.Client()
        self._loading = threading.Lock()
        self._loaded: tuple[onnxruntime.InferenceSession, ModelCard] | None = None

    def classify(self, jpeg: bytes) -> Answer:
        """See :meth:`classifiers.Classifier.classify`."""
        session, card = self._session()
        answer = session.run([PROBABILITIES, HEAT_MAP], {IMAGE: pixels(jpeg, card.size)[None]})
        probabilities, heat = (np.asarray(values) for values in answer)
        scores = checked_scores(self._model, zip(card.labels, map(float, probabilities[0]), strict=True))
        return Answer(scores, write_heat_map(heat[0][int(np.argmax(probabilities[0]))].tolist()))

    def _session(self) -> tuple[onnxruntime.InferenceSession, ModelCard]:
        # One at a time loads: the others would each hold a copy. What failed is tried again with the next delivery.
        with self._loading:
            if self._loaded is None:
                try:
                    self._loaded = _load(self._read(), self._labels)
                except NotAModelFileError as error:
                    self._refuse(str(error))
            return self._loaded

    def _read(self) -> bytes:
        """The file, of one generation.

        Raises:
            NotAModelFileError: it is too large, or not the one whose hash was noted.
        """
        doing = f"Reading the model {self._model.name}"
        blob = self._client.bucket(self._model.bucket).blob(self._model.resource)
        try:
            blob.reload(**_ONCE)
            if (size := blob.size or 0) > MAX_FILE_BYTES:
                raise NotAModelFileError(f"it has {size:,} bytes; allowed are {MAX_FILE_BYTES:,}")
            # After `reload` the blob stands for the generation that it found: the file can be replaced meanwhile.
            found = self._client.bucket(self._model.bucket).blob(self._model.resource, generation=blob.generation)
            data = found.download_as_bytes(raw_download=True, **_ONCE)
        except NotFound:
            self._refuse("there is no such file (any more)")
        except GoogleAPICallError as error:
            raise failed_request(
                doing,
                status=error.code,
                answer=error.message,
                check="that this function's account has roles/storage.objectViewer on the bucket (`pulumi up` grants it)",
            ) from error
        except (OSError, HTTPError, DataCorruption, GoogleAuthError) as error:
            raise failed_request(doing, status=None, answer=str(error), check="") from error
        noted, digest = (blob.metadata or {}).get(SHA256), hashlib.sha256(data).hexdigest()
        if noted is not None and noted != digest:
            raise NotAModelFileError(f"its SHA-256 is {digest}, but its metadata says {noted}: upload it again")
        return data

    def _refuse(self, reason: str) -> NoReturn:
        raise NeedsAttentionError(
            f"the model {self._model.name} cannot be used: {reason} - upload a file that `inspection model train "
            f"--backend own` wrote under this name, or set modelId to one that is there and run `pulumi up`. {WHAT_COMES}"
        )


def _load(data: bytes, labels: tuple[str, ...]) -> tuple[onnxruntime.InferenceSession, ModelCard]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the function has one CPU
    options.log_severity_level = 4  # its own remarks would stand beside the log's lines; what fails is raised
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it has no common type for what a wrong file makes it raise
        raise NotAModelFileError(f"onnxruntime cannot load it ({' '.join(str(error).split())[:200]})") from error
    card = ModelCard.from_metadata(session.get_modelmeta().custom_metadata_map)
    if strange := [label for label in card.labels if label not in labels]:
        raise NotAModelFileError(
            f"it knows {', '.join(map(repr, strange))}, which is not among the stack's labels ({', '.join(labels)}): "
            "images of it would always be unclear. Train it with the stack's labels, or add to `labels`"
        )
    _check_shapes(session, card)
    return session, card


def _check_shapes(session: onnxruntime.InferenceSession, card: ModelCard) -> None:
    count, side = len(card.labels), card.heat_map_side
    expected = {
        IMAGE: ("tensor(uint8)", [1, card.size, card.size, 3]),
        PROBABILITIES: ("tensor(float)", [1, count]),
        HEAT_MAP: ("tensor(float)", [1, count, side, side]),
    }
    found = {value.name: (value.type, list(value.shape)) for value in (*session.get_inputs(), *session.get_outputs())}
    if found != expected:
        raise NotAModelFileError(f"its inputs and outputs are {found}; expected are {expected}")
