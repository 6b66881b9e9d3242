"""What proves that nothing is lost is shown to notice when something is: functions that are broken on purpose."""

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
from tests.proof.losses import PIPELINE, describe, matrix
from tests.proof.losses_machine import explore
from tests.proof.losses_stage import running_line

with tempfile.TemporaryDirectory() as folder, running_line(Path(folder), functions=Path(sys.argv[1])) as line:
    if sys.argv[2] == "matrix":
        scenarios = [scenario for scenario in PIPELINE if scenario.name == sys.argv[3]]
        noticed = [describe(cell) for cell in matrix(line, scenarios, deaths=False) if cell.problems]
        print("\\n".join(noticed))
        sys.exit(1 if noticed else 0)
    explore(line, sequences=60, steps=40, derandomize=True, shortest=False)
"""


def plant(folder: Path, file: str, right: str, wrong: str) -> Path:
    """A copy of the functions with one fault."""
    shutil.copytree(ROOT / "functions", folder / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "functions" / file
    text = path.read_text()
    assert text.count(right) == 1, f"{file} reads otherwise by now: {right!r}"
    path.write_text(text.replace(right, wrong))
    return folder


def run(folder: Path, *how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", TRY, str(folder), *how], cwd=ROOT, capture_output=True, text=True, check=False
    )


REMOVED_PRECONDITION = (
    "move/mover.py",
    "copy.rewrite(image, token=token, if_generation_match=0, **_ONCE)",
    "copy.rewrite(image, token=token, **_ONCE)",
)
DELETES_WHATEVER_IS_THERE = (
    "move/mover.py",
    "image.delete(if_generation_match=prediction.generation, **_ONCE)",
    "image.delete(**_ONCE)",
)
DOES_NOT_LOOK = ("move/mover.py", "        if repeated:\n", "        if False:\n")
ACKNOWLEDGED_FAILURE = (
    "predict/main.py",
    "    return answer_failure(log, error, flask.g.fields)",
    "    answer_failure(log, error, flask.g.fields)\n    return 'swallowed', 200",
)


@pytest.mark.parametrize(
    ("fault", "scenario", "noticed"),
    [
        (REMOVED_PRECONDITION, "move, the name is taken", "LOST"),
        (DELETES_WHATEVER_IS_THERE, "move, replaced before its delete", "LOST"),
        (DOES_NOT_LOOK, "move, stopped, then decided", "DOUBLED"),
        (ACKNOWLEDGED_FAILURE, "predict, AutoML Vision", "STUCK"),
    ],
    ids=[
        "a removed precondition",
        "deleting whatever is there",
        "no look at a second delivery",
        "an acknowledged failure",
    ],
)
def test_the_matrix_notices(tmp_path: Path, fault: tuple[str, str, str], scenario: str, noticed: str) -> None:
    done = run(plant(tmp_path, *fault), "matrix", scenario)

    assert done.returncode == 1, done.stderr
    assert noticed in done.stdout


@pytest.mark.parametrize(
    ("fault", "noticed"),
    [(REMOVED_PRECONDITION, "LOST"), (ACKNOWLEDGED_FAILURE, "STUCK")],
    ids=["a removed precondition", "an acknowledged failure"],
)
def test_the_runs_in_any_order_notice(tmp_path: Path, fault: tuple[str, str, str], noticed: str) -> None:
    done = run(plant(tmp_path, *fault), "any order")

    assert done.returncode == 1, done.stdout
    assert noticed in done.stderr


def test_functions_without_a_fault_are_not_blamed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "functions", tmp_path / "functions", ignore=shutil.ignore_patterns("__pycache__"))

    assert run(tmp_path, "matrix", "move, the name is taken").returncode == 0
