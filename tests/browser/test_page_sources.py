"""The page's own checks, by its own tools; and what comes out of its build."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.browser.review_desk import FRONTEND, MissingError, build_page

pytestmark = pytest.mark.xdist_group("browser")


@pytest.mark.parametrize("script", ["test", "lint", "check-api"])
def test_the_page_passes_its_own_checks(script: str, built_page: Path) -> None:  # the build installs the tools
    done = subprocess.run(
        ["npm", "--silent", "run", script], cwd=FRONTEND, capture_output=True, text=True, check=False, timeout=120
    )
    hint = "webapp/openapi.json has changed: `npm run api` in webapp/frontend\n" if script == "check-api" else ""
    assert done.returncode == 0, hint + done.stdout + done.stderr


def test_the_same_sources_give_the_same_bytes(built_page: Path, tmp_path: Path) -> None:
    assert _digests(build_page(tmp_path / "again")) == _digests(built_page)


def test_the_page_needs_nothing_that_its_security_policy_forbids(built_page: Path) -> None:
    html = (built_page / "index.html").read_text()
    assert " style=" not in html
    assert "<style" not in html
    assert html.count("<script") == html.count('<script type="module" crossorigin src="/assets/') == 1


def test_no_committed_file_of_the_page_names_a_registry() -> None:
    lock = (FRONTEND / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


def test_a_machine_without_npm_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="Node 20"):
        build_page(tmp_path)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
