"""The real engine and the real provider take the program: a preview of a new stack, without network or account.

Skips where they are not installed: https://www.pulumi.com/docs/install/ and `pulumi plugin install resource gcp`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from infra.page import built_page
from local.deploy.program import ROOT


def missing() -> str:
    """What of the engine is not there; empty if nothing."""
    if not shutil.which("pulumi"):
        return "the Pulumi engine (`pulumi`) is not on PATH"
    if shutil.which("pulumi-resource-gcp"):
        return ""
    listed = subprocess.run(["pulumi", "plugin", "ls", "--json"], capture_output=True, text=True, check=False)
    plugins: list[dict[str, Any]] = json.loads(listed.stdout or "[]") if listed.returncode == 0 else []
    needed = version("pulumi-gcp")
    if any(plugin.get("name") == "gcp" and plugin.get("version") == needed for plugin in plugins):
        return ""
    return f"the engine's plugin gcp {needed} is not installed (`pulumi plugin install resource gcp {needed}`)"


REASON = missing()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


LEFT_OUT = shutil.ignore_patterns(".*", "build", "node_modules", "dist", "__pycache__", "tests", "proof")
ABOUT_THIS_MACHINE = "using pulumi-resource-gcp from $PATH"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, as the engine writes to the stack's file, and makes the environment that the program runs in."""
    root = tmp_path_factory.mktemp("engine") / "checkout"
    shutil.copytree(ROOT, root, ignore=LEFT_OUT)
    page = built_page(ROOT)
    shutil.copytree(page, root / page.relative_to(ROOT))
    (root.parent / "state").mkdir()
    for stack in ("dev", "production"):
        pulumi(root, "stack", "init", stack)
    return root


def pulumi(checkout: Path, *arguments: str) -> str:
    """Its standard output; its standard error is part of the failure."""
    env = {
        **os.environ,
        # The engine calls uv, which is among the packages that are installed here.
        "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ["PATH"]]),
        "PULUMI_BACKEND_URL": f"file://{checkout.parent / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_GCP_SKIP_REGION_VALIDATION": "true",
        "GOOGLE_OAUTH_ACCESS_TOKEN": "none",
    }
    command = ["pulumi", *arguments, "--non-interactive"]
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("stack", ["dev", "production"])
def test_a_preview_of_an_example_stack_has_no_error_and_no_warning(checkout: Path, stack: str):
    preview: dict[str, Any] = json.loads(pulumi(checkout, "preview", "--stack", stack, "--json"))
    diagnostics: list[dict[str, str]] = preview.get("diagnostics", [])
    problems = [found["message"] for found in diagnostics if found["severity"] in {"error", "warning"}]
    assert [problem for problem in problems if ABOUT_THIS_MACHINE not in problem] == []
    operations = Counter(step["op"] for step in preview["steps"])
    # An App Engine application that the stack does not make is read.
    assert set(operations) == ({"create"} if stack == "dev" else {"create", "read"})
    assert operations["create"] > 50


def test_a_config_with_mistakes_ends_with_their_list_and_no_traceback(checkout: Path):
    pulumi(checkout, "config", "set", "--stack", "dev", "threshold", "1.2")
    with pytest.raises(AssertionError) as refused:
        pulumi(checkout, "preview", "--stack", "dev")
    assert "threshold is '1.2'; allowed is a number from 0 to 1" in str(refused.value)
    assert "Traceback" not in str(refused.value)
