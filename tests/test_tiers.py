"""Every test has exactly one tier, which its folder decides."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TIERS, tier_of

ROOT = Path(__file__).parents[1]


def test_every_file_of_tests_has_one_tier():
    files = [file.relative_to(ROOT / "tests") for file in (ROOT / "tests").rglob("test_*.py")]
    assert len(files) > 60
    assert {tier_of(file) for file in files} == set(TIERS)


def test_a_folder_without_a_tier_is_refused():
    with pytest.raises(pytest.UsageError, match="somewhere"):
        tier_of(Path("somewhere/test_new.py"))


def test_a_tier_selects_its_tests_alone():
    chosen = ["tests/inspection/test_routing.py", "tests/browser", "tests/infra/engine"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "engine",
        *chosen,
    ]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    found = {line.partition("::")[0] for line in listed.splitlines() if "::" in line}
    assert found == {"tests/infra/engine/test_engine_preview.py"}


def test_this_test_has_one_tier(request: pytest.FixtureRequest):
    collected = {
        item.nodeid: [tier for tier in TIERS if item.get_closest_marker(tier)] for item in request.session.items
    }
    assert [name for name, tiers in collected.items() if len(tiers) != 1] == []
