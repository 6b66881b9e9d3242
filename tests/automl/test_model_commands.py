"""`inspection model`, through the real clients, against the local services of AutoML Vision and Vertex AI."""

import json
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from google.cloud import storage
from PIL import Image

from automl.dataset.import_file import Format
from automl.evaluation.metrics import Evaluation, worst_mistakes
from console.transfer import storage_client
from inspection.environment import AUTOML_EMULATOR, STORAGE_EMULATOR, VERTEX_EMULATOR
from inspection.model_id import Backend, parse_model_id
from tests.automl.factory import Run
from tests.automl.model_cloud import PROJECT, ModelCloud, painted, put_import_file, put_pictures

FORMATS = {Backend.AUTOML: Format.AUTOML_CSV, Backend.VERTEX: Format.VERTEX_JSONL}
NUMBERS = count()


@pytest.fixture
def bucket(models: ModelCloud) -> storage.Bucket:
    return storage_client().create_bucket(f"colours-{next(NUMBERS)}")


@pytest.fixture(params=list(FORMATS))
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


@pytest.fixture
def name() -> str:
    return f"model{next(NUMBERS)}"


@pytest.fixture
def trained(bucket: storage.Bucket, backend: Backend, name: str, run: Run) -> str:
    """The import file of a model called `name`."""
    labels = put_pictures(bucket, {"red": 12, "blue": 12})
    file = put_import_file(bucket, labels, FORMATS[backend])
    result = run("model", "train", file, "--name", name, "--yes")
    assert result.exit_code == 0, result.stderr
    return file


def write_pictures(folder: Path, *colours: str) -> list[Path]:
    files = [folder / f"{colour}.png" for colour in colours]
    for file in files:
        file.write_bytes(painted(file.stem, 1000))
    return files


def test_a_model_is_trained_deployed_asked_undeployed_and_deleted(
    trained: str, models: ModelCloud, backend: Backend, name: str, run: Run, tmp_path: Path
):
    red, blue = write_pictures(tmp_path, "red", "blue")
    refused = run("model", "predict", name, red)
    assert refused.exit_code == 1
    assert f"`inspection model deploy {name}` first" in refused.stderr

    deployed = run("model", "deploy", name, "--yes")
    assert deployed.exit_code == 0
    assert "$1.375 an hour while idle too" in deployed.stdout
    model_id = re.findall(r"automl-inspection:modelId: (\S+)", deployed.stdout)[0]
    assert parse_model_id(model_id, project="other").backend is backend
    assert models.registry.find(model_id), "the pipeline's classifier finds it under this modelId"

    answered = run("model", "predict", name, red, blue)
    assert answered.exit_code == 0
    assert re.findall(r"(\w+)\.png\W+(\w+)", answered.stdout) == [("red", "red"), ("blue", "blue")]
    assert run("model", "predict", model_id, red).stdout.count("red") == 2, "whole names are known too"

    in_use = run("model", "delete", name, "--yes")
    assert in_use.exit_code == 1
    assert "is deployed and may be in use" in in_use.stderr

    assert run("model", "undeploy", name, "--yes").exit_code == 0
    assert "not deployed" in run("model", "predict", name, red).stderr
    assert run("model", "delete", name, "--data-set", "--yes").exit_code == 0
    assert not [each for each in models.workshop.models("") if each.display_name == name]
    assert not [each for each in models.workshop.data_sets("") if each.display_name == name]
    assert not [each for each in models.workshop.endpoints("") if each.display_name == name]
    gone = run("model", "deploy", name, "--yes")
    assert gone.exit_code == 1
    assert "no model" in gone.stderr


def test_the_sets_of_the_import_file_are_respected(trained: str, models: ModelCloud, name: str):
    (made,) = (each for each in models.workshop.models("") if each.display_name == name)
    assert made.figures[0].pictures == 8, "every third of 24 is for testing"
    assert {each.label for each in made.figures} == {None, "red", "blue"}


def test_the_price_is_shown_and_nothing_is_begun_without_a_yes(
    bucket: storage.Bucket, models: ModelCloud, backend: Backend, name: str, run: Run
):
    file = put_import_file(bucket, put_pictures(bucket, {"red": 10, "blue": 10}), FORMATS[backend])
    result = run("model", "train", file, "--name", name, "--budget", "16")
    assert result.exit_code == 1
    assert "$55.44" in result.stdout
    assert "$1,004 a month" in result.stdout
    assert "November 2026" in result.stdout
    assert "--yes" in result.stderr
    assert not models.calls("automl.datasets.create") + models.calls("aiplatform.datasets.create")
    assert not list(Path().glob(".inspection/**/*.json"))


@pytest.mark.parametrize("budget", [7, 801, 0])
def test_a_budget_that_the_service_does_not_allow_is_refused(bucket: storage.Bucket, run: Run, budget: int):
    file = put_import_file(bucket, put_pictures(bucket, {"red": 10, "blue": 10}), Format.AUTOML_CSV)
    result = run("model", "train", file, "--name", "x", "--budget", budget, "--yes")
    assert result.exit_code == 2
    assert "allows 8 to 800" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["{file}", "--name", "9x"], 2, "beginning with a letter"),
        (["{file}", "--name", "x", "--backend", "vertex"], 2, "write the import file with --format vertex-jsonl"),
        (["local.csv", "--name", "x"], 2, "reads import files from a bucket"),
        (["--name", "x"], 2, "give an import file"),
        (["gs://no-such-bucket/x.csv", "--name", "x"], 1, "no-such-bucket"),
        (["gs://../x.csv", "--name", "x"], 1, "'gs://../x.csv' is no bucket"),
        (["gs://no-such-bucket", "--name", "x"], 1, "'gs://no-such-bucket' names no import file"),
        (["gs://no-such-bucket/folder/", "--name", "x"], 1, "names no import file"),
        (["{file}", "--name", "x", "--project", ""], 1, "'' is no project"),
        (["--name", "x", "--resume"], 1, "no training of 'x'"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_begun(
    bucket: storage.Bucket, models: ModelCloud, run: Run, words: list[str], code: int, text: str
):
    file = put_import_file(bucket, put_pictures(bucket, {"red": 10, "blue": 10}), Format.AUTOML_CSV)
    result = run("model", "train", *(word.format(file=file) for word in words), "--yes")
    assert (result.exit_code, text in result.stderr) == (code, True), result.stderr
    assert not models.calls("automl.datasets.create")


def test_too_few_pictures_of_a_label_are_refused_before_money_is_spent(bucket: storage.Bucket, run: Run):
    file = put_import_file(bucket, put_pictures(bucket, {"red": 10, "blue": 9}), Format.AUTOML_CSV)
    result = run("model", "train", file, "--name", "few", "--yes")
    assert result.exit_code == 1
    assert "each label needs 10 pictures to train on; there are blue: 9" in result.stderr


def test_several_labels_a_picture(bucket: storage.Bucket, backend: Backend, name: str, run: Run, tmp_path: Path):
    labels: dict[str, list[str]] = {
        uri: [colour, "warm"] if colour == "red" else [colour]
        for uri, colour in put_pictures(bucket, {"red": 12, "blue": 12}).items()
    }
    file = put_import_file(bucket, labels, FORMATS[backend], multi_label=True)
    if backend is Backend.AUTOML:
        refused = run("model", "train", file, "--name", name, "--yes")
        assert refused.exit_code == 1
        assert "has several labels: say --multi-label" in refused.stderr
    assert run("model", "train", file, "--name", name, "--multi-label", "--yes").exit_code == 0
    assert run("model", "deploy", name, "--yes").exit_code == 0
    result = run("model", "evaluate", name, "--test", file, "--multi-label", "--out", tmp_path / "report")
    assert result.exit_code == 0, result.stderr
    scores = Evaluation.from_json((tmp_path / "report" / "evaluation.json").read_bytes())
    assert scores.multi_label
    assert ((scores.scores > 0.5) == scores.truth).all()
    assert "What was taken for what" not in (tmp_path / "report" / "report.html").read_text()


def test_a_wrong_label_stands_among_the_worst_mistakes(
    bucket: storage.Bucket, models: ModelCloud, backend: Backend, name: str, run: Run, tmp_path: Path
):
    labels = put_pictures(bucket, {"red": 15, "blue": 15})
    wrong = f"gs://{bucket.name}/red/6.png"
    file = put_import_file(bucket, {**labels, wrong: "blue"}, FORMATS[backend])
    assert run("model", "train", file, "--name", name, "--yes").exit_code == 0
    assert run("model", "deploy", name, "--yes").exit_code == 0
    models.gate.clear()

    result = run("model", "evaluate", name, "--test", file, "--out", tmp_path / "report")

    assert result.exit_code == 0, result.stderr
    scores = Evaluation.from_json((tmp_path / "report" / "evaluation.json").read_bytes())
    assert len(scores.pictures) == 10
    assert models.calls(f"{'automl.models' if backend is Backend.AUTOML else 'aiplatform.endpoints'}.predict") == 10
    assert [mistake.picture.name for mistake in worst_mistakes(scores)] == [wrong]
    page = (tmp_path / "report" / "report.html").read_text()
    assert wrong in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert "<svg" in page
    assert 'src="http' not in page, "the page needs nothing else"
    assert "The service's own figures" in page


def test_a_picture_that_cannot_be_asked_about_is_listed_and_left_out(
    trained: str, bucket: storage.Bucket, name: str, run: Run, tmp_path: Path
):
    assert run("model", "deploy", name, "--yes").exit_code == 0
    bucket.blob("red/0.png").delete()
    bucket.blob("red/3.png").upload_from_string(b"no picture")
    result = run("model", "evaluate", name, "--test", trained, "--out", tmp_path / "report")
    assert result.exit_code == 1
    assert "red/0.png: 404" in result.stderr
    assert "red/3.png: the file is not a picture of a known format" in result.stderr
    assert "Error: 2 could not be asked about" in result.stderr
    scores = Evaluation.from_json((tmp_path / "report" / "evaluation.json").read_bytes())
    assert len(scores.pictures) == 6


def test_only_the_test_set_is_asked_about_unless_all_is_said(
    bucket: storage.Bucket, run: Run, tmp_path: Path, models: ModelCloud
):
    labels = put_pictures(bucket, {"red": 10, "blue": 10})
    file = tmp_path / "unassigned.csv"
    file.write_text("".join(f"{uri},{label}\n" for uri, label in labels.items()))
    bucket.blob("unassigned.csv").upload_from_filename(str(file))
    assert run("model", "train", f"gs://{bucket.name}/unassigned.csv", "--name", "unassigned", "--yes").exit_code == 0
    assert run("model", "deploy", "unassigned", "--yes").exit_code == 0
    refused = run("model", "evaluate", "unassigned", "--test", file, "--out", tmp_path / "report")
    assert refused.exit_code == 2
    assert "no picture of the test set" in refused.stderr
    result = run("model", "evaluate", "unassigned", "--test", file, "--all", "--out", tmp_path / "report")
    assert result.exit_code == 0
    assert len(json.loads((tmp_path / "report" / "evaluation.json").read_text())["pictures"]) == 20
    assert "has learned from some of these pictures" in (tmp_path / "report" / "report.html").read_text()


def test_predict_says_which_file_is_no_picture_and_answers_the_others(
    trained: str, name: str, run: Run, tmp_path: Path
):
    assert run("model", "deploy", name, "--yes").exit_code == 0
    (red,) = write_pictures(tmp_path, "red")
    text = tmp_path / "text.txt"
    text.write_text("no picture")
    result = run("model", "predict", name, text, tmp_path / "missing.png", red)
    assert result.exit_code == 1
    assert "red.png" in result.stdout
    assert "text.txt: the file is not a picture" in result.stderr
    assert "missing.png: " in result.stderr


def test_a_picture_over_the_services_limit_is_made_smaller(trained: str, name: str, run: Run, tmp_path: Path):
    assert run("model", "deploy", name, "--yes").exit_code == 0
    large = tmp_path / "red.png"
    Image.effect_noise((1500, 1500), 90).convert("RGB").save(large)
    assert large.stat().st_size > 1_500_000
    assert run("model", "predict", name, large).exit_code == 0


def test_a_model_can_be_named_without_the_file_of_its_training(
    trained: str, backend: Backend, name: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    unknown = run("model", "deploy", name, "--yes")
    assert unknown.exit_code == 1
    assert "give its whole resource name, or --backend" in unknown.stderr
    assert run("model", "deploy", name, "--backend", backend, "--yes").exit_code == 0


def test_deploy_writes_the_model_into_the_stacks_file_and_nothing_else(
    models: ModelCloud, run: Run, tmp_path: Path, shared_model: Callable[[], str]
):
    name = shared_model()
    (tmp_path / "Pulumi.yaml").write_text("name: automl-inspection\n")
    file = tmp_path / "Pulumi.dev.yaml"
    before = b"config:\r\n  automl-inspection:modelId: ICN1  # the old one\r\n  # last\r\n  gcp:project: p\r\n"
    file.write_bytes(before)
    deployed = run("model", "deploy", name, "--write", "dev", "--yes")
    assert deployed.exit_code == 0
    assert f"Written to {file}: modelId is {name}. To put it into force: `pulumi up`\n" in deployed.stdout
    assert file.read_bytes() == before.replace(b"ICN1", name.encode())
    missing = run("model", "deploy", name, "--write", "production", "--yes")
    assert missing.exit_code == 1
    assert "Pulumi.production.yaml" in missing.stderr
    assert run("model", "undeploy", name, "--yes").exit_code == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"config: {}\n", "has 0 lines with automl-inspection:modelId; one is needed"),
        (b"config:\n  automl-inspection:modelId: a\n  automl-inspection:modelId: b\n", "cannot be read"),
        (b"config:\n  x:y: |\n    automl-inspection:modelId: a\n", "does not stand directly below"),
        (b"config:\n  automl-inspection:modelId: \xff\n", "cannot be read"),
        (b"config:\n  automl-inspection:modelId: a\n  x:y: [\n", "cannot be read"),
        (b"config:\n  automl-inspection:modelId: a\n  x:y: &y [*y]\n", "line 3: *y is an alias"),
        (b"config:\n  automl-inspection:modelId: a\n  x:y: " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"config:\n  automl-inspection:modelId: a\n  x:y: 0001-00-00\n", "cannot be read"),
        (b"- automl-inspection:modelId: a\n", "has no `config:`"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_nothing_is_deployed_where_its_id_could_not_be_written(
    models: ModelCloud, run: Run, tmp_path: Path, shared_model: Callable[[], str], content: bytes, told: str
):
    name = shared_model()
    (tmp_path / "Pulumi.yaml").write_text("name: automl-inspection\n")
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_bytes(content)
    models.gate.clear()
    refused = run("model", "deploy", name, "--write", "dev", "--yes")
    assert (refused.exit_code, told in refused.stderr) == (1, True), refused.stderr
    assert not models.calls("automl.models.deploy")
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    "words",
    [
        ("deploy", "", "--yes"),
        ("deploy", " ", "--yes"),
        ("deploy", "castings", "--write", "", "--yes"),
        ("undeploy", "", "--yes"),
        ("cancel", ""),
        ("delete", "", "--yes"),
        ("predict", "", "part.jpg"),
        ("predict", "castings", ""),
        ("evaluate", "", "--test", "gs://bucket/parts.csv", "--out", "report"),
        ("evaluate", "castings", "--test", "", "--out", "report"),
        ("evaluate", "castings", "--test", "gs://bucket/parts.csv", "--out", ""),
    ],
)
def test_an_empty_argument_is_no_name(models: ModelCloud, run: Run, words: tuple[str, ...]):
    """It is rather a script's empty variable than the working directory, or a model."""
    result = run("model", *words)
    assert (result.exit_code, "is not a name" in result.stderr) == (2, True), result.stderr
    assert not list(Path().iterdir())


def test_no_model_is_asked_where_its_answers_could_not_be_kept(
    trained: str, models: ModelCloud, name: str, run: Run, tmp_path: Path
):
    assert run("model", "deploy", name, "--yes").exit_code == 0
    (tmp_path / "report").write_text("no folder")
    models.gate.clear()
    result = run("model", "evaluate", name, "--test", trained, "--out", tmp_path / "report")
    assert result.exit_code == 1
    assert "File exists" in result.stderr
    assert not models.calls("automl.models.predict") + models.calls("aiplatform.endpoints.predict")


@pytest.mark.parametrize("command", ["deploy", "undeploy", "delete"])
def test_nothing_is_changed_without_a_yes(
    bucket: storage.Bucket, models: ModelCloud, run: Run, command: str, shared_model: Callable[[], str]
):
    name = shared_model()
    if command == "undeploy":
        assert run("model", "deploy", name, "--yes").exit_code == 0
    result = run("model", command, name)
    assert result.exit_code == 1
    assert "nothing was done" in result.stderr
    assert models.calls("automl.models.undeploy") == models.calls("automl.models.delete") == 0
    if command == "undeploy":
        assert run("model", "undeploy", name, "--yes").exit_code == 0


@pytest.fixture
def shared_model(bucket: storage.Bucket, models: ModelCloud, run: Run) -> Callable[[], str]:
    """One model for the tests that leave it as it was."""

    def find() -> str:
        known = [each.name for each in models.workshop.models("") if each.display_name == "shared"]
        if not known:
            labels = put_pictures(bucket, {"red": 10, "blue": 10})
            file = put_import_file(bucket, labels, Format.AUTOML_CSV)
            assert run("model", "train", file, "--name", "shared", "--yes").exit_code == 0
            return find()
        return known[0]

    return find


def test_without_a_project_and_without_a_local_cloud_it_is_said_what_to_do(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    for variable in (
        "GOOGLE_CLOUD_PROJECT",
        STORAGE_EMULATOR,
        AUTOML_EMULATOR,
        VERTEX_EMULATOR,
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    result = run("model", "deploy", "castings", "--yes")
    assert result.exit_code == 1
    assert "`make local` starts one" in result.stderr
    assert "--project PROJECT" in result.stderr


def test_the_project_is_named_in_the_services_names(trained: str, models: ModelCloud, name: str):
    (made,) = (each for each in models.workshop.models("") if each.display_name == name)
    assert made.name.startswith(f"projects/{PROJECT}/locations/us-central1/models/")
