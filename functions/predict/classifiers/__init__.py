"""The models that can be asked about a picture.

A further kind of model is one more file here, one more shape in :mod:`inspection.model_id`, and one more case in
:func:`classifier_for`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from inspection.environment import PredictEnvironment
from inspection.model_id import Backend, ModelId
from inspection.push import NeedsAttentionError, RetryLaterError

TIMEOUT_SECONDS = 30.0
"""How long a model may take. No client retries by itself: Pub/Sub does, with its backoff."""


@dataclass(frozen=True)
class Answer:
    """What a model said about a picture."""

    scores: dict[str, float]
    """From 0 to 1, of each label; at least one."""
    heat_map: str | None = None
    """Where it saw the label with the highest score (:mod:`inspection.heat_map`); None: it does not say."""


class Classifier(Protocol):
    """A model that gives every label a score."""

    def classify(self, jpeg: bytes) -> Answer:
        """The score of each label.

        Raises:
            RetryLaterError: the model is busy or out of reach.
            NeedsAttentionError: the model, its deployment or the permission to ask it is missing; or it does not take
                the picture. What is asked is a small JPEG that could be decoded, so that this says more about the model
                than about the picture, and rejecting every picture of the day would help nobody.
        """
        ...


def classifier_for(environment: PredictEnvironment) -> Classifier:
    """Return the classifier for the environment's model; only that one's client library is imported."""
    model = environment.model
    match model.backend:
        case Backend.AUTOML:
            from classifiers.automl import AutomlClassifier

            return AutomlClassifier(model)
        case Backend.VERTEX:
            from classifiers.vertex import VertexClassifier

            return VertexClassifier(model)
        case Backend.OWN:
            from classifiers.model_file import ModelFileClassifier

            return ModelFileClassifier(model, environment.labels)


def checked_scores(model: ModelId, pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """A model's answer, checked.

    An answer without any label is neither sure nor unsure: it is asked for again, and the image stays where it is.

    Raises:
        RetryLaterError: there is no label.
        NeedsAttentionError: a score is not between 0 and 1.
    """
    scores = dict(pairs)
    if not scores:
        raise RetryLaterError(f"the model {model.name} answered without any label")
    # Scores are 32-bit numbers on the wire, which can pass 1 by their rounding.
    rounding = 1e-6
    for label, score in scores.items():
        if not -rounding <= score <= 1 + rounding:
            raise NeedsAttentionError(
                f"the model {model.name} gave {label!r} the score {score}, which is not between 0 and 1 - "
                "check whether it is an image classification model"
            )
    return {label: min(1.0, max(0.0, score)) for label, score in scores.items()}
