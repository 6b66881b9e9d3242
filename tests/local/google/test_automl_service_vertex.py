"""Vertex AI's data sets, trainings, models and endpoints, as any REST client gets their answers."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from google.cloud import storage

from automl.dataset.import_file import VERTEX_SCHEMA
from automl.services.vertex_ai import DATA_SET_SCHEMA, TRAINING_SCHEMA
from tests.automl.model_cloud import PROJECT, ModelCloud, put_pictures, running_models
from tests.local.model_storage import storage_of

PARENT = f"projects/{PROJECT}/locations/europe-west4"
ML_USE = "aiplatform.googleapis.com/ml_use"
SPLIT = {f"{name}Filter": f"labels.{ML_USE}={name}" for name in ("training", "validation", "test")}
INPUTS: dict[str, Any] = {"modelType": "CLOUD", "multiLabel": False, "budgetMilliNodeHours": "8000"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelCloud]:
    with running_models(tmp_path_factory.mktemp("vertex")) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(cloud: ModelCloud) -> storage.Bucket:
    bucket = storage_of(cloud).create_bucket("colours")
    put_pictures(bucket, {"red": 12, "blue": 12})
    return bucket


class Vertex:
    """Asks as the engineer."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/"

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        answer = requests.request(method, self._url + path, json=body, timeout=30)
        return answer.status_code, answer.json()

    def done(self, operation: dict[str, Any]) -> dict[str, Any]:
        """The operation or pipeline as soon as it has ended."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            _, operation = self.ask("GET", operation["name"])
            if operation.get("done") or operation.get("state") not in {None, "PIPELINE_STATE_RUNNING"}:
                return operation
            time.sleep(0.05)
        raise AssertionError(operation)

    def refused(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[str, str]:
        code, answer = self.ask(method, path, body)
        assert answer["error"]["code"] == code >= 400
        return answer["error"]["status"], answer["error"]["message"]


@pytest.fixture
def vertex(cloud: ModelCloud) -> Vertex:
    return Vertex(cloud.url)


@pytest.fixture
def data_set(vertex: Vertex) -> str:
    body = {"displayName": "colours", "metadataSchemaUri": DATA_SET_SCHEMA}
    return vertex.done(vertex.ask("POST", f"{PARENT}/datasets", body)[1])["response"]["name"]


def line(colour: str, number: int, used_for: str | None) -> str:
    fields: dict[str, Any] = {
        "imageGcsUri": f"gs://colours/{colour}/{number}.png",
        "classificationAnnotation": {"displayName": colour},
    }
    if used_for:
        fields["dataItemResourceLabels"] = {ML_USE: used_for}
    return json.dumps(fields)


def imported(
    vertex: Vertex, bucket: storage.Bucket, data_set: str, *lines: str, kind: str = "single"
) -> dict[str, Any]:
    bucket.blob("lines.jsonl").upload_from_string("\n".join(lines))
    source = {"gcsSource": {"uris": ["gs://colours/lines.jsonl"]}, "importSchemaUri": VERTEX_SCHEMA.format(kind)}
    status, operation = vertex.ask("POST", f"{data_set}:import", {"importConfigs": [source]})
    assert status == 200, operation
    return vertex.done(operation)


def pipeline(data_set: str, inputs: dict[str, Any], **source: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    return {
        "displayName": "colours",
        "inputDataConfig": {"datasetId": data_set.rpartition("/")[2], **source},
        "trainingTaskDefinition": TRAINING_SCHEMA,
        "trainingTaskInputs": inputs,
        "modelToUpload": {"displayName": "colours"},
    }


def test_a_malformed_line_fails_the_import_and_is_told_with_its_number(
    vertex: Vertex, bucket: storage.Bucket, data_set: str
):
    good = line("red", 0, "training")
    for bad, text in [
        ("{", "Malformed JSON"),
        ("{}", "Not as the schema says"),
        ('{"imageGcsUri": "x", "classificationAnnotation": {"displayName": "red"}}', "must be a gs:// URI"),
        (line("red", 1, "learning"), "allowed are training, validation, test"),
        (line("", 1, None), "has no label"),
    ]:
        operation = imported(vertex, bucket, data_set, good, bad)
        assert operation["error"]["code"] == 3
        assert "gs://colours/lines.jsonl line 2: " in operation["error"]["message"]
        assert text in operation["error"]["message"]
    assert vertex.ask("GET", data_set)[1]["dataItemCount"] == "0"


def test_a_missing_picture_is_a_partial_failure(vertex: Vertex, bucket: storage.Bucket, data_set: str):
    operation = imported(vertex, bucket, data_set, line("red", 0, None), line("red", 400, None))
    (failure,) = operation["metadata"]["genericMetadata"]["partialFailures"]
    assert failure["message"] == "gs://colours/lines.jsonl line 2: gs://colours/red/400.png does not exist."
    assert vertex.ask("GET", data_set)[1]["dataItemCount"] == "1"


def test_filters_choose_the_sets_and_without_them_they_are_drawn(
    vertex: Vertex, bucket: storage.Bucket, data_set: str, cloud: ModelCloud
):
    sets = ["training"] * 8 + ["test"] * 4
    imported(
        vertex, bucket, data_set, *(line(colour, i, each) for colour in ("red", "blue") for i, each in enumerate(sets))
    )
    tested: list[int] = []
    for source in ({"filterSplit": {**SPLIT, "validationFilter": "-"}}, {"filterSplit": {**SPLIT, "testFilter": "-"}}):
        status, made = vertex.ask("POST", f"{PARENT}/trainingPipelines", pipeline(data_set, INPUTS, **source))
        if status == 200:
            ended = vertex.done(made)
            assert ended["state"] == "PIPELINE_STATE_SUCCEEDED"
            figures = cloud.workshop.model(ended["modelToUpload"]["name"]).figures
            tested.append(figures[0].pictures if figures else 0)
        else:
            assert "needs at least 10 images to train: blue has 8, red has 8" in made["error"]["message"]
    assert tested == [8]


@pytest.mark.parametrize(
    ("inputs", "source", "text"),
    [
        ({**INPUTS, "budgetMilliNodeHours": "7999"}, {}, "between 8000 and 800000"),
        ({**INPUTS, "modelType": "MAGIC"}, {}, "modelType is 'MAGIC'"),
        (INPUTS, {"filterSplit": {**SPLIT, "testFilter": "labels.x=1"}}, "testFilter 'labels.x=1' is not supported"),
        (INPUTS, {"datasetId": "404"}, "datasets/404 does not exist"),
        (INPUTS, {}, "has no images"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    vertex: Vertex, data_set: str, inputs: dict[str, Any], source: dict[str, Any], text: str
):
    body = pipeline(data_set, inputs)
    body["inputDataConfig"] |= source
    assert text in vertex.refused("POST", f"{PARENT}/trainingPipelines", body)[1]


def test_several_labels_are_refused_where_one_was_imported(vertex: Vertex, bucket: storage.Bucket, data_set: str):
    imported(vertex, bucket, data_set, line("red", 0, None))
    body = pipeline(data_set, {**INPUTS, "multiLabel": True})
    assert "multiLabel is True" in vertex.refused("POST", f"{PARENT}/trainingPipelines", body)[1]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{PARENT}/datasets/404", "NOT_FOUND"),
        ("GET", f"{PARENT}/models/404", "NOT_FOUND"),
        ("GET", f"{PARENT}/endpoints/404", "NOT_FOUND"),
        ("GET", f"{PARENT}/datasets/1/operations/404", "NOT_FOUND"),
        ("DELETE", f"{PARENT}/endpoints/404", "NOT_FOUND"),
        ("POST", f"{PARENT}/endpoints/404:deployModel", "INVALID_ARGUMENT"),
        ("POST", f"{PARENT}/featurestores", "NOT_FOUND"),
        ("GET", f"{PARENT}/models?filter=labels.x=1", "INVALID_ARGUMENT"),
    ],
)
def test_what_is_not_there_is_answered_as_google_does(vertex: Vertex, method: str, path: str, status: str):
    assert vertex.refused(method, path, {} if method == "POST" else None)[0] == status


def test_automl_visions_models_are_not_vertex_ais(vertex: Vertex, cloud: ModelCloud):
    cloud.workshop.create_data_set(f"{PARENT}/datasets/ICN1", "of_automl", multi_label=False)
    listed = vertex.ask("GET", f"{PARENT}/datasets?filter=display_name%3D%22of_automl%22")[1]
    assert listed == {"datasets": []}
