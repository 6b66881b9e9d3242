"""Where labelled pictures come from: a folder, a bucket, or the reviewers' decisions."""

import hashlib
import mimetypes
import os
import unicodedata
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import storage
from PIL import Image
from requests import exceptions as http

from automl.dataset.catalogue import MAX_PICTURE_BYTES, Picture, Report
from automl.dataset.split import FOLDERS, Set
from console.files import is_hidden
from console.transfer import TransferError
from inspection.labels import HUMAN_DECIDED
from inspection.layout import DECIDED_AT, DECISION, MAX_NAME_BYTES, SOURCE

IMAGE_TYPES = (
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/webp",
    "image/bmp",
    "image/tiff",
    "image/vnd.microsoft.icon",
)
"""https://cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data (schema file)"""

_PILLOW_FORMATS = ("JPEG", "GIF", "PNG", "WEBP", "BMP", "TIFF", "ICO")
_UNTYPED = {None, "", "application/octet-stream"}
_TYPE_ALIASES = {"image/x-icon": "image/vnd.microsoft.icon", "image/jpg": "image/jpeg", "image/x-ms-bmp": "image/bmp"}
_LISTED_FIELDS = "items(name,size,md5Hash,crc32c,contentType,metadata),nextPageToken"
_CHUNK = 1 << 20

NOT_AN_IMAGE = f"not an image that a model can be trained on ({', '.join(_PILLOW_FORMATS)})"
NO_FILE = (
    "neither a file nor a folder, but a link to a folder or to nothing, or a device: put the pictures there themselves"
)
NO_LABEL = "in no folder that could be its label"
LEFT_OUT = "left out: in no folder that --label names"
BAD_NAME = "a name that no object in Cloud Storage can have: rename the file"
TOO_LARGE = f"larger than {MAX_PICTURE_BYTES // 1_000_000} MB, the most a picture to train on may have"
NO_DECISION = "left out: the object's metadata lacks what a decision has"

Progress = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What a picture's folders say about it."""

    label: str
    key: str
    """The name below the label's folder, without the set's: a picture moved to another label keeps its set."""
    folder_set: Set | None


class Folders:
    """Which folder means which label, and which set.

    Args:
        labels: label for each folder, `{"def_front": "Defect"}`; a folder may have several parts (`line1/bad`). Empty:
            the label is the folder below `train`, `test`, ..., or else the topmost one.

    `casting_data/train/def_front/7.jpg` is in the set `train` with either.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = {tuple(_nfc(folder).strip("/").split("/")): _nfc(label) for folder, label in labels.items()}
        self.labels = sorted(set(self._labels.values()))
        self.given = bool(labels)

    def placed(self, name: str) -> Placed | None:
        """None if none of the folders is a label's."""
        *folders, last = _nfc(name).split("/")
        span = self._given_label(folders) if self.given else _label_by_position(folders)
        if span is None:
            return None
        start, end = span
        label = self._labels[tuple(folders[start:end])] if self.given else folders[start]
        outside = [FOLDERS[f.lower()] for f in (*folders[:start], *folders[end:]) if f.lower() in FOLDERS]
        below = [f for f in folders[end:] if f.lower() not in FOLDERS]
        return Placed(label=label, key="/".join([*below, last]), folder_set=outside[0] if outside else None)

    def _given_label(self, folders: list[str]) -> tuple[int, int] | None:
        for start in range(len(folders)):
            for end in range(start + 1, len(folders) + 1):
                if tuple(folders[start:end]) in self._labels:
                    return start, end
        return None


def _label_by_position(folders: list[str]) -> tuple[int, int] | None:
    sets = [i for i, folder in enumerate(folders) if folder.lower() in FOLDERS]
    below_set = [i for i in range(sets[0] + 1, len(folders)) if i not in sets] if sets else []
    others = [i for i in range(len(folders)) if i not in sets]
    first = (below_set or others)[:1]
    return (first[0], first[0] + 1) if first else None


def local_pictures(
    root: Path, folders: Folders, report: Report, *, prefix: str, progress: Progress
) -> Generator[Picture, None, None]:
    """The labelled pictures of a folder and those below it, each read once (for its kind and its content).

    `prefix` is what will stand before the names in the bucket. What is no picture goes into the report.
    """
    for path in _files(
        root, left_out=lambda path: report.problems.add(NO_FILE, Path(path).relative_to(root).as_posix())
    ):
        name = path.relative_to(root).as_posix()
        progress()
        placed = _place(name, folders, report)
        if placed is None:
            continue
        if problem := _name_problem(prefix + name):
            report.problems.add(BAD_NAME, f"{name!r} ({problem})")
            continue
        try:
            content = _read(path)
        except _UnusablePictureError as error:
            report.problems.add(error.kind, name)
        except OSError as error:
            report.problems.add("cannot be read", f"{name} ({error.strerror or error})")
        else:
            yield Picture(name=name, label=placed.label, key=placed.key, content=content, folder_set=placed.folder_set)


def bucket_pictures(
    bucket: storage.Bucket, prefix: str, folders: Folders, report: Report, *, progress: Progress
) -> Generator[Picture, None, None]:
    """The labelled pictures below a prefix (empty, or ending in `/`), from the listing alone: nothing is downloaded.

    So what is no image is told by its content type, or its extension where it has none.

    Raises:
        TransferError: the bucket cannot be listed.
    """
    for whole_name, blob in _listed(bucket, prefix, progress):
        name = whole_name.removeprefix(prefix)
        placed = _place(name, folders, report)
        if placed is None or not _looks_usable(blob, name, report):
            continue
        yield Picture(
            name=name, label=placed.label, key=placed.key, content=_content(blob), folder_set=placed.folder_set
        )


def decided_pictures(
    bucket: storage.Bucket, since: datetime | None, report: Report, *, progress: Progress
) -> Generator[Picture, None, None]:
    """The pictures that reviewers decided, with the decision as label; from `human_decided/` of a prediction bucket.

    The label is the metadata's, never the name's: a picture that was called `ok_7.jpg` by the camera stays what was
    decided. Its set follows from `source`, the name the camera gave it.

    Raises:
        TransferError: the bucket cannot be listed.
    """
    for name, blob in _listed(bucket, f"{HUMAN_DECIDED}/", progress):
        metadata: Mapping[str, str] = blob.metadata or {}
        needed = (DECISION, SOURCE, DECIDED_AT) if since else (DECISION, SOURCE)
        if missing := [key for key in needed if not metadata.get(key)]:
            report.warnings.add(NO_DECISION, f"{name} (no {', '.join(missing)})")
            continue
        if since:
            decided_at = parse_time(metadata[DECIDED_AT])
            if decided_at is None:
                report.warnings.add(NO_DECISION, f"{name} ({DECIDED_AT} is {metadata[DECIDED_AT]!r}, no time)")
                continue
            if decided_at < since:
                continue
        if not _looks_usable(blob, name, report):
            continue
        yield Picture(name=name, label=metadata[DECISION], key=metadata[SOURCE], content=_content(blob))


class _UnusablePictureError(Exception):
    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def _files(root: Path, left_out: Callable[[str], None]) -> Generator[Path, None, None]:
    """Every file below, unsorted: a folder of a million is read as a stream."""
    with os.scandir(root) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path), left_out)
            elif entry.is_file():
                yield Path(entry.path)
            else:
                left_out(entry.path)


def _read(path: Path) -> str:
    """What tells the picture's content from others, after a look at its first bytes."""
    with path.open("rb") as file:
        try:
            with Image.open(file, formats=_PILLOW_FORMATS):
                pass
        except Image.DecompressionBombError:
            pass  # only its size is known so far, and the service scales it down
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise _UnusablePictureError(NOT_AN_IMAGE) from error
        size = os.fstat(file.fileno()).st_size
        if size > MAX_PICTURE_BYTES:
            raise _UnusablePictureError(TOO_LARGE)
        file.seek(0)
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _place(name: str, folders: Folders, report: Report) -> Placed | None:
    placed = folders.placed(name)
    if placed is None and folders.given:
        report.warnings.add(LEFT_OUT, name)
    elif placed is None:
        report.problems.add(NO_LABEL, name)
    return placed


def _name_problem(name: str) -> str | None:
    """https://cloud.google.com/storage/docs/objects#naming"""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "not in UTF-8"
    if size > MAX_NAME_BYTES:
        return f"{size} bytes with {MAX_NAME_BYTES} allowed"
    return "a line break" if "\n" in name or "\r" in name else None


def _listed(bucket: storage.Bucket, prefix: str, progress: Progress) -> Generator[tuple[str, storage.Blob], None, None]:
    try:
        for blob in bucket.client.list_blobs(bucket, prefix=prefix, fields=_LISTED_FIELDS):
            name = str(blob.name)
            last = name.rpartition("/")[2]
            # A name that ends in a slash is how some tools draw an empty folder.
            if last and not is_hidden(last):
                progress()
                yield name, blob
    except (api.GoogleAPIError, auth.GoogleAuthError, http.RequestException) as error:
        reason = " ".join(str(error).split())
        raise TransferError(
            f"cannot list gs://{bucket.name}/{prefix}: {reason}; check the bucket's name, and that you may list it"
        ) from error


def _looks_usable(blob: storage.Blob, name: str, report: Report) -> bool:
    told = blob.content_type
    kind = (mimetypes.guess_type(name, strict=False)[0] or told or "no type") if told in _UNTYPED else told
    if _TYPE_ALIASES.get(kind, kind) not in IMAGE_TYPES:
        report.problems.add(NOT_AN_IMAGE, f"{name} ({kind})")
    elif not blob.size:
        report.problems.add(NOT_AN_IMAGE, f"{name} (empty)")
    elif blob.size > MAX_PICTURE_BYTES:
        report.problems.add(TOO_LARGE, name)
    else:
        return True
    return False


def _content(blob: storage.Blob) -> str:
    # Objects composed of parts have no MD5 (https://cloud.google.com/storage/docs/composite-objects).
    return blob.md5_hash or f"{blob.crc32c} {blob.size}"


def parse_time(text: str) -> datetime | None:
    """A date or a time; without an offset it is UTC. None if it is neither."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
