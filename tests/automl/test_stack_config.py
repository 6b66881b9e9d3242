from pathlib import Path

import pytest
import yaml

from automl.stack.config import StackConfigError, lines, read, stack_file, write

FULL = """\
# Development: full buckets may go.
encryptionsalt: v1:abc=:v1:xyz   # keep me
config:
  gcp:project: my-project
  automl-inspection:labels:
  - ok  # good
  - defect

  automl-inspection:threshold: "0.8"  # for all
  # Per label.
  automl-inspection:thresholds:
    ok:   0.9   # an escape is dear
  automl-inspection:secret:
    secure: AAABAN+ZzZ
  automl-inspection:reviewers: [ "a@b.c",   'd@e.f' ]
  automl-inspection:note: >-
    two
    lines
  # the end
"""


def changed(before: str, after: str) -> list[tuple[str, str]]:
    """Every line that went and every one that came."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return [("-", line) for line in old if line not in new] + [("+", line) for line in new if line not in old]


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: automl-inspection\n")
    return tmp_path / "Pulumi.dev.yaml"


def test_only_the_thresholds_change(stack: Path):
    stack.write_text(FULL)
    stack.chmod(0o640)
    write(stack, {"ok": 0.92, "defect": 0.7})
    assert changed(FULL, stack.read_text()) == [
        ("-", "    ok:   0.9   # an escape is dear\n"),
        ("+", "    ok:   0.92   # an escape is dear\n"),
        ("+", "    defect: 0.7\n"),
    ]
    assert read(stack).by_label == {"ok": 0.92, "defect": 0.7}
    assert stack.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in sorted(stack.parent.iterdir())] == ["Pulumi.dev.yaml", "Pulumi.yaml"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("config:\n  a:b: 1 # one\n", "config:\n  a:b: 1 # one\n  {key}:\n    ok: 0.9\n"),
        ("config:\n  a:b:\n  - x\n# end", "config:\n  a:b:\n  - x\n  {key}:\n    ok: 0.9\n# end"),
        ("config:\n  a:b: {{x: 1}}", "config:\n  a:b: {{x: 1}}\n  {key}:\n    ok: 0.9\n"),
        ("config:\n  a:b:\nother: 1\n", "config:\n  a:b:\n  {key}:\n    ok: 0.9\nother: 1\n"),
        ("config:\n  {key}: # none yet\n  a:b: 1\n", "config:\n  {key}: # none yet\n    ok: 0.9\n  a:b: 1\n"),
        ("config:\n  {key}: {{}}\n", "config:\n  {key}: {{ok: 0.9}}\n"),
        ("config:\n  {key}: {{x: 0.5}} # x\n", "config:\n  {key}: {{x: 0.5, ok: 0.9}} # x\n"),
        ("config:\n  {key}: {{ok: 0.5}}\n", "config:\n  {key}: {{ok: 0.9}}\n"),
        ("config:\n  {key}:\n    ok: '0.5' # text\n", "config:\n  {key}:\n    ok: 0.9 # text\n"),
        ('config:\n  {key}:\n    "ok": 0.5\n', 'config:\n  {key}:\n    "ok": 0.9\n'),
        (
            "config:\n    {key}:\n        x: 0.5 # x\n\n    a:b: 1\n",
            "config:\n    {key}:\n        x: 0.5 # x\n        ok: 0.9\n\n    a:b: 1\n",
        ),
        ("config:\r\n  a:ü: 'Ä' # ö\r\n", "config:\r\n  a:ü: 'Ä' # ö\r\n  {key}:\r\n    ok: 0.9\r\n"),
        ("config:\n  a:b: |\n    text\n    ok: 1\n", "config:\n  a:b: |\n    text\n    ok: 1\n  {key}:\n    ok: 0.9\n"),
    ],
)
def test_every_layout_is_kept(stack: Path, before: str, after: str):
    key = "automl-inspection:thresholds"
    stack.write_bytes(before.format(key=key).encode())
    write(stack, {"ok": 0.9})
    assert stack.read_bytes().decode() == after.format(key=key)


@pytest.mark.parametrize("label", ["no", "on", "1", "1.5", "y", "null", "good part", "Prüfling", "a.b", "-"])
def test_any_label_stays_text(stack: Path, label: str):
    stack.write_text("config:\n  a:b: 1\n")
    write(stack, {label: 0.5})
    assert read(stack).by_label == {label: 0.5}
    for text in (stack.read_text(), lines({label: 0.5})):
        # A reader of YAML 1.1 as well.
        assert yaml.safe_load(text)["config"]["automl-inspection:thresholds"] == {label: 0.5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("config: [", "cannot be read"),
        ("a: 1\n", "no `config:`"),
        ("config:\n  automl-inspection:thresholds: 0.9\n", "a map of labels"),
        ("config:\n  automl-inspection:thresholds: {ok: high}\n", "'high'"),
        ("config:\n  automl-inspection:thresholds: {ok: 1.5}\n", "1.5"),
        ("config:\n  automl-inspection:threshold: [1]\n", r"\[1\]"),
        ("config: {a:b: 1}\n", "no `config:`"),
        ("config:\n  automl-inspection:threshold: " + "9" * 400 + "\n", "a number from 0 to 1"),
        ("config:\n  automl-inspection:threshold: " + "9" * 5000 + "\n", "cannot be read"),
        ("config:\n  a:b: 0001-00-00\n", "cannot be read"),
        ("config:\n  a:b: \x07\n", "cannot be read"),
        ("config:\n  a:b: " + "[" * 100_000 + "]" * 100_000 + "\n", "nested too deeply"),
        ("[config]\n", "no `config:`"),
        ("config:\n  a:b: !!bool x\n", "cannot be read"),
        ("config:\n  a:b: !!int ''\n", "cannot be read"),
        ("config:\n  a:b: !!timestamp x\n", "cannot be read"),
        ("config:\n  automl-inspection:thresholds: !ok {ok: 0.9}\n", "cannot be read"),
        ("config:\n  a:b: &t {x: 0.5}\n  automl-inspection:thresholds: *t\n", r"line 3: \*t is an alias"),
        ("config: &c\n  a:b: *c\n", r"line 2: \*c is an alias"),
        ("config:\n  automl-inspection:thresholds: &t\n    ok: *t\n", r"line 3: \*t is an alias"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nconfig:\n  c:d: [*b, *b]\n", r"line 2: \*a is an alias"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_cannot_be_written_is_left_alone(stack: Path, text: str, told: str):
    stack.write_text(text)
    with pytest.raises(StackConfigError, match=told):
        write(stack, {"ok": 0.9})
    assert stack.read_text() == text


def test_what_is_no_text_is_left_alone(stack: Path):
    stack.write_bytes(b"config:\n  a:b: \xff\n")
    with pytest.raises(StackConfigError, match="cannot be read"):
        write(stack, {"ok": 0.9})
    stack.unlink()
    with pytest.raises(StackConfigError, match="cannot be read"):
        read(stack)


def test_a_stack_s_file_is_found_from_below(stack: Path):
    stack.write_text(FULL)
    below = stack.parent / "infra"
    below.mkdir()
    assert stack_file("dev", below) == stack
    with pytest.raises(StackConfigError, match="stacks with a file are: dev"):
        stack_file("prod", below)
    (stack.parent / "Pulumi.yaml").unlink()
    with pytest.raises(StackConfigError, match="go to the project's folder"):
        stack_file("dev", below)
