"""What Vertex AI offers for data sets, trainings, models and endpoints, over REST; as far as a model's life needs it.

https://cloud.google.com/vertex-ai/docs/reference/rest. Predictions are in :mod:`local.google.models.vertex_prediction`.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.google.gate import ApiError, Call, Gate
from local.google.identity import identity_of
from local.google.models.figures import Figures
from local.google.models.imports import MAX_FAILURES, DataSet, Set, parse_jsonl
from local.google.models.jobs import Job, new_id
from local.google.models.kept import Endpoint
from local.google.models.training import Made
from local.google.models.workshop import Workshop
from local.google.rpc import RefusedError, status_word

LEAST_BUDGET: Final = 8_000
MOST_BUDGET: Final = 800_000
"""Milli node hours of a CLOUD model."""

_LOCATION = r"projects/[^/]+/locations/[^/:]+"
_RESOURCE = rf"{_LOCATION}/[a-zA-Z]+/[^/:]+"
_IMPORT_SCHEMA = re.compile(
    r"gs://google-cloud-aiplatform/schema/dataset/ioformat/image_classification_(single|multi)_label_io_format_1\.0\.0\.yaml"
)
_TRAINING = "gs://google-cloud-aiplatform/schema/trainingjob/definition/automl_image_classification_1.0.0.yaml"
_FILTER = re.compile(r'\s*display_name\s*=\s*"?([^"]*)"?\s*')
_TYPES: Final = "type.googleapis.com/google.cloud.aiplatform.v1"
_METADATA = {
    "create_data_set": "CreateDatasetOperationMetadata",
    "import": "ImportDataOperationMetadata",
    "create_endpoint": "CreateEndpointOperationMetadata",
    "deploy": "DeployModelOperationMetadata",
    "undeploy": "UndeployModelOperationMetadata",
    "delete": "DeleteOperationMetadata",
}
_STATES = {499: "PIPELINE_STATE_CANCELLED"}
_CODES = {"INVALID_ARGUMENT": 3, "NOT_FOUND": 5, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "INTERNAL": 13}

Fields = Mapping[str, Any]
Answer = dict[str, Any]
_Handler = Callable[[str, Fields, Mapping[str, str]], Answer]
"""Name of the resource or collection, body, and parameters of the query."""


def model_routes(workshop: Workshop, *, gate: Gate) -> list[Route]:
    """The routes, for an application behind :class:`local.google.identity.IdentityMiddleware`; after those of predictions."""
    service = _Vertex(workshop)

    async def handle(request: Request) -> Response:
        name = "projects/{project}/locations/{rest}".format(**request.path_params)
        body = await request.body()
        identity = identity_of(request.scope)
        query = dict(request.query_params)
        try:
            return JSONResponse(await run_in_threadpool(answer, identity, request.method, name, body, query))
        except ApiError as error:
            status = {"error": {"code": error.status, "message": error.message, "status": status_word(error)}}
            return JSONResponse(status, status_code=error.status)

    def answer(identity: str | None, method: str, name: str, body: bytes, query: Mapping[str, str]) -> Answer:
        for verb, shape, permission, handler in service.methods:
            if verb == method and (match := shape.fullmatch(name)):
                call = Call(identity=identity, method=f"aiplatform.{permission}", resource=match["name"])
                gate.enter(call)
                answered = handler(match["name"], _object(body), query)
                gate.leave(call)
                return answered
        raise RefusedError("NOT_FOUND", f"{method} /v1/{name} is not answered by the local cloud.")

    return [Route("/v1/projects/{project}/locations/{rest:path}", handle, methods=["GET", "POST", "DELETE"])]


class _Vertex:
    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        collections: list[tuple[str, str, Callable[[str], Sequence[Any]], Callable[[Any], Answer]]] = [
            ("datasets", "datasets", workshop.data_sets, _data_set),
            ("models", "models", workshop.models, self._model),
            ("endpoints", "endpoints", workshop.endpoints, _endpoint),
            ("trainingPipelines", "trainingPipelines", self._pipelines, _pipeline),
        ]
        self.methods: list[tuple[str, re.Pattern[str], str, _Handler]] = [
            *(
                ("GET", _shape(_LOCATION, f"/{name}"), f"{permission}.list", partial(_listed, name, find, tell))
                for name, permission, find, tell in collections
            ),
            ("POST", _shape(_LOCATION, "/datasets"), "datasets.create", self._create_data_set),
            ("POST", _shape(_RESOURCE, ":import"), "datasets.import", self._import),
            ("GET", _shape(rf"{_LOCATION}/datasets/[^/:]+"), "datasets.get", self._get_data_set),
            ("DELETE", _shape(rf"{_LOCATION}/datasets/[^/:]+"), "datasets.delete", self._delete_data_set),
            ("POST", _shape(_LOCATION, "/trainingPipelines"), "trainingPipelines.create", self._train),
            ("GET", _shape(rf"{_LOCATION}/trainingPipelines/[^/:]+"), "trainingPipelines.get", self._get_pipeline),
            ("POST", _shape(_RESOURCE, ":cancel"), "trainingPipelines.cancel", self._cancel),
            ("GET", _shape(rf"{_LOCATION}/models/[^/:]+"), "models.get", self._get_model),
            ("GET", _shape(rf"{_LOCATION}/models/[^/:]+", "/evaluations"), "modelEvaluations.list", self._evaluations),
            ("DELETE", _shape(rf"{_LOCATION}/models/[^/:]+"), "models.delete", self._delete_model),
            ("POST", _shape(_LOCATION, "/endpoints"), "endpoints.create", self._create_endpoint),
            ("GET", _shape(rf"{_LOCATION}/endpoints/[^/:]+"), "endpoints.get", self._get_endpoint),
            ("POST", _shape(_RESOURCE, ":deployModel"), "endpoints.deploy", self._deploy),
            ("POST", _shape(_RESOURCE, ":undeployModel"), "endpoints.undeploy", self._undeploy),
            ("DELETE", _shape(rf"{_LOCATION}/endpoints/[^/:]+"), "endpoints.delete", self._delete_endpoint),
            ("GET", _shape(rf"{_RESOURCE}/operations/[^/:]+"), "operations.get", self._get_operation),
            ("GET", _shape(_RESOURCE, "/operations"), "operations.list", self._operations),
        ]

    # Data sets

    def _create_data_set(self, parent: str, body: Fields, _query: Fields) -> Answer:
        name = f"{parent}/datasets/{new_id()}"
        made = self._workshop.create_data_set(name, _text(body, "displayName"), multi_label=False)
        return self._start("create_data_set", name, lambda _job: made)

    def _get_data_set(self, name: str, _body: Fields, _query: Fields) -> Answer:
        return _data_set(self._workshop.data_set(name))

    def _delete_data_set(self, name: str, _body: Fields, _query: Fields) -> Answer:
        self._workshop.delete_data_set(name)
        return self._start("delete", name, lambda _job: None)

    def _import(self, name: str, body: Fields, _query: Fields) -> Answer:
        configs = body.get("importConfigs")
        if not isinstance(configs, list) or len(cast("list[object]", configs)) != 1:
            raise RefusedError("INVALID_ARGUMENT", "importConfigs must hold exactly one config here.")
        config = cast("Fields", configs[0])
        schema = _IMPORT_SCHEMA.fullmatch(_text(config, "importSchemaUri"))
        if not schema:
            raise RefusedError(
                "INVALID_ARGUMENT", f"importSchemaUri {config['importSchemaUri']!r} is not one of image classification."
            )
        multi_label = schema[1] == "multi"
        job = self._workshop.start_import(
            name,
            config.get("gcsSource", {}).get("uris", []),
            operation=f"{name}/operations/{new_id()}",
            parse=partial(parse_jsonl, multi_label=multi_label),
            multi_label=multi_label,
        )
        return _operation(job)

    # Trainings

    def _train(self, parent: str, body: Fields, _query: Fields) -> Answer:
        if body.get("trainingTaskDefinition") != _TRAINING:
            raise RefusedError("INVALID_ARGUMENT", f"trainingTaskDefinition must be {_TRAINING} here.")
        source: Fields = body.get("inputDataConfig") or {}
        wanted: Fields = body.get("trainingTaskInputs") or {}
        uploaded: Fields = body.get("modelToUpload") or {}
        budget = int(wanted.get("budgetMilliNodeHours") or 0)
        if wanted.get("modelType") != "CLOUD":
            raise RefusedError("INVALID_ARGUMENT", f"modelType is {wanted.get('modelType')!r}; here it must be CLOUD.")
        if not LEAST_BUDGET <= budget <= MOST_BUDGET:
            raise RefusedError(
                "INVALID_ARGUMENT",
                f"budgetMilliNodeHours is {budget}; for CLOUD it must be between {LEAST_BUDGET} and {MOST_BUDGET}.",
            )
        job = self._workshop.start_training(
            data_set=f"{parent}/datasets/{_text(source, 'datasetId')}",
            model=f"{parent}/models/{new_id()}",
            display_name=_text(uploaded, "displayName"),
            operation=f"{parent}/trainingPipelines/{new_id()}",
            budget_milli_node_hours=budget,
            model_type="CLOUD",
            multi_label=bool(wanted.get("multiLabel")),
            predefined=_predefined(source.get("filterSplit")),
        )
        return _pipeline(job)

    def _pipelines(self, parent: str) -> Sequence[Job]:
        return self._workshop.jobs(parent.rstrip("/"), "train")

    def _get_pipeline(self, name: str, _body: Fields, _query: Fields) -> Answer:
        return _pipeline(self._workshop.job(name))

    def _cancel(self, name: str, _body: Fields, _query: Fields) -> Answer:
        self._workshop.job(name).cancelled.set()
        return {}

    # Models

    def _model(self, made: Made) -> Answer:
        parent = "/".join(made.name.split("/")[:4])
        return {
            "name": made.name,
            "displayName": made.display_name,
            "createTime": _time(made.created),
            "deployedModels": [
                {"endpoint": endpoint.name, "deployedModelId": endpoint.deployed_id}
                for endpoint in self._workshop.endpoints(f"{parent}/endpoints/")
                if endpoint.model == made.name
            ],
        }

    def _get_model(self, name: str, _body: Fields, _query: Fields) -> Answer:
        return self._model(self._workshop.model(name))

    def _delete_model(self, name: str, _body: Fields, _query: Fields) -> Answer:
        self._workshop.delete_model(name)
        return self._start("delete", name, lambda _job: None)

    def _evaluations(self, name: str, _body: Fields, _query: Fields) -> Answer:
        made = self._workshop.model(name)
        return {"modelEvaluations": [_evaluation(made, each) for each in made.figures if each.label is None]}

    # Endpoints

    def _create_endpoint(self, parent: str, body: Fields, _query: Fields) -> Answer:
        made = self._workshop.create_endpoint(f"{parent}/endpoints/{new_id()}", _text(body, "displayName"))
        return self._start("create_endpoint", made.name, lambda _job: made)

    def _get_endpoint(self, name: str, _body: Fields, _query: Fields) -> Answer:
        return _endpoint(self._workshop.endpoint(name))

    def _deploy(self, name: str, body: Fields, _query: Fields) -> Answer:
        model = _text(body.get("deployedModel") or {}, "model")
        self._workshop.endpoint(name)
        self._workshop.model(model)
        deployed_id = new_id()
        return self._start("deploy", name, lambda _job: self._workshop.deploy_to(name, model, deployed_id) and None)

    def _undeploy(self, name: str, body: Fields, _query: Fields) -> Answer:
        self._workshop.undeploy_from(name, _text(body, "deployedModelId"))
        return self._start("undeploy", name, lambda _job: None)

    def _delete_endpoint(self, name: str, _body: Fields, _query: Fields) -> Answer:
        self._workshop.delete_endpoint(name)
        return self._start("delete", name, lambda _job: None)

    # Operations

    def _get_operation(self, name: str, _body: Fields, _query: Fields) -> Answer:
        return _operation(self._workshop.job(name))

    def _operations(self, name: str, _body: Fields, _query: Fields) -> Answer:
        return {"operations": [_operation(job) for job in self._workshop.jobs(f"{name}/operations")]}

    def _start(self, kind: str, subject: str, work: Callable[[Job], Any]) -> Answer:
        """Operations are named below what they work on."""
        name = f"{subject}/operations/{new_id()}"
        return _operation(self._workshop.start(kind, name=name, subject=subject, work=work))


def _shape(name: str, rest: str = "") -> re.Pattern[str]:
    return re.compile(f"(?P<name>{name}){rest}")


def _listed(
    key: str,
    find: Callable[[str], Sequence[Any]],
    tell: Callable[[Any], Answer],
    parent: str,
    _body: Fields,
    query: Mapping[str, str],
) -> Answer:
    # AutoML Vision's, which begin with letters, are not Vertex AI's.
    told = (tell(each) for each in find(f"{parent}/{key}/"))
    found = [each for each in told if each["name"].rpartition("/")[2].isdigit()]
    if text := query.get("filter"):
        match = _FILTER.fullmatch(text)
        if not match:
            raise RefusedError("INVALID_ARGUMENT", f'The filter {text!r} is not supported here; display_name="X" is.')
        found = [each for each in found if each["displayName"] == match[1]]
    return {key: found}


def _predefined(filters: Fields | None) -> Mapping[Set, bool] | None:
    """Which sets the filters take; None: there are no filters, and the sets are drawn."""
    if filters is None:
        return None
    chosen: dict[Set, bool] = {}
    for used_for in Set:
        text = filters.get(f"{used_for}Filter", "")
        if text not in {"-", f"labels.aiplatform.googleapis.com/ml_use={used_for}"}:
            raise RefusedError("INVALID_ARGUMENT", f"{used_for}Filter {text!r} is not supported here.")
        chosen[used_for] = text != "-"
    return chosen


def _data_set(data_set: DataSet) -> Answer:
    return {
        "name": data_set.name,
        "displayName": data_set.display_name,
        "createTime": _time(data_set.created),
        "dataItemCount": str(len(data_set.examples)),
    }


def _endpoint(endpoint: Endpoint) -> Answer:
    deployed = [{"id": endpoint.deployed_id, "model": endpoint.model}] if endpoint.model else []
    return {
        "name": endpoint.name,
        "displayName": endpoint.display_name,
        "createTime": _time(endpoint.created),
        **({"deployedModels": deployed, "trafficSplit": {endpoint.deployed_id: 100}} if deployed else {}),
    }


def _pipeline(job: Job) -> Answer:
    state = "PIPELINE_STATE_SUCCEEDED" if job.finished.is_set() else "PIPELINE_STATE_RUNNING"
    answer: Answer = {
        "name": job.name,
        "displayName": job.details["displayName"],
        "createTime": _time(job.created),
        "updateTime": _time(job.updated),
        "modelToUpload": {"displayName": job.details["displayName"]},
    }
    if job.finished.is_set() and job.error:
        state = _STATES.get(job.error.status, "PIPELINE_STATE_FAILED")
        answer["error"] = _status(job.error)
    elif job.finished.is_set():
        answer["modelToUpload"]["name"] = job.details["model"]
    return {**answer, "state": state}


def _evaluation(made: Made, figures: Figures) -> Answer:
    return {
        "name": f"{made.name}/evaluations/1",
        "createTime": _time(made.created),
        "metrics": {
            "auPrc": figures.au_prc,
            "logLoss": figures.log_loss,
            "confidenceMetrics": [
                {"confidenceThreshold": at, "recall": recall, "precision": precision, "f1Score": f1}
                for at, recall, precision, f1 in figures.at
            ],
            "confusionMatrix": {
                "annotationSpecs": [{"displayName": label} for label in figures.labels],
                "rows": [list(row) for row in figures.confusion],
            },
        },
    }


def _operation(job: Job) -> Answer:
    generic: Answer = {"createTime": _time(job.created), "updateTime": _time(job.updated)}
    if job.failures:
        code = _CODES["INVALID_ARGUMENT"]
        generic["partialFailures"] = [{"code": code, "message": text} for text in job.failures[:MAX_FAILURES]]
    answer: Answer = {
        "name": job.name,
        "metadata": {"@type": f"{_TYPES}.{_METADATA[job.kind]}", "genericMetadata": generic},
    }
    if job.finished.is_set():
        answer["done"] = True
        if job.error:
            answer["error"] = _status(job.error)
        else:
            answer["response"] = _response(job.result)
    return answer


def _response(result: object) -> Answer:
    match result:
        case DataSet():
            return {"@type": f"{_TYPES}.Dataset", **_data_set(result)}
        case Endpoint():
            return {"@type": f"{_TYPES}.Endpoint", **_endpoint(result)}
        case _:
            return {"@type": "type.googleapis.com/google.protobuf.Empty"}


def _status(error: ApiError) -> Answer:
    return {"code": _CODES.get(status_word(error), 2), "message": error.message}


def _time(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _text(fields: Fields, key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise RefusedError("INVALID_ARGUMENT", f"{key} is {value!r}; it must be given.")
    return value


def _object(body: bytes) -> Fields:
    if not body:
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error
    if not isinstance(value, dict):
        raise RefusedError("INVALID_ARGUMENT", "Invalid JSON payload received. It must be an object.")
    return cast("Fields", value)
