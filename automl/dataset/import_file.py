"""Import files: one line for each picture, in the two formats that the services read."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

from automl.dataset.split import Set


class Format(StrEnum):
    """The format of an import file."""

    AUTOML_CSV = "automl-csv"
    VERTEX_JSONL = "vertex-jsonl"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One picture of a data set."""

    uri: str
    """`gs://bucket/name`, not encoded."""
    labels: tuple[str, ...]
    set: Set | None
    """None leaves the choice to the service."""


VERTEX_SCHEMA = (
    "gs://google-cloud-aiplatform/schema/dataset/ioformat/image_classification_{}_label_io_format_1.0.0.yaml"
)
"""`import_schema_uri` of a Vertex import; for `single` or `multi`."""

_AUTOML_SETS = {Set.TRAINING: "TRAIN", Set.VALIDATION: "VALIDATION", Set.TEST: "TEST"}
_VERTEX_SET = "aiplatform.googleapis.com/ml_use"


def write(rows: Iterable[Row], file: TextIO, *, form: Format, multi_label: bool) -> None:
    """Write the rows as they come; `file` is text in UTF-8, opened with `newline=""`.

    AutoML's CSV: `[SET,]URI,LABEL[,LABEL...]`, quoted where a name needs it
    (https://cloud.google.com/vision/automl/docs/prepare). Vertex's JSON Lines
    (https://cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data).
    """
    if form is Format.AUTOML_CSV:
        lines = csv.writer(file, lineterminator="\n")
        for row in rows:
            start = [_AUTOML_SETS[row.set]] if row.set else []
            lines.writerow([*start, row.uri, *row.labels])
    else:
        for row in rows:
            file.write(json.dumps(_vertex_line(row, multi_label=multi_label), ensure_ascii=False) + "\n")


def _vertex_line(row: Row, *, multi_label: bool) -> dict[str, object]:
    line: dict[str, object] = {"imageGcsUri": row.uri}
    annotations = [{"displayName": label} for label in row.labels]
    if multi_label:
        line["classificationAnnotations"] = annotations
    else:
        (line["classificationAnnotation"],) = annotations
    if row.set:
        line["dataItemResourceLabels"] = {_VERTEX_SET: row.set.value}
    return line
