"""The local cloud reads a stack's files by itself: whatever stands in them, it starts or says in words why not."""

from pathlib import Path

import pytest

from local.cloud import LocalCloud
from local.deploy.processes import CannotStartError
from local.deploy.program import ProgramError, Stack

PROJECT = b"name: line\n"
STACK = b"config:\n  gcp:project: factory\n  line:modelId: ICN1\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_bytes(PROJECT)
    (tmp_path / "Pulumi.local.yaml").write_bytes(STACK)
    return tmp_path


def test_a_stack_is_read(root: Path) -> None:
    (root / "Pulumi.local.yaml").write_bytes(STACK + b"  a:day: 2026-11-21\n  a:list: [1, {b: c}]\n")
    stack = Stack.read("local", root=root)
    assert (stack.project, stack.name) == ("line", "local")
    assert stack.config["line:modelId"] == "ICN1"
    assert stack.config["a:list"] == [1, {"b": "c"}]


BROKEN = [
    (b"", "has no keys"),
    (b"text", "has no keys"),
    (b"- a\n", "has no keys"),
    (b"a: [", "cannot be read"),
    (b"a: \xff", "cannot be read"),
    (b"a: " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
    (b"a: &a [*a]", r"\*a is an alias.*line 1"),
    (b"a: 0001-00-00", "cannot be read"),
    (b"a: " + b"9" * 5000, "cannot be read"),
    (b"a: !!bool x", "cannot be read"),
    (b"a: !!timestamp x", "cannot be read"),
    (b"a: !!int ''", "cannot be read"),
    (b"a: !!python/object/apply:os.getcwd []", "cannot be read"),
]


@pytest.mark.parametrize("file", ["Pulumi.yaml", "Pulumi.local.yaml"])
@pytest.mark.parametrize(("content", "told"), BROKEN, ids=lambda value: repr(value)[:40])
def test_what_is_no_file_of_a_project_or_stack_is_told(root: Path, file: str, content: bytes, told: str) -> None:
    (root / file).write_bytes(content)
    with pytest.raises(ProgramError, match=f"{file}.*{told}"):
        Stack.read("local", root=root)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("Pulumi.yaml", b"runtime: python\n", "name is None"),
        ("Pulumi.yaml", b"name: [line]\n", r"name is \['line'\]"),
        ("Pulumi.local.yaml", b"config: 7\n", "no `config:`"),
        ("Pulumi.local.yaml", b"encryptionsalt: v1\n", "no `config:`"),
        ("Pulumi.local.yaml", b"config:\n  7: x\n", "the key 7 is no text"),
        ("Pulumi.local.yaml", b"config:\n  a:b: {2026-11-21: x}\n", "the value of 'a:b'"),
    ],
)
def test_what_describes_no_stack_is_told(root: Path, file: str, content: bytes, told: str) -> None:
    (root / file).write_bytes(content)
    with pytest.raises(ProgramError, match=f"{file}.*{told}"):
        Stack.read("local", root=root)


def test_a_file_that_is_not_there_or_a_folder_is_told(root: Path) -> None:
    (root / "Pulumi.yaml").unlink()
    with pytest.raises(ProgramError, match=r"Pulumi\.yaml cannot be read.*No such file"):
        Stack.read("local", root=root)
    (root / "Pulumi.yaml").mkdir()
    with pytest.raises(ProgramError, match=r"Pulumi\.yaml cannot be read.*Is a directory"):
        Stack.read("local", root=root)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"config:\n  line:modelId: ICN1\n", r"Pulumi\.local\.yaml: gcp:project is None; it is required"),
        (b"config:\n  gcp:project: 7\n  line:modelId: ICN1\n", "gcp:project is 7"),
        (b"config:\n  gcp:project: factory\n", "line:modelId is None"),
        (b"config:\n  gcp:project: factory\n  line:modelId: {a: b}\n", "line:modelId is {'a': 'b'}"),
        (b"config:\n  gcp:project: factory\n  line:modelId: model\n", "modelId: 'model' is no model"),
        (b"config:\n  gcp:project: factory\n  automl-inspection:modelId: model\n", "modelId: 'model' is no model"),
        (b"config: [", "cannot be read"),
    ],
)
def test_a_cloud_says_what_its_stack_lacks_before_it_starts_anything(root: Path, content: bytes, told: str) -> None:
    (root / "Pulumi.local.yaml").write_bytes(content)
    steps: list[str] = []
    with LocalCloud(root / ".local" / "cloud", root=root) as cloud, pytest.raises(CannotStartError, match=told):
        cloud.start(steps.append)
    assert steps == []


@pytest.mark.parametrize("place", [".local", ".local/cloud", ".local/cloud.lock"])
def test_a_cloud_whose_place_is_taken_says_so(root: Path, place: str) -> None:
    taken = root / place
    taken.parent.mkdir(exist_ok=True)
    if place.endswith("lock"):
        taken.mkdir()
    else:
        taken.write_text("a file")
    with LocalCloud(root / ".local" / "cloud") as cloud, pytest.raises(CannotStartError, match=place):
        cloud.start(lambda _: None)
