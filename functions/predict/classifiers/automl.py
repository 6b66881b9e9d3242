"""AutoML Vision, over gRPC."""

import os

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.cloud.automl_v1 import ExamplePayload, Image, PredictionServiceClient
from google.cloud.automl_v1.services.prediction_service.transports import PredictionServiceGrpcTransport

from classifiers import TIMEOUT_SECONDS, Answer, checked_scores
from inspection.environment import AUTOML_EMULATOR
from inspection.model_id import ModelId
from inspection.push import failed_request


class AutomlClassifier:
    """A deployed AutoML Vision model."""

    def __init__(self, model: ModelId) -> None:
        """Make the client; the first request connects."""
        self._model = model
        emulator = os.environ.get(AUTOML_EMULATOR)
        self._client = (
            PredictionServiceClient(transport=PredictionServiceGrpcTransport(channel=grpc.insecure_channel(emulator)))
            if emulator
            else PredictionServiceClient()
        )

    def classify(self, jpeg: bytes) -> Answer:
        """See :meth:`classifiers.Classifier.classify`."""
        try:
            response = self._client.predict(
                name=self._model.name,
                payload=ExamplePayload(image=Image(image_bytes=jpeg)),
                # Without it the service leaves out every label below 0.5.
                params={"score_threshold": "0.0"},
                retry=None,
                timeout=TIMEOUT_SECONDS,
            )
        except GoogleAPICallError as error:
            raise failed_request(
                f"Asking the AutoML Vision model {self._model.name}",
                status=error.code,
                answer=error.message,
                check="that it exists, is deployed, classifies images, and that this function's account has roles/automl.predictor on it. "
                "Google shut AutoML Vision down on 2024-03-31: set modelId to a Vertex AI endpoint instead",
            ) from error
        except GoogleAuthError as error:
            raise failed_request("Signing in to AutoML Vision", status=None, answer=str(error), check="") from error
        pairs = ((annotation.display_name, annotation.classification.score) for annotation in response.payload)
        return Answer(checked_scores(self._model, pairs))
