"""What `inspection local` refuses before anything is started, made or sent."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from local.commands import local_app


def run(*words: str) -> Result:
    return CliRunner().invoke(local_app, [*words], env={"COLUMNS": "300"}, catch_exceptions=False)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which an empty argument does not mean."""
    (tmp_path / "mine.jpg").write_bytes(b"mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("demo", "--images", ""), "'' is not a name of a file or folder"),
        (("demo", "--images", "nowhere"), "nowhere: No such file or directory"),
        (("demo", "--images", "mine.jpg"), "mine.jpg: Not a directory"),
        (("demo", "--seed", "-1"), "greater than or equal to 0"),
        (("samples", ""), "'' is not a name of a file or folder"),
        (("samples", "."), "'.' is not empty"),
        (("bucket", ""), "'' is not a bucket name: 3 to 222 lower-case letters"),
        (("bucket", "Bad Bucket"), "'Bad Bucket' is not a bucket name"),
        (("bucket", "parts/castings"), "'parts/castings' is not a bucket name"),
        (("bucket", "a..b"), "'a..b' is not a bucket name"),
    ],
)
def test_what_is_given_wrongly_is_refused_and_nothing_is_done(folder: Path, words: tuple[str, ...], told: str):
    result = run(*words)
    assert (result.exit_code, told in result.stderr) == (2, True), result.stderr
    assert [path.name for path in folder.iterdir()] == ["mine.jpg"]


def test_fewer_samples_do_not_stand_among_those_of_an_earlier_run(folder: Path):
    assert run("samples", "parts", "--count", "3").exit_code == 0
    before = {path: path.read_bytes() for path in (folder / "parts").rglob("*.*")}
    result = run("samples", "parts", "--count", "2")
    assert result.exit_code == 2
    assert "'parts' is not empty: use another folder, or remove it first" in result.stderr
    assert {path: path.read_bytes() for path in (folder / "parts").rglob("*.*")} == before
    (folder / "empty").mkdir()
    assert run("samples", "empty", "--count", "1").exit_code == 0
