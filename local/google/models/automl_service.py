"""AutoML Vision's service for data sets and models: `google.cloud.automl.v1.AutoMl`, and its long-running operations.

What it answered is in https://cloud.google.com/automl/docs/reference/rpc/google.cloud.automl.v1. Only image
classification is here, and of its methods those that a model's life needs.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import grpc
import proto
from google.cloud.automl_v1 import types
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2
from google.rpc import status_pb2

from local.google.gate import ApiError, Call, Gate
from local.google.models.figures import Figures
from local.google.models.imports import MAX_FAILURES, DataSet, parse_csv
from local.google.models.jobs import Job, new_id
from local.google.models.training import Made
from local.google.models.workshop import Workshop
from local.google.rpc import RefusedError, abort, status_word, unary_method

LOCATION: Final = "us-central1"
"""AutoML Vision was nowhere else."""

BUDGETS: Final = {
    "cloud": (8_000, 800_000),
    "cloud-high-accuracy-1": (8_000, 800_000),
    "cloud-low-latency-1": (8_000, 800_000),
}
"""Milli node hours by model type; the types for devices are not here."""
_DEFAULT_BUDGET = 24_000

_DISPLAY_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_FILTER = re.compile(r'\s*display_name\s*(?:=|:)\s*"?([^"]*)"?\s*')
_MULTILABEL = types.ClassificationType.MULTILABEL
_DETAILS = {
    "create_data_set": {"create_dataset_details": {}},
    "import": {"import_data_details": {}},
    "train": {"create_model_details": {}},
    "deploy": {"deploy_model_details": {}},
    "undeploy": {"undeploy_model_details": {}},
    "delete": {"delete_details": {}},
}
_CODES = {status.name: status.value[0] for status in grpc.StatusCode}


def model_services(workshop: Workshop, *, gate: Gate, identity: str | None) -> list[grpc.GenericRpcHandler]:
    """The handlers of AutoMl and of Operations; whatever asks through them counts as `identity`."""

    def passed(method: str, answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def handle(request: Any) -> Any:  # noqa: ANN401  # each method has its own message
            resource = getattr(request, "name", "") or getattr(request, "parent", "")
            call = Call(identity=identity, method=f"automl.{method}", resource=resource)
            gate.enter(call)
            answered = answer(request)
            gate.leave(call)
            return answered

        return handle

    service = _AutoMl(workshop)
    methods: list[tuple[str, str, Callable[[Any], Any], type[proto.Message], type[proto.Message] | None]] = [
        ("CreateDataset", "datasets.create", service.create_dataset, types.CreateDatasetRequest, None),
        ("GetDataset", "datasets.get", service.get_dataset, types.GetDatasetRequest, types.Dataset),
        ("ListDatasets", "datasets.list", service.list_datasets, types.ListDatasetsRequest, types.ListDatasetsResponse),
        ("ImportData", "datasets.import", service.import_data, types.ImportDataRequest, None),
        ("DeleteDataset", "datasets.delete", service.delete_dataset, types.DeleteDatasetRequest, None),
        ("CreateModel", "models.create", service.create_model, types.CreateModelRequest, None),
        ("GetModel", "models.get", service.get_model, types.GetModelRequest, types.Model),
        ("ListModels", "models.list", service.list_models, types.ListModelsRequest, types.ListModelsResponse),
        ("DeployModel", "models.deploy", service.deploy_model, types.DeployModelRequest, None),
        ("UndeployModel", "models.undeploy", service.undeploy_model, types.UndeployModelRequest, None),
        ("DeleteModel", "models.delete", service.delete_model, types.DeleteModelRequest, None),
        (
            "GetModelEvaluation",
            "modelEvaluations.get",
            service.get_evaluation,
            types.GetModelEvaluationRequest,
            types.ModelEvaluation,
        ),
        (
            "ListModelEvaluations",
            "modelEvaluations.list",
            service.list_evaluations,
            types.ListModelEvaluationsRequest,
            types.ListModelEvaluationsResponse,
        ),
    ]
    operations: list[tuple[str, str, Callable[[Any], Any], Any, Any]] = [
        ("GetOperation", "operations.get", service.get_operation, operations_pb2.GetOperationRequest, _OPERATION),
        ("WaitOperation", "operations.wait", service.wait_operation, operations_pb2.WaitOperationRequest, _OPERATION),
        (
            "CancelOperation",
            "operations.cancel",
            service.cancel,
            operations_pb2.CancelOperationRequest,
            empty_pb2.Empty,
        ),
        (
            "ListOperations",
            "operations.list",
            service.list_operations,
            operations_pb2.ListOperationsRequest,
            operations_pb2.ListOperationsResponse,
        ),
    ]
    return [
        grpc.method_handlers_generic_handler(
            "google.cloud.automl.v1.AutoMl",
            {
                name: unary_method(passed(permission, answer), request, response)
                if response
                else _operation_method(passed(permission, answer), request.deserialize)
                for name, permission, answer, request, response in methods
            },
        ),
        grpc.method_handlers_generic_handler(
            "google.longrunning.Operations",
            {
                name: _operation_method(passed(permission, answer), request.FromString, response)
                for name, permission, answer, request, response in operations
            },
        ),
    ]


_OPERATION = operations_pb2.Operation


def _operation_method(
    answer: Callable[[Any], Any],
    read: Callable[[bytes], Any],
    response: Any = _OPERATION,  # noqa: ANN401  # a message's class
) -> "grpc.RpcMethodHandler[Any, Any]":
    """A method whose answer is a plain protobuf message: an operation, or about one."""

    def handle(message: object, context: grpc.ServicerContext) -> object:
        try:
            return answer(message)
        except ApiError as error:
            abort(context, error)

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=read, response_serializer=response.SerializeToString
    )


class _AutoMl:
    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    # Data sets

    def create_dataset(self, request: types.CreateDatasetRequest) -> operations_pb2.Operation:
        parent, asked = _checked_parent(request.parent), request.dataset
        if "image_classification_dataset_metadata" not in asked:
            raise RefusedError("INVALID_ARGUMENT", "Only image classification datasets are supported.")
        kind = asked.image_classification_dataset_metadata.classification_type
        if kind == types.ClassificationType.CLASSIFICATION_TYPE_UNSPECIFIED:
            raise RefusedError("INVALID_ARGUMENT", "classification_type must be MULTICLASS or MULTILABEL.")
        _check_display_name(asked.display_name)
        name = f"{parent}/datasets/ICN{new_id()}"
        made = self._workshop.create_data_set(name, asked.display_name, multi_label=kind == _MULTILABEL)
        return self._start("create_data_set", parent, name, lambda _job: made)

    def get_dataset(self, request: types.GetDatasetRequest) -> types.Dataset:
        return _dataset(self._workshop.data_set(request.name))

    def list_datasets(self, request: types.ListDatasetsRequest) -> types.ListDatasetsResponse:
        found = _filtered(self._workshop.data_sets(f"{_checked_parent(request.parent)}/datasets/ICN"), request.filter)
        return types.ListDatasetsResponse(datasets=[_dataset(each) for each in found])

    def import_data(self, request: types.ImportDataRequest) -> operations_pb2.Operation:
        uris = list(request.input_config.gcs_source.input_uris)
        operation = _operation_name(request.name)
        return _operation(self._workshop.start_import(request.name, uris, operation=operation, parse=parse_csv))

    def delete_dataset(self, request: types.DeleteDatasetRequest) -> operations_pb2.Operation:
        self._workshop.delete_data_set(request.name)
        return self._start("delete", request.name, request.name, lambda _job: None)

    # Models

    def create_model(self, request: types.CreateModelRequest) -> operations_pb2.Operation:
        parent, asked = _checked_parent(request.parent), request.model
        _check_display_name(asked.display_name)
        wanted = asked.image_classification_model_metadata
        model_type = wanted.model_type or "cloud"
        if model_type not in BUDGETS:
            raise RefusedError("INVALID_ARGUMENT", f"model_type is {model_type!r}; allowed here: {', '.join(BUDGETS)}.")
        budget, (least, most) = wanted.train_budget_milli_node_hours or _DEFAULT_BUDGET, BUDGETS[model_type]
        if not least <= budget <= most:
            raise RefusedError(
                "INVALID_ARGUMENT",
                f"train_budget_milli_node_hours is {budget}; for {model_type!r} it must be between {least} and {most}.",
            )
        job = self._workshop.start_training(
            data_set=f"{parent}/datasets/{asked.dataset_id}",
            model=f"{parent}/models/ICN{new_id()}",
            display_name=asked.display_name,
            operation=_operation_name(parent),
            budget_milli_node_hours=budget,
            model_type=model_type,
        )
        return _operation(job)

    def get_model(self, request: types.GetModelRequest) -> types.Model:
        return self._model(self._workshop.model(request.name))

    def list_models(self, request: types.ListModelsRequest) -> types.ListModelsResponse:
        found = _filtered(self._workshop.models(f"{_checked_parent(request.parent)}/models/ICN"), request.filter)
        return types.ListModelsResponse(model=[self._model(each) for each in found])

    def deploy_model(self, request: types.DeployModelRequest) -> operations_pb2.Operation:
        self._workshop.model(request.name)
        return self._start("deploy", request.name, request.name, lambda _job: self._workshop.deploy(request.name))

    def undeploy_model(self, request: types.UndeployModelRequest) -> operations_pb2.Operation:
        self._workshop.undeploy(request.name)
        return self._start("undeploy", request.name, request.name, lambda _job: None)

    def delete_model(self, request: types.DeleteModelRequest) -> operations_pb2.Operation:
        self._workshop.delete_model(request.name)
        return self._start("delete", request.name, request.name, lambda _job: None)

    def get_evaluation(self, request: types.GetModelEvaluationRequest) -> types.ModelEvaluation:
        model, _, _ = request.name.rpartition("/modelEvaluations/")
        found = {each.name: each for each in self._evaluations(model)}
        if request.name not in found:
            raise RefusedError("NOT_FOUND", f"The model evaluation {request.name} does not exist.")
        return found[request.name]

    def list_evaluations(self, request: types.ListModelEvaluationsRequest) -> types.ListModelEvaluationsResponse:
        return types.ListModelEvaluationsResponse(model_evaluation=self._evaluations(request.parent))

    def _evaluations(self, model: str) -> list[types.ModelEvaluation]:
        made = self._workshop.model(model)
        return [_evaluation(made, number, figures) for number, figures in enumerate(made.figures, start=1)]

    def _model(self, made: Made) -> types.Model:
        states = types.Model.DeploymentState
        deployed = self._workshop.is_deployed(made.name)
        return types.Model(
            name=made.name,
            display_name=made.display_name,
            dataset_id=made.data_set.rpartition("/")[2],
            create_time=made.created,
            update_time=made.created,
            deployment_state=states.DEPLOYED if deployed else states.UNDEPLOYED,
            image_classification_model_metadata=types.ImageClassificationModelMetadata(
                train_budget_milli_node_hours=made.budget_milli_node_hours,
                stop_reason="MODEL_CONVERGED",
                model_type=made.model_type,
            ),
        )

    # Operations

    def get_operation(self, request: operations_pb2.GetOperationRequest) -> operations_pb2.Operation:
        return _operation(self._workshop.job(request.name))

    def list_operations(self, request: operations_pb2.ListOperationsRequest) -> operations_pb2.ListOperationsResponse:
        jobs = self._workshop.jobs(f"{request.name}/operations")
        return operations_pb2.ListOperationsResponse(operations=[_operation(job) for job in jobs])

    def wait_operation(self, request: operations_pb2.WaitOperationRequest) -> operations_pb2.Operation:
        job = self._workshop.job(request.name)
        job.finished.wait(request.timeout.ToSeconds() or None)
        return _operation(job)

    def cancel(self, request: operations_pb2.CancelOperationRequest) -> empty_pb2.Empty:
        self._workshop.job(request.name).cancelled.set()
        return empty_pb2.Empty()

    def _start(self, kind: str, below: str, subject: str, work: Callable[[Job], Any]) -> operations_pb2.Operation:
        return _operation(self._workshop.start(kind, name=_operation_name(below), subject=subject, work=work))


def _checked_parent(parent: str) -> str:
    if not re.fullmatch(rf"projects/[^/]+/locations/{LOCATION}", parent):
        raise RefusedError(
            "INVALID_ARGUMENT", f"parent is {parent!r}; it must be projects/PROJECT/locations/{LOCATION}."
        )
    return parent


def _check_display_name(name: str) -> None:
    if not _DISPLAY_NAME.fullmatch(name):
        raise RefusedError(
            "INVALID_ARGUMENT",
            f"display_name is {name!r}; allowed are up to 32 letters A-Z and a-z, digits and '_', beginning with a letter.",
        )


def _filtered(found: Iterable[Any], text: str) -> list[Any]:
    if not text:
        return list(found)
    match = _FILTER.fullmatch(text)
    if not match:
        raise RefusedError("INVALID_ARGUMENT", f'The filter {text!r} is not supported here; display_name="NAME" is.')
    return [each for each in found if each.display_name == match[1]]


def _operation_name(below: str) -> str:
    """Operations are named below the location, whatever they work on."""
    location = "/".join(below.split("/")[:4])
    return f"{location}/operations/ICN{new_id()}"


def _dataset(data_set: DataSet) -> types.Dataset:
    kinds = types.ClassificationType
    return types.Dataset(
        name=data_set.name,
        display_name=data_set.display_name,
        example_count=len(data_set.examples),
        create_time=data_set.created,
        image_classification_dataset_metadata=types.ImageClassificationDatasetMetadata(
            classification_type=kinds.MULTILABEL if data_set.multi_label else kinds.MULTICLASS
        ),
    )


def _evaluation(made: Made, number: int, figures: Figures) -> types.ModelEvaluation:
    metrics = types.ClassificationEvaluationMetrics
    return types.ModelEvaluation(
        name=f"{made.name}/modelEvaluations/{number}",
        annotation_spec_id=figures.label or "",
        display_name=figures.label or "",
        create_time=made.created,
        evaluated_example_count=figures.pictures,
        classification_evaluation_metrics=metrics(
            au_prc=figures.au_prc,
            log_loss=figures.log_loss,
            confidence_metrics_entry=[
                metrics.ConfidenceMetricsEntry(confidence_threshold=at, recall=recall, precision=precision, f1_score=f1)
                for at, recall, precision, f1 in figures.at
            ],
            confusion_matrix=metrics.ConfusionMatrix(
                annotation_spec_id=figures.labels,
                display_name=figures.labels,
                row=[metrics.ConfusionMatrix.Row(example_count=row) for row in figures.confusion],
            ),
        ),
    )


def _operation(job: Job) -> operations_pb2.Operation:
    metadata = types.OperationMetadata(
        {
            "progress_percent": job.percent,
            "partial_failures": [
                status_pb2.Status(code=_CODES["INVALID_ARGUMENT"], message=text) for text in job.failures[:MAX_FAILURES]
            ],
            "create_time": job.created,
            "update_time": job.updated,
            **_DETAILS[job.kind],
        }
    )
    operation = operations_pb2.Operation(name=job.name)
    operation.metadata.Pack(types.OperationMetadata.pb(metadata))
    if not job.finished.is_set():
        return operation
    operation.done = True
    if job.error:
        code = _CODES["CANCELLED"] if job.error.reason == "CANCELLED" else _CODES[status_word(job.error)]
        operation.error.CopyFrom(status_pb2.Status(code=code, message=job.error.message))
    else:
        operation.response.CopyFrom(_packed(job.result))
    return operation


def _packed(result: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    match result:
        case DataSet():
            packed.Pack(types.Dataset.pb(types.Dataset(name=result.name, display_name=result.display_name)))
        case Made():
            packed.Pack(types.Model.pb(types.Model(name=result.name, display_name=result.display_name)))
        case _:
            packed.Pack(empty_pb2.Empty())
    return packed
