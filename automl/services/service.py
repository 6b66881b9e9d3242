"""What a model's life needs of a service, whichever it is, and what that costs.

Two services are behind it: AutoML Vision (:mod:`automl.services.automl_vision`) and AutoML on Vertex AI (:mod:`automl.services.vertex_ai`).
Everything that takes long is begun by one request, which answers with the name of an operation; the operation goes on in
the cloud whoever asks for it, and :meth:`Service.progress` tells how far it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from console.errors import UserError
from inspection.model_id import Backend

PRICES_FROM = "Google's price list as of November 2026: https://cloud.google.com/vertex-ai/pricing"
TRAINING_NODE_HOUR = 3.465
"""US dollars, for a model that is asked online."""
DEPLOYED_NODE_HOUR = 1.375
"""US dollars, from an older page of the list; it runs on while nobody asks. There is no scaling to zero."""
HOURS_A_MONTH = 730


class ServiceError(UserError):
    """What a service refused, or could not do; the text is for the user."""


class NotThereError(ServiceError):
    """The service knows nothing of that name."""


class OperationFailedError(ServiceError):
    """An operation ended without what it was for."""


class PictureRefusedError(ServiceError):
    """The model does not take this very picture."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a service allows."""

    least_node_hours: int
    most_node_hours: int
    location: str
    """Where it is asked unless someone says otherwise."""


LIMITS = {
    # "train_budget_milli_node_hours ... must be between 8,000 and 800,000 milli node hours, inclusive" for cloud models:
    # google.cloud.automl.v1.ImageClassificationModelMetadata, and Vertex AI's AutoMlImageClassificationInputs.
    Backend.AUTOML: Limits(least_node_hours=8, most_node_hours=800, location="us-central1"),
    Backend.VERTEX: Limits(least_node_hours=8, most_node_hours=800, location="us-central1"),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be trained."""

    name: str
    """The display name of data set and model."""
    files: tuple[str, ...]
    """Import files, `gs://`, in the format of the service."""
    multi_label: bool
    node_hours: int
    own_sets: tuple[str, ...]
    """Which of `training`, `validation` and `test` the import files name; empty: the service chooses."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an operation is."""

    done: bool
    percent: int | None = None
    """None where the service does not tell."""
    result: str = ""
    """When it is done: the name of what it made, if it made something."""
    problems: tuple[str, ...] = ()
    """What was left out, though the operation as a whole succeeded."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained model as the service tells it."""

    name: str
    display_name: str
    model_id: str | None
    """What a stack's `modelId` says to ask it; None: it is not deployed."""


@dataclass(frozen=True, kw_only=True)
class ServiceFigures:
    """The service's own evaluation, on its own test set; for one label, or for all together."""

    label: str
    """Empty: all together."""
    pictures: int | None
    """None where the service does not tell."""
    average_precision: float
    """Area under the curve of precision and recall."""


class Service(Protocol):
    """A service that trains models. Every method may raise :class:`ServiceError`."""

    @property
    def backend(self) -> Backend:
        """Which one it is."""
        ...

    @property
    def where(self) -> str:
        """Project and location, as users read them."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether the local cloud answers, which charges nothing."""
        ...

    def find_data_set(self, name: str) -> str | None:
        """The resource name of the newest data set of that display name."""
        ...

    def has_data_set(self, data_set: str) -> bool:
        """Whether there is a data set of that resource name."""
        ...

    def begin_data_set(self, plan: Plan) -> str:
        """Begin to make a data set; the operation's name."""
        ...

    def begin_import(self, data_set: str, plan: Plan) -> str:
        """Begin to read the import files; the operation's name."""
        ...

    def begin_training(self, data_set: str, plan: Plan) -> str:
        """Begin to train; the operation's name."""
        ...

    def begun_since(self, step: str, data_set: str, name: str, since: float) -> str | None:
        """An `import` or a `training` of this data set that was begun after `since` (seconds since 1970).

        For whoever was stopped between asking and being answered. With None the request did not arrive.
        """
        ...

    def progress(self, operation: str) -> Progress:
        """How far an operation is.

        Raises:
            OperationFailedError: it failed, or was cancelled.
            NotThereError: there is no such operation.
        """
        ...

    def cancel(self, operation: str) -> None:
        """Ask the operation to stop."""
        ...

    def find_model(self, text: str) -> Model:
        """The model of this resource name, endpoint or display name (of several the newest).

        Raises:
            NotThereError: there is none.
        """
        ...

    def begin_deploy(self, model: Model) -> str:
        """Begin to deploy; the operation's name."""
        ...

    def begin_undeploy(self, model: Model) -> str:
        """Begin to undeploy; the operation's name."""
        ...

    def goes_with(self, model: Model) -> Sequence[str]:
        """What else goes when the model is deleted."""
        ...

    def begin_delete(self, model: Model) -> str:
        """Begin to delete a model that is not deployed; the operation's name."""
        ...

    def begin_delete_data_set(self, data_set: str) -> str:
        """Begin to delete a data set; the operation's name."""
        ...

    def scores(self, model: Model, jpeg: bytes) -> dict[str, float]:
        """Ask a deployed model about a picture of at most 1.1 MB; each label it names with its score from 0 to 1.

        Raises:
            PictureRefusedError: it is of no use to ask again about this one.
        """
        ...

    def figures(self, model: Model) -> Sequence[ServiceFigures]:
        """The service's own evaluation."""
        ...
