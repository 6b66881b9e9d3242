"""What may be a label, and what may be a model."""

import pytest

from inspection.labels import MAX_LABEL_LENGTH, is_label
from inspection.model_id import Backend, ModelId, parse_model_id


@pytest.mark.parametrize(
    "label", ["ok", "defect", "Größe 2", "部品", "a.b", "x_y-z", "_a_", "7", "x" * MAX_LABEL_LENGTH]
)
def test_a_label_that_can_name_a_folder(label: str):
    assert is_label(label)


@pytest.mark.parametrize(
    "label",
    [
        "", " ", "a ", " a", ".", "..", ".a", "a.", "a/b", "/", "a\n", "a\\b", "a#b", "a?b", "a*", "[a]", "a\0", "-a",
        "unclear", "Unclear", "REJECTED", "human_decided", "x" * (MAX_LABEL_LENGTH + 1),
    ],
)  # fmt: skip
def test_a_label_that_cannot(label: str):
    assert not is_label(label)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ICN42",
            ModelId(
                backend=Backend.AUTOML,
                name="projects/factory/locations/us-central1/models/ICN42",
                project="factory",
                location="us-central1",
                resource="ICN42",
            ),
        ),
        (
            "projects/other/locations/eu/models/ICN42",
            ModelId(
                backend=Backend.AUTOML,
                name="projects/other/locations/eu/models/ICN42",
                project="other",
                location="eu",
                resource="ICN42",
            ),
        ),
        (
            "projects/12345/locations/europe-west4/endpoints/678",
            ModelId(
                backend=Backend.VERTEX,
                name="projects/12345/locations/europe-west4/endpoints/678",
                project="12345",
                location="europe-west4",
                resource="678",
            ),
        ),
        (
            "gs://factory-models/models/castings-3.onnx",
            ModelId(
                backend=Backend.OWN,
                name="gs://factory-models/models/castings-3.onnx",
                project="",
                location="",
                resource="models/castings-3.onnx",
                bucket="factory-models",
            ),
        ),
    ],
)
def test_the_shape_of_a_models_id_says_who_answers(text: str, expected: ModelId):
    assert parse_model_id(text, project="factory") == expected
    assert parse_model_id(expected.name, project="any") == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "ICN", "icn42", "ICN42 ", "TCN42", "resnet.tflite", "gs://b/m.onnx", "gs://models/m.tflite", "gs://models/.onnx/", "gs://Models/m.onnx", "projects/p/models/ICN42", "endpoints/678",
        "projects/factory/locations/us-central1/models/678", "projects/factory/locations/us-central1/endpoints/",
        "projects/factory/locations/US/endpoints/6", "projects//locations/us-central1/endpoints/6",
        "https://europe-west4-aiplatform.googleapis.com/v1/projects/factory/locations/europe-west4/endpoints/6",
        "projects/factory/locations/us-central1/endpoints/6\n",
    ],
)  # fmt: skip
def test_any_other_shape_is_refused_with_those_there_are(text: str):
    with pytest.raises(ValueError, match=r"is no model: give an AutoML Vision model .* or a Vertex AI endpoint"):
        parse_model_id(text, project="factory")
