"""The rooms import each other only as the contracts in pyproject.toml allow (`make lint` checks them)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.deploy.program import ROOT

ROOMS = ("inspection", "imaging", "infra", "automl", "local", "console", "cli", "webapp")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for room in ROOMS:
        for source in (ROOT / room).rglob("*.py"):
            if "node_modules" not in source.parts:
                target = tmp_path / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    return tmp_path


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.run(
        [command, "--no-cache"], check=False, cwd=tree, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("inspection/push.py", "import imaging.prepare", "inspection imports no other room BROKEN"),
        ("local/google/front.py", "import webapp.api", "no deployed part BROKEN"),
        ("infra/move.py", "import console.words", "infra imports inspection alone BROKEN"),
        ("automl/services/service.py", "import automl.services.vertex_ai", "services have no circle BROKEN"),
    ],
)
def test_a_planted_import_is_refused(tree: Path, module: str, line: str, broken: str):
    sound = lint(tree)
    assert sound.returncode == 0, sound.stdout
    with (tree / module).open("a") as file:
        file.write(f"\n{line}\n")
    refused = lint(tree)
    assert refused.returncode == 1
    assert broken in " ".join(refused.stdout.split())
