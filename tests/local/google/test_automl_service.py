"""AutoML Vision's service for data sets and models, as Google's own client gets its answers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import automl_v1, storage
from google.cloud.automl_v1 import types
from google.cloud.automl_v1.services.auto_ml.transports import AutoMlGrpcTransport
from google.longrunning import operations_pb2

from local.deploy.processes import CannotStartError
from tests.automl.model_cloud import PROJECT, ModelCloud, put_pictures, running_models
from tests.local.model_storage import storage_of

PARENT = f"projects/{PROJECT}/locations/us-central1"
KINDS = types.ClassificationType
NEW = types.ImageClassificationDatasetMetadata(classification_type=KINDS.MULTICLASS)

Import = Callable[[str, str], "operations_pb2.Operation"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelCloud]:
    with running_models(tmp_path_factory.mktemp("automl")) as running:
        yield running


@pytest.fixture(scope="module")
def client(cloud: ModelCloud) -> Iterator[automl_v1.AutoMlClient]:
    with grpc.insecure_channel(cloud.automl) as channel:
        yield automl_v1.AutoMlClient(transport=AutoMlGrpcTransport(channel=channel))


@pytest.fixture(scope="module")
def bucket(cloud: ModelCloud) -> storage.Bucket:
    """Twelve red and twelve blue pictures."""
    bucket = storage_of(cloud).create_bucket("colours")
    put_pictures(bucket, {"red": 12, "blue": 12})
    return bucket


@pytest.fixture
def data_set(client: automl_v1.AutoMlClient) -> str:
    return make_data_set(client)


def result(operation: Any) -> Any:  # noqa: ANN401  # the client says of every result that it may be None
    return operation.result(60)


def make_data_set(client: automl_v1.AutoMlClient, **other: Any) -> str:  # noqa: ANN401  # fields of a data set
    fields: dict[str, Any] = {"display_name": "colours", "image_classification_dataset_metadata": NEW, **other}
    return result(client.create_dataset(parent=PARENT, dataset=types.Dataset(**fields))).name


def imported(client: automl_v1.AutoMlClient, bucket: storage.Bucket, data_set: str, *lines: str) -> Any:  # noqa: ANN401
    """Import these lines; the finished operation."""
    bucket.blob("lines.csv").upload_from_string("\n".join(lines))
    source = types.InputConfig(gcs_source=types.GcsSource(input_uris=[f"gs://{bucket.name}/lines.csv"]))
    operation = client.import_data(name=data_set, input_config=source)
    operation.exception(20)
    return operation


def lines(reds: int = 12, blues: int = 12) -> list[str]:
    return [
        *(f"gs://colours/red/{number}.png,red" for number in range(reds)),
        *(f"gs://colours/blue/{number}.png,blue" for number in range(blues)),
    ]


def model(data_set: str, budget: int = 8000, **other: Any) -> types.Model:  # noqa: ANN401  # fields of a model
    wanted = types.ImageClassificationModelMetadata(model_type="cloud", train_budget_milli_node_hours=budget)
    fields: dict[str, Any] = {"dataset_id": data_set.rpartition("/")[2], "display_name": "colours", **other}
    return types.Model(image_classification_model_metadata=wanted, **fields)


def test_a_data_set_is_made_found_by_its_name_and_deleted(client: automl_v1.AutoMlClient):
    name = make_data_set(client, display_name="to_be_deleted")
    request = types.ListDatasetsRequest(parent=PARENT, filter='display_name="to_be_deleted"')
    assert [found.name for found in client.list_datasets(request=request)] == [name]
    client.delete_dataset(name=name).result(10)
    with pytest.raises(exceptions.NotFound, match=f"Dataset {name} does not exist"):
        client.get_dataset(name=name)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"display_name": "nine lives"}, "allowed are up to 32 letters"),
        ({"display_name": ""}, "allowed are up to 32 letters"),
        ({"image_classification_dataset_metadata": types.ImageClassificationDatasetMetadata()}, "MULTICLASS or MULTI"),
        ({"image_classification_dataset_metadata": None}, "Only image classification"),
    ],
)
def test_a_data_set_that_cannot_be_is_refused(client: automl_v1.AutoMlClient, fields: dict[str, Any], text: str):
    with pytest.raises(exceptions.InvalidArgument, match=text):
        make_data_set(client, **fields)


def test_another_location_is_refused(client: automl_v1.AutoMlClient):
    with pytest.raises(exceptions.InvalidArgument, match="us-central1"):
        client.list_datasets(parent=f"projects/{PROJECT}/locations/europe-west4")


def test_pictures_that_cannot_be_read_are_told_with_their_line_and_the_others_are_imported(
    client: automl_v1.AutoMlClient, bucket: storage.Bucket, data_set: str
):
    bucket.blob("text.png").upload_from_string(b"no picture")
    operation = imported(
        client, bucket, data_set, "gs://colours/red/0.png,red", "gs://colours/none.png,red", "gs://colours/text.png,red"
    )
    assert operation.exception() is None
    told = [failure.message for failure in operation.metadata.partial_failures]
    assert told[0] == "gs://colours/lines.csv line 2: gs://colours/none.png does not exist."
    assert told[1].startswith("gs://colours/lines.csv line 3: gs://colours/text.png is no image")
    assert client.get_dataset(name=data_set).example_count == 1


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("colours/red/1.png,red", "neither a set (TRAIN, VALIDATION, TEST, UNASSIGNED) nor an image's gs:// URI"),
        ("LEARN,gs://colours/red/1.png,red", "'LEARN' is neither a set"),
        ("TRAIN,gs://colours/red/1.png", "has no label"),
        ("gs://colours/red/1.png,red,", "an empty one"),
        ("gs://colours/red/1.png,red,blue", "2 labels in a single-label dataset"),
        ('gs://colours/red/1.png,"red', "Malformed CSV"),
    ],
)
def test_a_malformed_line_fails_the_import_and_is_told_with_its_number(
    client: automl_v1.AutoMlClient, bucket: storage.Bucket, data_set: str, line: str, text: str
):
    error = imported(client, bucket, data_set, "gs://colours/red/0.png,red", line).exception()
    assert isinstance(error, exceptions.InvalidArgument)
    assert "gs://colours/lines.csv line 2: " in error.message
    assert text in error.message
    assert client.get_dataset(name=data_set).example_count == 0


def test_more_failures_than_google_tells_are_counted(
    client: automl_v1.AutoMlClient, bucket: storage.Bucket, data_set: str
):
    operation = imported(client, bucket, data_set, *(f"gs://colours/none{n}.png,red" for n in range(30)))
    assert len(operation.metadata.partial_failures) == 20
    assert "and 10 more" in operation.exception().message


def test_an_import_file_that_is_not_there(client: automl_v1.AutoMlClient, data_set: str):
    source = types.InputConfig(gcs_source=types.GcsSource(input_uris=["gs://colours/none.csv"]))
    error = client.import_data(name=data_set, input_config=source).exception(10)
    assert isinstance(error, exceptions.NotFound)
    assert "gs://colours/none.csv does not exist" in error.message


def test_a_data_set_has_a_quota(client: automl_v1.AutoMlClient, bucket: storage.Bucket, data_set: str):
    error = imported(client, bucket, data_set, *(f"gs://colours/none{n}.png,red" for n in range(201))).exception()
    assert isinstance(error, exceptions.ResourceExhausted)
    assert "limit 200" in error.message


def test_a_picture_imported_again_counts_once_and_keeps_its_label(
    client: automl_v1.AutoMlClient, bucket: storage.Bucket, data_set: str
):
    imported(client, bucket, data_set, "gs://colours/red/0.png,red")
    again = imported(client, bucket, data_set, "gs://colours/red/0.png,red", "gs://colours/red/1.png,red")
    assert not again.metadata.partial_failures
    otherwise = imported(client, bucket, data_set, "gs://colours/red/0.png,blue", "gs://colours/red/1.png,red")
    assert "was imported before with red" in otherwise.metadata.partial_failures[0].message
    assert client.get_dataset(name=data_set).example_count == 2


def test_a_model_is_trained_evaluated_and_deployed(
    client: automl_v1.AutoMlClient, bucket: storage.Bucket, data_set: str, cloud: ModelCloud, tmp_path: Path
):
    used_for = ["TEST,", "TEST,", "TEST,", "VALIDATION,", *[""] * 8] * 2
    imported(client, bucket, data_set, *(a + b for a, b in zip(used_for, lines(), strict=True)))
    operation = client.create_model(parent=PARENT, model=model(data_set))
    made = result(operation)
    assert "create_model_details" in (operation.metadata or ())
    found = client.get_model(name=made.name)
    assert found.deployment_state == types.Model.DeploymentState.UNDEPLOYED
    assert found.image_classification_model_metadata.train_budget_milli_node_hours == 8000

    evaluations = client.list_model_evaluations(parent=made.name, filter="")
    by_label = {each.display_name: each for each in evaluations}
    assert set(by_label) == {"", "red", "blue"}
    whole = by_label[""].classification_evaluation_metrics
    assert by_label[""].evaluated_example_count >= 6, "the TEST lines, and a share of those without a set"
    assert sum(sum(row.example_count) for row in whole.confusion_matrix.row) == by_label[""].evaluated_example_count
    assert whole.au_prc > 0.9
    assert client.get_model_evaluation(name=by_label["red"].name).display_name == "red"

    client.deploy_model(name=made.name).result(10)
    assert client.get_model(name=made.name).deployment_state == types.Model.DeploymentState.DEPLOYED
    with pytest.raises(exceptions.FailedPrecondition, match="undeploy it first"):
        client.delete_model(name=made.name)
    client.undeploy_model(name=made.name).result(10)
    with pytest.raises(exceptions.FailedPrecondition, match="not deployed"):
        client.undeploy_model(name=made.name)
    client.delete_model(name=made.name).result(10)
    with pytest.raises(exceptions.NotFound, match=made.name):
        client.get_model(name=made.name)
    assert cloud.registry.find(made.name) is None


@pytest.mark.parametrize(
    ("reds", "other", "error", "text"),
    [
        (0, {}, exceptions.FailedPrecondition, "has no images"),
        (9, {}, exceptions.FailedPrecondition, "at least 10 images to train: red has 9"),
        (10, {"display_name": "no name"}, exceptions.InvalidArgument, "up to 32 letters"),
        (10, {"dataset_id": "ICN404"}, exceptions.NotFound, "ICN404 does not exist"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    client: automl_v1.AutoMlClient,
    bucket: storage.Bucket,
    data_set: str,
    reds: int,
    other: dict[str, Any],
    error: type[Exception],
    text: str,
):
    if reds:
        imported(client, bucket, data_set, *lines(reds))
    with pytest.raises(error, match=text):
        client.create_model(parent=PARENT, model=model(data_set, **other))


@pytest.mark.parametrize("budget", [7999, 800_001])
def test_a_budget_outside_googles_range_is_refused(client: automl_v1.AutoMlClient, data_set: str, budget: int):
    with pytest.raises(exceptions.InvalidArgument, match="must be between 8000 and 800000"):
        client.create_model(parent=PARENT, model=model(data_set, budget))


def test_only_one_label_cannot_be_trained_and_the_operation_says_so(
    client: automl_v1.AutoMlClient, bucket: storage.Bucket, data_set: str
):
    imported(client, bucket, data_set, *lines(12, 0))
    error = client.create_model(parent=PARENT, model=model(data_set)).exception(30)
    assert isinstance(error, exceptions.InvalidArgument)
    assert "two or more are needed" in error.message


def test_operations_are_listed_waited_for_and_cancelled(
    client: automl_v1.AutoMlClient, bucket: storage.Bucket, data_set: str
):
    imported(client, bucket, data_set, *lines())
    operation = client.create_model(parent=PARENT, model=model(data_set))
    busy = exceptions.FailedPrecondition
    with pytest.raises(busy, match="is working on"):
        client.delete_dataset(name=data_set)
    operations: Any = client.transport.operations_client
    assert operation.operation.name in [each.name for each in operations.list_operations(PARENT, "")]
    operation.cancel()
    error = operation.exception(30)
    assert isinstance(error, exceptions.Cancelled)
    with pytest.raises(exceptions.NotFound, match="Operation"):
        operations.get_operation(f"{PARENT}/operations/ICN404")


def test_a_model_answers_after_the_next_start_and_an_undeployed_one_does_not(tmp_path: Path):
    with running_models(tmp_path) as first:
        bucket = storage_of(first).create_bucket("colours")
        put_pictures(bucket, {"red": 10, "blue": 10})
        with grpc.insecure_channel(first.automl) as channel:
            client = automl_v1.AutoMlClient(transport=AutoMlGrpcTransport(channel=channel))
            data_set = make_data_set(client)
            imported(client, bucket, data_set, *lines(10, 10))
            name = result(client.create_model(parent=PARENT, model=model(data_set))).name
            client.deploy_model(name=name).result(10)
    with running_models(tmp_path) as second:
        found = second.registry.find(name)
        assert found is not None
        assert found.deployed
        second.workshop.undeploy(name)
    with running_models(tmp_path) as third:
        assert third.workshop.model(name).display_name == "colours"
        assert third.registry.find(name) is None


def test_a_kept_model_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "old.joblib").write_bytes(b"of another version")
    with pytest.raises(CannotStartError, match=r"old\.joblib.*delete it"), running_models(tmp_path):
        pass
