"""AutoML on Vertex AI, over REST.

Google's own client library (google-cloud-aiplatform) is left out: it installs hundreds of megabytes for a dozen requests.
https://cloud.google.com/vertex-ai/docs/reference/rest
"""

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

import google.auth
import requests
from google.auth import exceptions as auth
from google.auth.transport.requests import AuthorizedSession
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from automl.dataset.import_file import VERTEX_SCHEMA
from automl.dataset.split import Set
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
from automl.services.waiting import wait
from inspection.environment import VERTEX_EMULATOR
from inspection.model_id import Backend

DATA_SET_SCHEMA = "gs://google-cloud-aiplatform/schema/dataset/metadata/image_1.0.0.yaml"
TRAINING_SCHEMA = "gs://google-cloud-aiplatform/schema/trainingjob/definition/automl_image_classification_1.0.0.yaml"

_SET_FILTER = "labels.aiplatform.googleapis.com/ml_use={}"
_NOTHING = "-"
"""The filter that no picture passes."""
_SECONDS = 60.0
_MAX_PREDICTIONS = 10
_CONNECTIONS = 10
# A repeated question does no harm; what creates something is asked once.
_RETRY = Retry(total=6, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), allowed_methods={"GET"})
_ENDED = {"PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED", "PIPELINE_STATE_PAUSED"}

Fields = Mapping[str, Any]


class VertexAi:
    """See :class:`automl.services.service.Service`."""

    backend = Backend.VERTEX

    def __init__(self, *, project: str, location: str) -> None:
        """Find the credentials; the first request connects.

        Raises:
            ServiceError: there are none.
        """
        emulator = os.environ.get(VERTEX_EMULATOR)
        self.is_local = emulator is not None
        self.where = f"project {project}, {location}"
        self._parent = f"projects/{project}/locations/{location}"
        self._base = f"{emulator or f'https://{location}-aiplatform.googleapis.com'}/v1/"
        if emulator:
            self._session = requests.Session()
        else:
            try:
                credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
            except auth.GoogleAuthError as error:
                raise ServiceError(
                    f"no way into Google Cloud ({error}); run `gcloud auth application-default login`"
                ) from error
            self._session = AuthorizedSession(credentials)
        adapter = HTTPAdapter(pool_maxsize=_CONNECTIONS, max_retries=_RETRY)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def find_data_set(self, name: str) -> str | None:
        """See :class:`automl.services.service.Service`."""
        return _newest(self._named("datasets", name))

    def has_data_set(self, data_set: str) -> bool:
        """See :class:`automl.services.service.Service`."""
        return self._is_there(data_set)

    def begin_data_set(self, plan: Plan) -> str:
        """See :class:`automl.services.service.Service`. Several labels or one is said by the import and by the training."""
        body = {"displayName": plan.name, "metadataSchemaUri": DATA_SET_SCHEMA, "metadata": {}}
        return self._post(f"{self._parent}/datasets", body)["name"]

    def begin_import(self, data_set: str, plan: Plan) -> str:
        """See :class:`automl.services.service.Service`."""
        schema = VERTEX_SCHEMA.format("multi" if plan.multi_label else "single")
        configs = [{"gcsSource": {"uris": list(plan.files)}, "importSchemaUri": schema}]
        return self._post(f"{data_set}:import", {"importConfigs": configs})["name"]

    def begin_training(self, data_set: str, plan: Plan) -> str:
        """See :class:`automl.services.service.Service`. What is followed is the pipeline, which needs no operation."""
        source: dict[str, Any] = {"datasetId": data_set.rpartition("/")[2]}
        if plan.own_sets:
            # Without filters Vertex AI draws sets of its own.
            source["filterSplit"] = {
                f"{used_for}Filter": _SET_FILTER.format(used_for) if used_for in plan.own_sets else _NOTHING
                for used_for in Set
            }
        body = {
            "displayName": plan.name,
            "inputDataConfig": source,
            "trainingTaskDefinition": TRAINING_SCHEMA,
            "trainingTaskInputs": {
                "modelType": "CLOUD",
                "multiLabel": plan.multi_label,
                # Numbers of 64 bits are text in Google's JSON.
                "budgetMilliNodeHours": str(1000 * plan.node_hours),
            },
            "modelToUpload": {"displayName": plan.name},
        }
        return self._post(f"{self._parent}/trainingPipelines", body)["name"]

    def begun_since(self, step: str, data_set: str, name: str, since: float) -> str | None:
        """See :class:`automl.services.service.Service`."""
        if step == "training":
            found = self._named("trainingPipelines", name)
        else:
            found = self._all(f"{data_set}/operations", "operations")
            found = [
                {**each, "createTime": each["metadata"]["genericMetadata"]["createTime"]}
                for each in found
                if each["metadata"].get("@type", "").endswith("ImportDataOperationMetadata")
            ]
        return _newest([each for each in found if _time(each) >= since])

    def progress(self, operation: str) -> Progress:
        """See :class:`automl.services.service.Service`."""
        found = self._get(operation)
        if "/operations/" not in operation:
            return _pipeline(found)
        if error := found.get("error"):
            raise OperationFailedError(error.get("message", str(error)))
        problems = found.get("metadata", {}).get("genericMetadata", {}).get("partialFailures", [])
        return Progress(
            done=found.get("done", False),
            result=found.get("response", {}).get("name", ""),
            problems=tuple(each.get("message", "") for each in problems),
        )

    def cancel(self, operation: str) -> None:
        """See :class:`automl.services.service.Service`."""
        self._post(f"{operation}:cancel", {})

    def find_model(self, text: str) -> Model:
        """See :class:`automl.services.service.Service`."""
        if "/endpoints/" in text:
            deployed = self._get(text).get("deployedModels", [])
            if not deployed:
                raise NotThereError(f"no model is deployed to {text}")
            text = str(deployed[0]["model"])
        if not text.startswith("projects/"):
            found = _newest(self._named("models", text))
            if found is None:
                raise NotThereError(f"Vertex AI has no model {text!r} in {self.where}")
            text = found
        fields = self._get(text)
        endpoints = [str(each["endpoint"]) for each in fields.get("deployedModels", [])]
        return Model(
            name=fields["name"],
            display_name=fields.get("displayName", ""),
            model_id=endpoints[0] if endpoints else None,
        )

    def begin_deploy(self, model: Model) -> str:
        """See :class:`automl.services.service.Service`. The endpoint is made first, if there is none of the model's name.

        Its id is what a stack names; it stays when the model is undeployed, and costs nothing by itself.
        """
        endpoint = self._own_endpoint(model)
        if endpoint is None:
            operation = self._post(f"{self._parent}/endpoints", {"displayName": model.display_name})["name"]
            endpoint = self._wait(operation).result
        body = {
            "deployedModel": {
                "model": model.name,
                "displayName": model.display_name,
                "automaticResources": {"minReplicaCount": 1, "maxReplicaCount": 1},
            },
            # 0 is the model that is being deployed.
            "trafficSplit": {"0": 100},
        }
        return self._post(f"{endpoint}:deployModel", body)["name"]

    def begin_undeploy(self, model: Model) -> str:
        """See :class:`automl.services.service.Service`."""
        endpoint = str(model.model_id)
        (deployed,) = (each for each in self._get(endpoint)["deployedModels"] if each["model"] == model.name)
        return self._post(f"{endpoint}:undeployModel", {"deployedModelId": deployed["id"]})["name"]

    def goes_with(self, model: Model) -> Sequence[str]:
        """See :class:`automl.services.service.Service`. Its endpoint, unless another model is deployed to it."""
        endpoint = self._own_endpoint(model)
        return () if endpoint is None else (endpoint,)

    def begin_delete(self, model: Model) -> str:
        """See :class:`automl.services.service.Service`."""
        for endpoint in self.goes_with(model):
            self._wait(self._delete(endpoint))
        return self._delete(model.name)

    def begin_delete_data_set(self, data_set: str) -> str:
        """See :class:`automl.services.service.Service`."""
        return self._delete(data_set)

    def scores(self, model: Model, jpeg: bytes) -> dict[str, float]:
        """See :class:`automl.services.service.Service`."""
        question = {
            "instances": [{"content": base64.b64encode(jpeg).decode(), "mimeType": "image/jpeg"}],
            "parameters": {"confidenceThreshold": 0.0, "maxPredictions": _MAX_PREDICTIONS},
        }
        (answer,) = self._post(f"{model.model_id}:predict", question, refusal=PictureRefusedError)["predictions"]
        pairs = zip(answer["displayNames"], answer["confidences"], strict=True)
        return {label: min(1.0, max(0.0, float(score))) for label, score in pairs}

    def figures(self, model: Model) -> Sequence[ServiceFigures]:
        """See :class:`automl.services.service.Service`. Vertex AI tells them for all labels together."""
        return [
            ServiceFigures(label="", pictures=None, average_precision=float(each["metrics"]["auPrc"]))
            for each in self._all(f"{model.name}/evaluations", "modelEvaluations")
            if "auPrc" in each.get("metrics", {})
        ]

    def _own_endpoint(self, model: Model) -> str | None:
        """The endpoint that was made for it, as long as no other model is deployed there."""
        return _newest(
            [each for each in self._named("endpoints", model.display_name) if not each.get("deployedModels")]
        )

    def _wait(self, operation: str) -> Progress:
        return wait(lambda: self.progress(operation), lambda _progress: None)

    def _named(self, collection: str, name: str) -> list[Fields]:
        found = self._all(f"{self._parent}/{collection}", collection, filter=f'display_name="{name}"')
        return [each for each in found if each.get("displayName") == name]

    def _all(self, path: str, key: str, **parameters: str) -> list[Fields]:
        found: list[Fields] = []
        while True:
            page = self._get(path, **parameters)
            found += page.get(key, [])
            if not (token := page.get("nextPageToken")):
                return found
            parameters["pageToken"] = token

    def _is_there(self, name: str) -> bool:
        try:
            self._get(name)
        except NotThereError:
            return False
        return True

    def _get(self, path: str, **parameters: str) -> Fields:
        return self._ask(lambda: self._session.get(self._base + path, params=parameters, timeout=_SECONDS))

    def _post(self, path: str, body: Fields, *, refusal: type[ServiceError] = ServiceError) -> Fields:
        return self._ask(lambda: self._session.post(self._base + path, json=body, timeout=_SECONDS), refusal)

    def _delete(self, path: str) -> str:
        return self._ask(lambda: self._session.delete(self._base + path, timeout=_SECONDS))["name"]

    def _ask(self, send: Callable[[], requests.Response], refusal: type[ServiceError] = ServiceError) -> Fields:
        try:
            response = send()
        except (requests.RequestException, auth.GoogleAuthError) as error:
            raise ServiceError(f"Vertex AI in {self.where} does not answer: {error}") from error
        if response.ok:
            return response.json()
        status, text = _error(response)
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise NotThereError(text)
        if status == "INVALID_ARGUMENT":
            raise refusal(text)
        raise ServiceError(text)


def _pipeline(fields: Fields) -> Progress:
    state = fields["state"]
    if state in _ENDED:
        message = fields.get("error", {}).get("message") or f"the training ended as {state}"
        raise OperationFailedError(message)
    done = state == "PIPELINE_STATE_SUCCEEDED"
    return Progress(done=done, result=fields["modelToUpload"]["name"] if done else "")


def _newest(found: Sequence[Fields]) -> str | None:
    return max(found, key=_time)["name"] if found else None


def _time(fields: Fields) -> float:
    return datetime.fromisoformat(fields["createTime"]).timestamp()


def _error(response: requests.Response) -> tuple[str, str]:
    """Status and message of a Google error body, as far as the answer is one."""
    try:
        error: dict[str, Any] = response.json()["error"]
        return error.get("status", ""), error["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", response.text[:200] or HTTPStatus(response.status_code).phrase
