"""Import files read back: what is in one, before money is spent on it, and which pictures a model is to be tested on."""

import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from automl.dataset.import_file import Format, Row
from automl.dataset.split import Set
from console.errors import UserError
from console.transfer import split_uri, storage_client

_GS = "gs://"
_CSV_SETS = {"TRAIN": Set.TRAINING, "VALIDATION": Set.VALIDATION, "TEST": Set.TEST, "UNASSIGNED": None}
_VERTEX_SET = "aiplatform.googleapis.com/ml_use"


class MalformedImportFileError(UserError, ValueError):
    """A file that no service would read; the text names the file, the line and what is allowed."""


@dataclass(kw_only=True)
class Survey:
    """What is in one import file."""

    form: Format | None = None
    """None: there is no line."""
    pictures: int = 0
    labels: Counter[str] = field(default_factory=Counter[str])
    sets: Counter[Set | None] = field(default_factory=Counter[Set | None])
    multi_label: bool | None = None
    """None where the format does not tell and no picture has several labels."""
    several: str = ""
    """The first line with several labels."""


def survey(file: str) -> Survey:
    """Read a whole import file, `gs://` or a local one; a million lines in constant memory.

    Raises:
        MalformedImportFileError: a line is none, or the file's name.
        OSError, GoogleAPIError: the file cannot be read.
    """
    result = Survey()
    for line, (row, form, multi_label) in enumerate(_rows(file), start=1):
        result.form = form
        result.pictures += 1
        result.labels.update(row.labels)
        result.sets[row.set] += 1
        if multi_label is not None and result.multi_label not in {None, multi_label}:
            raise MalformedImportFileError(f"{file}: line {line} is for several labels a picture, others are not")
        result.multi_label = result.multi_label if multi_label is None else multi_label
        if len(row.labels) > 1 and not result.several:
            result.several = f"line {line} ({row.uri}: {', '.join(row.labels)})"
    return result


def pictures(file: str, wanted: Set | None) -> Iterator[Row]:
    """The lines of one set, in the order of the file; None: all lines.

    Raises:
        MalformedImportFileError: a line is none, or the file's name.
        OSError, GoogleAPIError: the file cannot be read.
    """
    return (row for row, _, _ in _rows(file) if wanted in {None, row.set})


def _rows(file: str) -> Iterator[tuple[Row, Format, bool | None]]:
    with _lines(file) as lines:
        first = next(lines, "")
        every = itertools.chain([first], lines) if first else iter(())
        if first.lstrip("\ufeff \t").startswith("{"):
            yield from _read_jsonl(file, every)
        else:
            yield from _read_csv(file, every)


@contextmanager
def _lines(file: str) -> Generator[Iterator[str], None, None]:
    if file.startswith(_GS):
        bucket, name = _object(file)
        blob = storage_client().bucket(bucket).blob(name)
        with io.TextIOWrapper(cast("BinaryIO", blob.open("rb")), encoding="utf-8-sig", newline="") as text:
            yield _decoded(file, text)
    else:
        with Path(file).open(encoding="utf-8-sig", newline="") as text:
            yield _decoded(file, text)


def _object(uri: str) -> tuple[str, str]:
    try:
        bucket, name = split_uri(uri)
    except ValueError as error:
        raise MalformedImportFileError(str(error)) from None
    if not name or name.endswith("/"):
        raise MalformedImportFileError(f"{uri!r} names no import file: give gs://BUCKET/FILE")
    return bucket, name


def _decoded(file: str, text: Iterable[str]) -> Iterator[str]:
    try:
        yield from text
    except UnicodeDecodeError as error:
        raise MalformedImportFileError(f"{file} is no text in UTF-8: {error}") from error


def _read_csv(file: str, lines: Iterator[str]) -> Iterator[tuple[Row, Format, None]]:
    reader = csv.reader(lines, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise MalformedImportFileError(f"{file} line {number}: no CSV ({error})") from error
        if not cells:
            continue
        has_set = cells[0] in _CSV_SETS
        uri, *labels = cells[1:] if has_set else cells
        if not uri.startswith(_GS) or not all(labels) or not labels:
            raise MalformedImportFileError(
                f"{file} line {number}: {','.join(cells)[:200]!r} is not [SET,]gs://BUCKET/PICTURE,LABEL[,LABEL...] "
                f"with one of the sets {', '.join(_CSV_SETS)}"
            )
        used_for = _CSV_SETS[cells[0]] if has_set else None
        yield Row(uri=uri, labels=tuple(labels), set=used_for), Format.AUTOML_CSV, None


def _read_jsonl(file: str, lines: Iterator[str]) -> Iterator[tuple[Row, Format, bool]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields: dict[str, Any] = json.loads(line)
            multi_label = "classificationAnnotations" in fields
            annotations = fields["classificationAnnotations"] if multi_label else [fields["classificationAnnotation"]]
            used_for = fields.get("dataItemResourceLabels", {}).get(_VERTEX_SET)
            row = Row(
                uri=str(fields["imageGcsUri"]),
                labels=tuple(str(annotation["displayName"]) for annotation in annotations),
                set=Set(used_for) if used_for else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise MalformedImportFileError(
                f"{file} line {number}: {line.strip()[:200]!r} is no line of Vertex AI's JSON Lines "
                f"({type(error).__name__}: {error})"
            ) from error
        yield row, Format.VERTEX_JSONL, multi_label
