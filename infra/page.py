"""The review page's bundle: built once for each state of its sources, and kept in `build/`.

Deliberately absent: a look at times. A checkout has new ones, and an editor's touch changes nothing.
"""

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pulumi

SECONDS_TO_BUILD = 900

_HASH_LENGTH = 12
_LEFT_OUT_FOLDERS = {"node_modules", "dist"}
_TEST = re.compile(r"\.test\.tsx?$")
_VERSION = re.compile(r"(\d+)\.(\d+)")
_MAX_SHOWN_LINES = 30


class PageError(pulumi.RunError):
    """The page cannot be built; the text says what to do."""


def built_page(root: Path) -> Path:
    """The folder with the built page of the repository at `root`; it is built where these sources never were.

    Raises:
        PageError: Node is missing or too old, or the build fails.
    """
    folder = root / "webapp" / "frontend"
    sources = {path.relative_to(folder).as_posix(): path for path in _sources(folder)}
    digest = hashlib.sha256()
    for name, path in sorted(sources.items()):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    page = root / "build" / f"page-{digest.hexdigest()[:_HASH_LENGTH]}"
    if not page.is_dir():
        _build(sources, page)
    return page


def _sources(folder: Path) -> Iterator[Path]:
    if not (folder / "package.json").is_file():
        raise PageError(f"{folder} has no package.json: check the sources out anew")
    for path in folder.iterdir():
        if path.name in _LEFT_OUT_FOLDERS:
            continue
        for source in path.rglob("*") if path.is_dir() else (path,):
            if source.is_file() and not _TEST.search(source.name):
                yield source


def _build(sources: dict[str, Path], page: Path) -> None:
    npm = _npm(json.loads(sources["package.json"].read_text())["engines"]["node"])
    pulumi.log.info("building the review page (once for each state of its sources)")
    page.parent.mkdir(exist_ok=True)
    # Elsewhere than the sources: `npm ci` would take the packages away from a `npm run dev` that is running there, and
    # two runs of this program at once do not meet.
    with tempfile.TemporaryDirectory(prefix="page-", dir=page.parent) as temporary:
        folder = Path(temporary)
        for name, source in sources.items():
            copy = folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        # No package may run a program of its own while it is installed; none of the locked ones needs to.
        _run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
        _run(npm, "run", "build", folder=folder)
        built = folder / "dist"
        if not (built / "index.html").is_file():
            raise PageError("`npm run build` for the review page made no dist/index.html; does vite.config.ts say so?")
        try:
            built.rename(page)
        except OSError:
            if not page.is_dir():  # or another run was faster, with the same result
                raise


def _npm(needed: str) -> str:
    """The command, where Node is new enough (`needed` as in package.json: `>=20.19`)."""
    node, npm = shutil.which("node"), shutil.which("npm")
    remedy = (
        f"install Node {needed.removeprefix('>=')} or later, which brings npm along: https://nodejs.org/en/download"
    )
    if node is None or npm is None:
        missing = "Node (node)" if node is None else "npm"
        raise PageError(f"the review page has to be built, and {missing} is not on PATH: {remedy}")
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if _version(answer) < _version(needed):
        raise PageError(f"the review page has to be built, and {node} is version {answer or 'unknown'}: {remedy}")
    return npm


def _version(text: str) -> tuple[int, int]:
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _run(npm: str, *arguments: str, folder: Path) -> None:
    command = f"npm {' '.join(arguments)}"
    try:
        done = subprocess.run(
            [npm, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=SECONDS_TO_BUILD,
        )
    except subprocess.TimeoutExpired:
        message = (
            f"`{command}` for the review page took longer than {SECONDS_TO_BUILD} s; is the npm registry reachable?"
        )
        raise PageError(message) from None
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-_MAX_SHOWN_LINES:])
        message = (
            f"`{command}` for the review page failed in a copy of webapp/frontend; the end of what it said:\n{end}"
        )
        raise PageError(message)
