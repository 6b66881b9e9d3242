"""The zips that are deployed, with the same bytes wherever and whenever they are built from the same sources."""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pulumi

from infra.page import built_page

REQUIRED = ("main.py", "requirements.txt")
"""What Google's builder looks for at the root of a function's zip."""

_HASH_LENGTH = 12
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
_MODE = 0o100644 << 16
_UNIX = 3
_LEFT_OUT_FOLDERS = {"__pycache__", "tests"}
_LEFT_OUT_SUFFIXES = {".pyc", ".pyo"}


class ArchiveError(pulumi.RunError):
    """The sources are not whole."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A zip on disk, and the name under which it is uploaded: `<part>-<12 digits of its SHA-256>.zip`."""

    path: Path
    object_name: str


def build_archive(part: str, *, root: Path, kind: str | None = None) -> Archive:
    """Pack `functions/<part>/` of the repository at `root`, with the vocabulary beside it, into `build/`.

    With a `kind`, the requirements are those of `requirements-<kind>.txt`.

    Raises:
        ArchiveError: a file that the builder needs is missing.
    """
    files = _below(folder := root / "functions" / part) | _vocabulary(root)
    chosen = files.pop(f"requirements-{kind}.txt", None)
    files = {name: path for name, path in files.items() if not name.startswith("requirements-")}
    if chosen is not None:
        files["requirements.txt"] = chosen
    if part == "predict":
        files |= _modules(root, "imaging")
    return _pack(part, folder, files, root)


def build_review_archive(*, root: Path) -> Archive:
    """Pack the review app: the server, its built page where the server looks for it, and the vocabulary.

    Raises:
        ArchiveError: a file that App Engine needs is missing.
        PageError: the page cannot be built.
    """
    folder = root / "webapp"
    files = {f"webapp/{path.name}": path for path in folder.glob("*.py")}
    files |= {f"webapp/frontend/dist/{name}": path for name, path in _below(built_page(root)).items()}
    files |= {path.name: path for path in folder.glob("requirements.txt")}
    return _pack("review", folder, files | _vocabulary(root), root, required=("webapp/main.py", "requirements.txt"))


def build_default_archive(*, root: Path) -> Archive:
    """Pack what App Engine's service `default` answers.

    Raises:
        ArchiveError: a file that App Engine needs is missing.
    """
    folder = root / "infra" / "default_service"
    return _pack("default", folder, _below(folder), root)


def _pack(part: str, folder: Path, files: dict[str, Path], root: Path, required: tuple[str, ...] = REQUIRED) -> Archive:
    if missing := [name for name in required if name not in files]:
        raise ArchiveError(f"{folder} has no {' and no '.join(missing)}: check the sources out anew")
    return _write(part, files, root / "build")


def _below(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in _sources(folder)}


def _vocabulary(root: Path) -> dict[str, Path]:
    return _modules(root, "inspection")


def _modules(root: Path, room: str) -> dict[str, Path]:
    return {f"{room}/{path.name}": path for path in (root / room).glob("*.py")}


def _sources(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        # Caches, virtual environments and an editor's leftovers begin with a dot.
        hidden = any(part.startswith(".") or part in _LEFT_OUT_FOLDERS for part in parts)
        if path.is_file() and not hidden and path.suffix not in _LEFT_OUT_SUFFIXES:
            yield path


def _write(part: str, files: dict[str, Path], build: Path) -> Archive:
    build.mkdir(exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f"{part}-", dir=build)
    # Stored and not compressed: another zlib on another machine would make other bytes of the same sources.
    with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files, key=PurePosixPath):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr, entry.create_system = _MODE, _UNIX
            archive.writestr(entry, files[name].read_bytes())
    digest = hashlib.sha256(Path(temporary).read_bytes()).hexdigest()
    path = build / f"{part}-{digest[:_HASH_LENGTH]}.zip"
    Path(temporary).replace(path)  # at once whole: another run may be reading it
    return Archive(path=path, object_name=path.name)
