"""The proof as somebody runs it: a fault in the product turns it red, and the summary says which part."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "node_modules", "__pycache__")


def prove(folder: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    """What `make proof` runs, for the program in this folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "proof", *parts]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_public_bucket_turns_the_proof_red(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT, tmp_path / "program", ignore=LEFT_OUT)
    buckets = folder / "infra" / "buckets.py"
    text = buckets.read_text()
    assert text.count('public_access_prevention="enforced"') == 1
    buckets.write_text(text.replace('public_access_prevention="enforced"', 'public_access_prevention="inherited"'))

    done = prove(folder, "policies")

    assert done.returncode == 1, done.stderr
    assert "dev: public-access-prevention: " in done.stdout
    assert " policies over 3 stacks: 3 broken" in done.stdout
    assert "FAILED" in done.stdout


def test_the_program_as_it_is_keeps_the_proof_green() -> None:
    done = prove(ROOT, "policies")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "holds" in done.stdout.partition("Proof")[2]
    assert "0 broken" in done.stdout.partition("Proof")[2]


def test_a_part_that_falls_over_is_told_from_one_that_holds_and_the_next_is_still_run(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT, tmp_path / "program", ignore=LEFT_OUT)
    (folder / "Pulumi.dev.yaml").unlink()

    done = prove(folder, "policies", "policies")

    assert done.returncode == 1
    assert done.stdout.count("without a word") == 2


def test_a_part_that_there_is_not_is_refused_in_words() -> None:
    done = prove(ROOT, "policy")

    assert done.returncode == 2
    assert "'policies'" in done.stderr
    assert "Traceback" not in done.stderr
