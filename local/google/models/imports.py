"""Reads import files: the lines of AutoML Vision and Vertex AI, and the images that they name."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, cast

from PIL import Image

from local.google.models.jobs import Job
from local.google.rpc import RefusedError
from local.google.storage.records import StorageError
from local.google.storage.store import ObjectStore

LEAST_PICTURES: Final = 10
"""Of each label; Google trains with no fewer."""
MAX_PICTURE_BYTES: Final = 30_000_000
MAX_FAILURES: Final = 20
"""Of an import that are told; Google tells so many (google.cloud.automl.v1.OperationMetadata.partial_failures)."""
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "ICO")
_VERTEX_SET = "aiplatform.googleapis.com/ml_use"
ReadObject = Callable[[str], bytes]
"""The bytes at a `gs://` address; LookupError if there is no such object."""


class Set(StrEnum):
    """What a picture is used for; a picture without is assigned when a model is trained."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


_CSV_SETS = {"TRAIN": Set.TRAINING, "VALIDATION": Set.VALIDATION, "TEST": Set.TEST, "UNASSIGNED": None}


@dataclass(frozen=True, kw_only=True)
class Example:
    """One picture of a data set."""

    uri: str
    labels: tuple[str, ...]
    used_for: Set | None


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Pictures with labels. `examples` is replaced as a whole, so that whoever reads it sees one state."""

    name: str
    display_name: str
    multi_label: bool
    """As given at creation (AutoML) or by the first import (Vertex AI)."""
    created: datetime
    examples: Mapping[str, Example] = field(default_factory=dict[str, Example])
    """By address."""


Parse = Callable[[str], Iterable[tuple[int, Example | str]]]
"""An import file's text to its lines: the number of each, and a picture or what is wrong with it."""


def read_examples(
    job: Job, data_set: DataSet, uris: Sequence[str], *, parse: Parse, read_object: ReadObject, most_images: int
) -> Mapping[str, Example]:
    """The dataset's examples with those of the import files at `uris` added; lines that fail go to `job.failures`.

    Raises:
        RefusedError: a file is missing or malformed, there are too many images, or none can be imported.
    """
    examples = dict(data_set.examples)
    lines = _lines(uris, parse, read_object, multi_label=data_set.multi_label)
    if len({*examples, *(line.uri for _, line in lines)}) > most_images:
        raise RefusedError(
            "RESOURCE_EXHAUSTED",
            f"Quota exceeded for quota metric 'Images in a dataset' and limit {most_images} of {data_set.name}.",
        )
    failures: list[str] = []
    for done, (where, line) in enumerate(lines, start=1):
        before = examples.get(line.uri)
        if before is not None and before.labels != line.labels:
            failures.append(f"{where}: {line.uri} was imported before with {', '.join(before.labels)}.")
        elif reason := _unusable(line.uri, read_object):
            failures.append(f"{where}: {line.uri} {reason}")
        else:
            examples[line.uri] = line
        job.progress(done, len(lines))
    job.failures = tuple(failures)
    if len(failures) == len(lines):
        raise RefusedError("INVALID_ARGUMENT", _with_problems("No image could be imported", failures or ["no line"]))
    return examples


def _lines(
    uris: Sequence[str], parse: Parse, read_object: ReadObject, *, multi_label: bool
) -> list[tuple[str, Example]]:
    """Each image, and the file and line that names it."""
    read: list[tuple[str, Example]] = []
    malformed: list[str] = []
    for uri in uris:
        for number, line in parse(_import_file(uri, read_object)):
            where = f"{uri} line {number}"
            if isinstance(line, str):
                malformed.append(f"{where}: {line}")
            elif len(line.labels) > 1 and not multi_label:
                malformed.append(f"{where}: {line.uri} has {len(line.labels)} labels in a single-label dataset.")
            else:
                read.append((where, line))
    if malformed:
        raise RefusedError("INVALID_ARGUMENT", _with_problems("The import file has malformed lines", malformed))
    return read


def _import_file(uri: str, read_object: ReadObject) -> str:
    try:
        return read_object(uri).decode("utf-8-sig")
    except LookupError:
        raise RefusedError("NOT_FOUND", f"The import file {uri} does not exist.") from None
    except UnicodeDecodeError as error:
        raise RefusedError("INVALID_ARGUMENT", f"The import file {uri} is not UTF-8: {error}.") from error


def _unusable(uri: str, read_object: ReadObject) -> str:
    try:
        data = read_object(uri)
    except LookupError:
        return "does not exist."
    if len(data) > MAX_PICTURE_BYTES:
        return f"has {len(data)} bytes; allowed are up to {MAX_PICTURE_BYTES}."
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.draft("L", (64, 64))
            image.load()
    except Exception as error:  # noqa: BLE001  # what a damaged file makes a decoder raise is not limited
        return f"is no image that can be read: {error or type(error).__name__}"
    return ""


def read_object(store: ObjectStore, uri: str) -> bytes:
    """The bytes at a `gs://` address of the local Cloud Storage.

    Raises:
        LookupError: there is no such object.
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    try:
        _, content = store.open(bucket, name)
    except StorageError as error:
        raise LookupError(uri) from error
    with content:
        return content.read()


def parse_csv(text: str) -> Iterable[tuple[int, Example | str]]:
    """AutoML Vision's lines: `[SET,]URI[,LABEL...]` (https://cloud.google.com/vision/automl/docs/prepare)."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = lines.line_num + 1
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, f"Malformed CSV: {error}."
            continue
        if cells:
            yield number, _csv_example([cell.strip() for cell in cells])


def _csv_example(cells: list[str]) -> Example | str:
    used_for: Set | None = None
    if cells[0] in _CSV_SETS:
        used_for = _CSV_SETS[cells[0]]
        cells = cells[1:]
    if not cells or not cells[0].startswith("gs://"):
        allowed = ", ".join(_CSV_SETS)
        return f"{(cells or [''])[0]!r} is neither a set ({allowed}) nor an image's gs:// URI."
    uri, *labels = cells
    if not all(labels) or not labels:
        return f"{uri} has no label, or an empty one."
    return Example(uri=uri, labels=tuple(dict.fromkeys(labels)), used_for=used_for)


def parse_jsonl(text: str, *, multi_label: bool) -> Iterable[tuple[int, Example | str]]:
    """Vertex AI's lines (https://cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data)."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, _json_example(line, multi_label=multi_label)


def _json_example(line: str, *, multi_label: bool) -> Example | str:
    try:
        read = json.loads(line)
        fields = cast("dict[str, Any]", read)
        uri: object = fields["imageGcsUri"]
        raw: Any = fields["classificationAnnotations"] if multi_label else [fields["classificationAnnotation"]]
        labels: list[object] = [annotation["displayName"] for annotation in raw]
        used_for: object = (fields.get("dataItemResourceLabels") or {}).get(_VERTEX_SET)
    except ValueError as error:
        return f"Malformed JSON: {error}."
    except (KeyError, TypeError, AttributeError) as error:
        return f"Not as the schema says: {error or type(error).__name__}."
    if not isinstance(uri, str) or not uri.startswith("gs://"):
        return f"imageGcsUri is {uri!r}; it must be a gs:// URI."
    names = [label for label in labels if isinstance(label, str) and label]
    if len(names) != len(labels) or not names:
        return f"{uri} has no label, or an empty one."
    if used_for is not None and used_for not in list(Set):
        return f"{_VERTEX_SET} is {used_for!r}; allowed are {', '.join(Set)}."
    return Example(
        uri=uri, labels=tuple(dict.fromkeys(names)), used_for=Set(cast("str", used_for)) if used_for else None
    )


def _with_problems(what: str, problems: Sequence[str]) -> str:
    more = f" ... and {len(problems) - MAX_FAILURES} more" if len(problems) > MAX_FAILURES else ""
    return f"{what}: {' '.join(problems[:MAX_FAILURES])}{more}"
