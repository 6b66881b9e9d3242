"""What proves that nothing is lost is shown to notice when something is: parts that are broken on purpose."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("losses")

ROOT = Path(__file__).parents[2]

# A function's modules have bare names of which a process can hold one: each broken one is tried in a process of its own.
TRY = """
import sys, tempfile
from pathlib import Path
from proof.losses_matrix import matrix
from proof.losses_pipeline import PIPELINE
from proof.losses_report import describe
from proof.losses_review import REVIEWING
from proof.losses_machine import explore
from proof.losses_stage import running_line

with tempfile.TemporaryDirectory() as folder, running_line(Path(folder), functions=Path(sys.argv[1])) as line:
    if sys.argv[2] == "matrix":
        scenarios = [scenario for scenario in (*PIPELINE, *REVIEWING) if scenario.name == sys.argv[3]]
        noticed = [describe(cell) for cell in matrix(line, scenarios, deaths=False) if cell.problems]
        print("\\n".join(noticed))
        sys.exit(1 if noticed else 0)
    # It ends with the first failure; the rarest fault showed within 300 sequences, whose choice changes with the code.
    explore(line, sequences=1_500, steps=40, derandomize=True, shortest=False)
"""


def copy_parts(folder: Path) -> None:
    for part in ("functions", "webapp"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "frontend"))


def plant(folder: Path, file: str, *edits: str) -> Path:
    """A copy of the parts with one fault: what is right, what is wrong, and so on."""
    copy_parts(folder)
    path = folder / file
    text = path.read_text()
    for right, wrong in zip(edits[::2], edits[1::2], strict=True):
        assert text.count(right) == 1, f"{file} reads otherwise by now: {right!r}"
        text = text.replace(right, wrong)
    path.write_text(text)
    return folder


def run(folder: Path, *how: str) -> subprocess.CompletedProcess[str]:
    # The folder comes first on Python's path, and the working directory is not on it: the copy is what is imported.
    return subprocess.run(
        [sys.executable, "-P", "-c", TRY, str(folder), *how],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


REMOVED_PRECONDITION = (
    "functions/move/mover.py",
    "copy.rewrite(image, token=token, if_generation_match=0, **_ONCE)",
    "copy.rewrite(image, token=token, **_ONCE)",
)
DELETES_WHATEVER_IS_THERE = (
    "functions/move/mover.py",
    "image.delete(if_generation_match=prediction.generation, **_ONCE)",
    "image.delete(**_ONCE)",
    # A second delivery looks whether the very image is there; without that look, it gets as far as the delete.
    "                if not self._is_there(prediction):\n",
    "                if False:\n",
)
DOES_NOT_LOOK = ("functions/move/mover.py", "        if repeated:\n", "        if False:\n")
FORGETS_WHAT_THE_CAMERA_SAID = (
    "functions/move/mover.py",
    "prediction.content_type or mimetypes",
    "mimetypes",
)
NAMES_ANOTHER_MODEL = ("functions/move/mover.py", "layout.MODEL: prediction.model", 'layout.MODEL: "the model"')
DOES_NOT_SAY_AGAIN = ("functions/predict/main.py", '{REPEATED: "true"} if repeated else {}', "{}")
MOVES_WHATEVER_IS_THERE = (
    "webapp/picture_store.py",
    "                if_source_metageneration_match=stored.metageneration,\n",
    "",
)
TAKES_A_GUESS = ("webapp/reviewing.py", "if recorded.decision is None:", "if False:")
LEAVES_NO_ROOM = (
    "functions/move/mover.py",
    "layout.MAX_METADATA_BYTES - layout.REVIEW_RESERVE_BYTES - sum",
    "layout.MAX_METADATA_BYTES - sum",
)
TAKES_WHAT_OTHERS_HAVE = ("webapp/reviewing.py", "if hold and not _is_by(hold, reviewer):", "if False:")
KEEPS_NO_TIME = ("webapp/reviewing.py", "layout.DECIDED_AT: self._now().isoformat()", 'layout.DECIDED_AT: "now"')
ACKNOWLEDGED_FAILURE = (
    "functions/predict/main.py",
    '    return answer_failure(log, error, flask.g.get("fields"))',
    "    answer_failure(log, error, flask.g.get(\"fields\"))\n    return 'swallowed', 200",
)


@pytest.mark.parametrize(
    ("fault", "scenario", "noticed"),
    [
        (REMOVED_PRECONDITION, "move, the name is taken", "LOST"),
        (DELETES_WHATEVER_IS_THERE, "move, replaced before its delete", "LOST"),
        (DOES_NOT_LOOK, "move, stopped, then decided", "DOUBLED"),
        (ACKNOWLEDGED_FAILURE, "predict, AutoML Vision", "STUCK"),
        (FORGETS_WHAT_THE_CAMERA_SAID, "move, the name is taken", "CHANGED"),
        (NAMES_ANOTHER_MODEL, "move, the name is taken", "which was never asked"),
        (DOES_NOT_SAY_AGAIN, "move, told twice, then decided", "DOUBLED"),
        (MOVES_WHATEVER_IS_THERE, "review, decide on what another left", "was answered 409"),
        (TAKES_A_GUESS, "review, decide on what another holds, by a guess", "was answered 200"),
        (LEAVES_NO_ROOM, "move, metadata is full", "NO ROOM"),
        (KEEPS_NO_TIME, "review, decide", "says otherwise"),
    ],
    ids=[
        "a removed precondition",
        "deleting whatever is there",
        "no look at a second delivery",
        "an acknowledged failure",
        "a content type of one's own",
        "another model's name",
        "a prediction that does not say that it is the second",
        "moving whatever is there",
        "a decision by a guessed claim",
        "metadata without room",
        "a decision without its time",
    ],
)
def test_the_matrix_notices(tmp_path: Path, fault: tuple[str, ...], scenario: str, noticed: str) -> None:
    done = run(plant(tmp_path, *fault), "matrix", scenario)

    assert done.returncode == 1, done.stderr
    assert noticed in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("fault", "noticed"),
    [(REMOVED_PRECONDITION, "LOST"), (ACKNOWLEDGED_FAILURE, "STUCK"), (TAKES_WHAT_OTHERS_HAVE, "which another has")],
    ids=["a removed precondition", "an acknowledged failure", "a decision on what another has"],
)
def test_the_runs_in_any_order_notice(tmp_path: Path, fault: tuple[str, ...], noticed: str) -> None:
    done = run(plant(tmp_path, *fault), "any order")

    assert done.returncode == 1, done.stdout
    assert noticed in done.stderr


def test_parts_without_a_fault_are_not_blamed(tmp_path: Path) -> None:
    copy_parts(tmp_path)

    assert run(tmp_path, "matrix", "move, the name is taken").returncode == 0
