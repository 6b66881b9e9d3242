"""The app as App Engine gets it: only its own files, the requirements of uv.lock, and the server's own command."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from inspection.environment import STORAGE_EMULATOR
from tests.webapp.test_review_settings import DEVELOPMENT

ROOT = Path(__file__).parents[2]


def test_the_requirements_are_those_of_the_lock_file() -> None:
    exported = subprocess.run(
        [
            sys.executable, "-m", "uv", "export", "--frozen", "--offline", "--quiet",
            "--only-group", "webapp", "--no-emit-project", "--no-header",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert (ROOT / "webapp" / "requirements.txt").read_text() == exported.stdout, "run `make lock`"


@contextmanager
def deployed(folder: Path, environment: dict[str, str]) -> Generator[httpx2.Client]:
    """Copy what is deployed, and start it from there without this checkout on the path."""
    shutil.copytree(ROOT / "inspection", folder / "inspection", ignore=shutil.ignore_patterns("__pycache__", "command"))
    (folder / "webapp" / "frontend" / "dist").mkdir(parents=True)
    for source in (ROOT / "webapp").glob("*.py"):
        shutil.copy(source, folder / "webapp")
    (folder / "webapp" / "frontend" / "dist" / "index.html").write_text("<title>Review</title>")
    program = (
        "import sys; sys.path[:] = ['.', *(path for path in sys.path if path not in ('', sys.argv[1]))]\n"
        "from uvicorn.main import main; main(['webapp.main:app', '--host', '127.0.0.1', '--port', '0'])\n"
    )
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    server = subprocess.Popen(
        [sys.executable, "-c", program, str(ROOT)],
        cwd=folder,
        env=inherited | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        lines: list[str] = []
        address = None
        while address is None:
            lines.append(server.stderr.readline())
            assert lines[-1], "".join(lines)
            address = re.search(r"running on (http://[0-9.:]+)", lines[-1])
        with httpx2.Client(base_url=address[1]) as client:
            yield client
    finally:
        server.terminate()
        server.communicate()


def test_the_deployed_files_alone_serve_the_page_and_the_api(tmp_path: Path, storage_address: str) -> None:
    with deployed(tmp_path, DEVELOPMENT | {STORAGE_EMULATOR: storage_address}) as client:
        assert client.get("/").text == "<title>Review</title>"
        assert client.get("/api/session").json()["reviewer"] == "anna@example.com"
        assert client.get("/health").status_code == 204


def test_deployed_with_the_development_identity_it_serves_nobody(tmp_path: Path, storage_address: str) -> None:
    environment = DEVELOPMENT | {STORAGE_EMULATOR: storage_address, "GAE_ENV": "standard"}
    with deployed(tmp_path, environment) as client:
        for path in ("/", "/api/session", "/health"):
            assert client.get(path).status_code == 503
