"""The images to learn from: an import file, or a folder with one sub-folder for each label."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from automl.dataset.import_reader import pictures
from automl.dataset.split import Set
from automl.evaluation.asking import picture_bytes
from console.errors import UserError
from console.files import files_below, hidden_line
from console.transfer import storage_client
from inspection.labels import LABEL_RULE, MAX_LABELS, is_label

LEAST_IMAGES = 10
"""Of each label: fewer cannot be learned from and checked on."""


class UnusableImagesError(UserError):
    """There is nothing to learn from; the text says what is needed."""


@dataclass(frozen=True)
class LabelledImage:
    """An image that has not been read yet."""

    name: str
    labels: tuple[str, ...]
    read: Callable[[], bytes]


def labelled_images(sources: Sequence[str], left_out: Callable[[str], None]) -> list[LabelledImage]:
    """The images of folders and import files together, in the order of their names; test sets are left out.

    Raises:
        UnusableImagesError: there are too few of a label, or a label's name is not allowed.
        MalformedImportFileError: an import file is not one.
        OSError, GoogleAPIError: something cannot be read.
    """
    images = sorted((image for source in sources for image in _of(source, left_out)), key=lambda image: image.name)
    counts: dict[str, int] = {}
    for image in images:
        for label in image.labels:
            counts[label] = counts.get(label, 0) + 1
    if wrong := [label for label in counts if not is_label(label)]:
        raise UnusableImagesError(f"{', '.join(map(repr, wrong))} cannot be a label; allowed are {LABEL_RULE}")
    if not 1 <= len(counts) <= MAX_LABELS:
        raise UnusableImagesError(
            f"there are {len(counts)} labels; allowed are 1 to {MAX_LABELS}: one sub-folder for each"
        )
    if scarce := [f"{label}: {count}" for label, count in sorted(counts.items()) if count < LEAST_IMAGES]:
        raise UnusableImagesError(
            f"each label needs {LEAST_IMAGES} images to learn from; there are {', '.join(scarce)}"
        )
    return images


def digest(jpegs: Sequence[bytes], labels: Sequence[tuple[str, ...]]) -> str:
    """Fingerprint of a data set, whatever its files are called: SHA-256, in hexadecimal digits."""
    lines = sorted(
        f"{hashlib.sha256(jpeg).hexdigest()} {' '.join(sorted(given))}"
        for jpeg, given in zip(jpegs, labels, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _of(source: str, left_out: Callable[[str], None]) -> Iterator[LabelledImage]:
    folder = Path(source)
    if source.startswith("gs://") or folder.is_file():
        client = storage_client()
        for row in pictures(source, None):
            if row.set is not Set.TEST:
                yield LabelledImage(row.uri, row.labels, partial(picture_bytes, client, row.uri))
        return
    if not folder.is_dir():
        raise UnusableImagesError(f"{source!r} is not a folder and not an import file")
    for label in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        hidden: list[Path] = []
        for path in files_below(label, left_out, hidden.append):
            yield LabelledImage(str(path.relative_to(folder)), (label.name,), path.read_bytes)
        if hidden:
            left_out(hidden_line(hidden))
