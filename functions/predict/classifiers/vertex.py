"""An AutoML image classification model behind a Vertex AI endpoint: one authorised POST.

Google's client library for it is left out: it more than doubles the function's start and size.
"""

import base64
import os
from http import HTTPStatus

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from classifiers import TIMEOUT_SECONDS, Answer, checked_scores
from inspection.environment import VERTEX_EMULATOR
from inspection.model_id import ModelId
from inspection.push import NeedsAttentionError, failed_request

_MAX_PREDICTIONS = 10
"""The labels with the highest scores that are wanted: more than a stack may have."""


class VertexClassifier:
    """A model deployed to an endpoint.

    https://cloud.google.com/vertex-ai/docs/image-data/classification/get-predictions
    """

    def __init__(self, model: ModelId) -> None:
        """Find the credentials; the first request connects."""
        self._model = model
        emulator = os.environ.get(VERTEX_EMULATOR)
        if emulator:
            self._session = requests.Session()
        else:
            credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
            self._session = AuthorizedSession(credentials)
        host = emulator or f"https://{model.location}-aiplatform.googleapis.com"
        self._url = f"{host}/v1/{model.name}:predict"

    def classify(self, jpeg: bytes) -> Answer:
        """See :meth:`classifiers.Classifier.classify`."""
        doing = f"Asking the Vertex AI endpoint {self._model.name}"
        question = {
            "instances": [{"content": base64.b64encode(jpeg).decode(), "mimeType": "image/jpeg"}],
            "parameters": {"confidenceThreshold": 0.0, "maxPredictions": _MAX_PREDICTIONS},
        }
        try:
            response = self._session.post(self._url, json=question, timeout=TIMEOUT_SECONDS)
        except (requests.RequestException, GoogleAuthError) as error:
            raise failed_request(doing, status=None, answer=str(error), check="") from error
        if not response.ok:
            raise failed_request(
                doing,
                status=response.status_code,
                answer=_error(response),
                check="that it exists, has an image classification model deployed, and that this function's account has "
                "roles/aiplatform.user",
            )
        try:
            [answer] = response.json()["predictions"]
            pairs = list(zip(answer["displayNames"], map(float, answer["confidences"]), strict=True))
        except (ValueError, KeyError, TypeError) as error:
            raise NeedsAttentionError(
                f"the endpoint {self._model.name} gave no image classification - check that the model deployed to it "
                f"is one; it answered {response.text[:200]!r}"
            ) from error
        return Answer(checked_scores(self._model, pairs))


def _error(response: requests.Response) -> str:
    """The message of a Google error body, as far as the answer is one."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200] or HTTPStatus(response.status_code).phrase
