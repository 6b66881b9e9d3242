"""The zips: what is in them, and that the same sources make the same bytes."""

import os
import zipfile
from pathlib import Path

import pytest

from infra.archive import Archive, ArchiveError, build_archive, build_default_archive, build_review_archive
from infra.page import built_page
from local.deploy.program import ROOT
from tests.infra.google_stand_in import copy_checkout

KINDS = {"predict": "own"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_checkout(tmp_path / "checkout")


def contents(archive: Archive) -> list[str]:
    with zipfile.ZipFile(archive.path) as file:
        assert file.testzip() is None
        return file.namelist()


@pytest.mark.parametrize("part", ["predict", "move"])
def test_a_zip_holds_the_function_at_its_root_and_the_vocabulary_beside_it(part: str):
    names = contents(build_archive(part, root=ROOT, kind=KINDS.get(part)))
    vocabulary = {f"inspection/{path.name}" for path in (ROOT / "inspection").glob("*.py")}
    assert {"main.py", "requirements.txt", "inspection/__init__.py", "inspection/message.py"} <= set(names)
    assert {name for name in names if name.startswith("inspection/")} == vocabulary
    imaging = {f"imaging/{path.name}" for path in (ROOT / "imaging").glob("*.py")}
    assert {name for name in names if name.startswith("imaging/")} == (imaging if part == "predict" else set())
    assert names == sorted(names, key=lambda name: name.split("/"))


def test_the_review_apps_zip_holds_the_server_the_built_page_and_the_vocabulary():
    names = contents(build_review_archive(root=ROOT))
    page = {path.relative_to(built_page(ROOT)).as_posix() for path in built_page(ROOT).rglob("*") if path.is_file()}
    assert "index.html" in page
    assert set(names) == {
        "requirements.txt",
        *(f"webapp/{path.name}" for path in (ROOT / "webapp").glob("*.py")),
        *(f"webapp/frontend/dist/{name}" for name in page),
        *(f"inspection/{path.name}" for path in (ROOT / "inspection").glob("*.py")),
    }


def test_the_default_services_zip_needs_nothing_else():
    assert contents(build_default_archive(root=ROOT)) == ["main.py", "requirements.txt"]


def test_a_fresh_checkout_elsewhere_makes_the_same_bytes(checkout: Path):
    for number, path in enumerate(sorted(checkout.rglob("*"))):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
        path.chmod(0o700)
    for part in ("predict", "move"):
        here, there = (build_archive(part, root=root, kind=KINDS.get(part)) for root in (ROOT, checkout))
        assert here.path != there.path
        assert here.path.read_bytes() == there.path.read_bytes()
        assert here.object_name == there.object_name
    for build in (build_review_archive, build_default_archive):
        here, there = build(root=ROOT), build(root=checkout)
        assert here.path.read_bytes() == there.path.read_bytes()
        assert here.object_name == there.object_name


def test_what_working_on_a_function_leaves_behind_is_not_in_its_zip(checkout: Path):
    clean = build_archive("predict", root=checkout, kind="own")
    folder = checkout / "functions" / "predict"
    leftovers = ["__pycache__/main.cpython-312.pyc", "tests/test_main.py", ".venv/x.py", ".DS_Store", "main.pyc"]
    for leftover in leftovers:
        (folder / leftover).parent.mkdir(exist_ok=True)
        (folder / leftover).write_text("left behind")
    (checkout / "inspection" / "command").mkdir()
    (checkout / "inspection" / "command" / "__init__.py").write_text("the command")
    (checkout / "inspection" / "__pycache__").mkdir()
    (checkout / "inspection" / "__pycache__" / "labels.pyc").write_text("compiled")
    assert build_archive("predict", root=checkout, kind="own").object_name == clean.object_name


def test_a_new_file_and_a_renamed_one_change_the_name(checkout: Path):
    names = {build_archive("move", root=checkout).object_name}
    added = checkout / "functions" / "move" / "added.py"
    added.write_text("")
    names.add(build_archive("move", root=checkout).object_name)
    added.rename(added.with_name("renamed.py"))
    names.add(build_archive("move", root=checkout).object_name)
    assert len(names) == 3


def test_only_the_newest_zip_has_its_name_and_no_half_written_one_is_left(checkout: Path):
    archive = build_archive("move", root=checkout)
    build_archive("move", root=checkout)
    assert list((checkout / "build").glob("move*")) == [archive.path]


def test_missing_files_are_named(checkout: Path):
    (checkout / "functions" / "move" / "main.py").unlink()
    (checkout / "functions" / "move" / "requirements.txt").unlink()
    with pytest.raises(ArchiveError, match=r"functions/move has no main\.py and no requirements\.txt"):
        build_archive("move", root=checkout)
    (checkout / "webapp" / "requirements.txt").unlink()
    with pytest.raises(ArchiveError, match=r"webapp has no requirements\.txt"):
        build_review_archive(root=checkout)
