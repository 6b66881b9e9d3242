"""AutoML Vision, over gRPC. Google shut it down on 2024-03-31; the local cloud still answers as it did."""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_transient_error
from google.auth import exceptions as auth
from google.cloud import automl_v1
from google.cloud.automl_v1 import types
from google.cloud.automl_v1.services.auto_ml.transports import AutoMlGrpcTransport
from google.cloud.automl_v1.services.prediction_service.transports import PredictionServiceGrpcTransport
from google.longrunning import operations_pb2
from google.protobuf import any_pb2

from automl.services.service import (
    Model,
    NotThereError,
    OperationFailedError,
    PictureRefusedError,
    Plan,
    Progress,
    ServiceError,
    ServiceFigures,
)
from inspection.environment import AUTOML_EMULATOR
from inspection.model_id import Backend

SHUT_DOWN = (
    "Google shut AutoML Vision down on 2024-03-31: use --backend vertex, with an import file of --format vertex-jsonl"
)
_PREDICT_SECONDS = 30.0
_RETRY = Retry(predicate=if_transient_error, timeout=120)
_STEPS = {"import": "import_data_details", "training": "create_model_details"}


class AutomlVision:
    """See :class:`automl.services.service.Service`."""

    backend = Backend.AUTOML

    def __init__(self, *, project: str, location: str) -> None:
        """Make the clients; the first request connects.

        Raises:
            ServiceError: there are no credentials.
        """
        emulator = os.environ.get(AUTOML_EMULATOR)
        self.is_local = emulator is not None
        self.where = f"project {project}, {location}"
        self._parent = f"projects/{project}/locations/{location}"
        with _told():
            if emulator:
                channel = grpc.insecure_channel(emulator)
                self._client = automl_v1.AutoMlClient(transport=AutoMlGrpcTransport(channel=channel))
                self._prediction = automl_v1.PredictionServiceClient(
                    transport=PredictionServiceGrpcTransport(channel=channel)
                )
            else:
                self._client = automl_v1.AutoMlClient()
                self._prediction = automl_v1.PredictionServiceClient()
        self._operations: Any = self._client.transport.operations_client

    def find_data_set(self, name: str) -> str | None:
        """See :class:`automl.services.service.Service`."""
        with _told():
            request = types.ListDatasetsRequest(parent=self._parent, filter=f'display_name="{name}"')
            found = [each for each in self._client.list_datasets(request=request) if each.display_name == name]
        return max(found, key=_created).name if found else None

    def has_data_set(self, data_set: str) -> bool:
        """See :class:`automl.services.service.Service`."""
        try:
            with _told():
                self._client.get_dataset(name=data_set)
        except NotThereError:
            return False
        return True

    def begin_data_set(self, plan: Plan) -> str:
        """See :class:`automl.services.service.Service`."""
        kinds = types.ClassificationType
        kind = kinds.MULTILABEL if plan.multi_label else kinds.MULTICLASS
        data_set = types.Dataset(
            display_name=plan.name,
            image_classification_dataset_metadata=types.ImageClassificationDatasetMetadata(classification_type=kind),
        )
        return self._begin(lambda: self._client.create_dataset(parent=self._parent, dataset=data_set))

    def begin_import(self, data_set: str, plan: Plan) -> str:
        """See :class:`automl.services.service.Service`."""
        source = types.InputConfig(gcs_source=types.GcsSource(input_uris=plan.files))
        return self._begin(lambda: self._client.import_data(name=data_set, input_config=source))

    def begin_training(self, data_set: str, plan: Plan) -> str:
        """See :class:`automl.services.service.Service`."""
        model = types.Model(
            display_name=plan.name,
            dataset_id=data_set.rpartition("/")[2],
            image_classification_model_metadata=types.ImageClassificationModelMetadata(
                model_type="cloud", train_budget_milli_node_hours=1000 * plan.node_hours
            ),
        )
        return self._begin(lambda: self._client.create_model(parent=self._parent, model=model))

    def begun_since(self, step: str, data_set: str, name: str, since: float) -> str | None:
        """See :class:`automl.services.service.Service`. An operation does not tell what it works on: the time has to do."""
        del data_set, name
        with _told():
            for operation in self._operations.list_operations(self._parent, ""):
                metadata = _metadata(operation)
                if _STEPS[step] in metadata and _seconds(metadata.create_time) >= since:
                    return operation.name
        return None

    def progress(self, operation: str) -> Progress:
        """See :class:`automl.services.service.Service`."""
        with _told():
            found: operations_pb2.Operation = self._operations.get_operation(operation)
        if found.HasField("error"):
            raise OperationFailedError(found.error.message)
        metadata = _metadata(found)
        return Progress(
            done=found.done,
            percent=metadata.progress_percent,
            result=_result(found.response) if found.done else "",
            problems=tuple(failure.message for failure in metadata.partial_failures),
        )

    def cancel(self, operation: str) -> None:
        """See :class:`automl.services.service.Service`."""
        with _told():
            self._operations.cancel_operation(operation)

    def find_model(self, text: str) -> Model:
        """See :class:`automl.services.service.Service`."""
        with _told():
            if text.startswith("projects/"):
                return _model(self._client.get_model(name=text))
            if text.startswith("ICN"):
                return _model(self._client.get_model(name=f"{self._parent}/models/{text}"))
            request = types.ListModelsRequest(parent=self._parent, filter=f'display_name="{text}"')
            found = [each for each in self._client.list_models(request=request) if each.display_name == text]
        if not found:
            raise NotThereError(f"AutoML Vision has no model {text!r} in {self.where}")
        return _model(max(found, key=_created))

    def begin_deploy(self, model: Model) -> str:
        """See :class:`automl.services.service.Service`."""
        return self._begin(lambda: self._client.deploy_model(name=model.name))

    def begin_undeploy(self, model: Model) -> str:
        """See :class:`automl.services.service.Service`."""
        return self._begin(lambda: self._client.undeploy_model(name=model.name))

    def goes_with(self, model: Model) -> Sequence[str]:
        """See :class:`automl.services.service.Service`."""
        del model
        return ()

    def begin_delete(self, model: Model) -> str:
        """See :class:`automl.services.service.Service`."""
        return self._begin(lambda: self._client.delete_model(name=model.name))

    def begin_delete_data_set(self, data_set: str) -> str:
        """See :class:`automl.services.service.Service`."""
        return self._begin(lambda: self._client.delete_dataset(name=data_set))

    def scores(self, model: Model, jpeg: bytes) -> dict[str, float]:
        """See :class:`automl.services.service.Service`."""
        payload = types.ExamplePayload(image=types.Image(image_bytes=jpeg))
        try:
            with _told():
                answer = self._prediction.predict(
                    name=model.name,
                    payload=payload,
                    # Without it the service leaves out every label below 0.5.
                    params={"score_threshold": "0.0"},
                    retry=_RETRY,
                    timeout=_PREDICT_SECONDS,
                )
        except ServiceError as error:
            if isinstance(error.__cause__, api.InvalidArgument):
                raise PictureRefusedError(str(error)) from error
            raise
        # Scores are 32-bit numbers on the wire, which can pass 1 by their rounding.
        return {each.display_name: min(1.0, max(0.0, each.classification.score)) for each in answer.payload}

    def figures(self, model: Model) -> Sequence[ServiceFigures]:
        """See :class:`automl.services.service.Service`."""
        with _told():
            request = types.ListModelEvaluationsRequest(parent=model.name, filter="")
            return [
                ServiceFigures(
                    label=each.display_name,
                    pictures=each.evaluated_example_count,
                    average_precision=each.classification_evaluation_metrics.au_prc,
                )
                for each in self._client.list_model_evaluations(request=request)
            ]

    def _begin(self, ask: Callable[[], Any]) -> str:
        with _told():
            return ask().operation.name


@contextmanager
def _told() -> Generator[None, None, None]:
    """Errors of the client become ours."""
    try:
        yield
    except api.NotFound as error:
        raise NotThereError(error.message) from error
    except api.InvalidArgument as error:
        raise ServiceError(error.message) from error
    except api.GoogleAPICallError as error:
        advice = "" if AUTOML_EMULATOR in os.environ or isinstance(error, api.FailedPrecondition) else f" - {SHUT_DOWN}"
        raise ServiceError(f"{error.message}{advice}") from error
    except api.RetryError as error:
        raise ServiceError(f"AutoML Vision did not answer: {error.cause or error}") from error
    except auth.GoogleAuthError as error:
        raise ServiceError(
            f"no way into Google Cloud ({error}); run `gcloud auth application-default login`"
        ) from error


def _model(model: types.Model) -> Model:
    deployed = model.deployment_state == types.Model.DeploymentState.DEPLOYED
    return Model(name=model.name, display_name=model.display_name, model_id=model.name if deployed else None)


def _metadata(operation: operations_pb2.Operation) -> types.OperationMetadata:
    plain = types.OperationMetadata.pb(types.OperationMetadata())
    operation.metadata.Unpack(plain)
    return types.OperationMetadata.wrap(plain)


def _result(response: any_pb2.Any) -> str:
    """The name of the data set or model in it, if there is one."""
    for kind in (types.Dataset, types.Model):
        plain = kind.pb(kind())
        if response.Unpack(plain):
            return plain.name
    return ""


def _created(thing: types.Dataset | types.Model) -> float:
    return _seconds(thing.create_time)


def _seconds(time: Any) -> float:  # noqa: ANN401  # proto-plus gives a datetime of its own
    return time.timestamp()
