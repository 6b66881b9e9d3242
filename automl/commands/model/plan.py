"""Checks import files and options before a training begins."""

from collections.abc import Sequence

import typer
from rich.console import Console
from rich.table import Table

from automl.dataset.catalogue import LEAST_PICTURES
from automl.dataset.import_file import Format
from automl.dataset.import_reader import MalformedImportFileError, Survey, survey
from automl.dataset.split import Set
from automl.services.service import (
    LIMITS,
    Plan,
)
from inspection.model_id import Backend

_GS = "gs://"
_BACKENDS = {Format.AUTOML_CSV: Backend.AUTOML, Format.VERTEX_JSONL: Backend.VERTEX}


def check_plan(
    files: Sequence[str], name: str, budget: int, backend: Backend | None, *, multi_label: bool
) -> tuple[Backend, Plan]:
    """The service and the plan for a training.

    Raises:
        typer.BadParameter: an option is missing or not allowed.
        MalformedImportFileError: the import files cannot be trained on.
    """
    if not files:
        raise typer.BadParameter(
            "give an import file (or --resume, to go on with a training)", param_hint="IMPORT_FILE..."
        )
    surveys: list[Survey] = []
    for file in files:
        if not file.startswith(_GS):
            raise typer.BadParameter(
                f"{file!r}: the service reads import files from a bucket; write it there "
                "(`inspection dataset prepare ... --out gs://BUCKET/FILE`)",
                param_hint="IMPORT_FILE...",
            )
        surveys.append(survey(file))
    forms = {found.form for found in surveys if found.form}
    if len(forms) != 1:
        told = " and ".join(sorted(forms)) or "no line at all"
        raise MalformedImportFileError(f"{', '.join(files)}: one format is needed; there is {told}")
    (form,) = forms
    backend = backend or _BACKENDS[form]
    if _BACKENDS[form] != backend:
        wanted = next(each for each, reader in _BACKENDS.items() if reader == backend)
        raise typer.BadParameter(
            f"{backend} reads no {form}: write the import file with --format {wanted}", param_hint="--backend"
        )
    several = {several_labels(file, found, given=multi_label) for file, found in zip(files, surveys, strict=True)}
    if len(several) > 1:
        raise MalformedImportFileError(f"{', '.join(files)}: some allow several labels a picture, others do not")
    limits = LIMITS[backend]
    if not limits.least_node_hours <= budget <= limits.most_node_hours:
        raise typer.BadParameter(
            f"{budget} node hours; {backend} allows {limits.least_node_hours} to {limits.most_node_hours}",
            param_hint="--budget",
        )
    _check_labels(files, surveys)
    sets = {used_for for found in surveys for used_for in found.sets}
    if None in sets and len(sets) > 1 and backend is Backend.VERTEX:
        raise MalformedImportFileError(
            f"{', '.join(files)}: some pictures have a set and others none; Vertex AI would leave out those without"
        )
    own_sets = tuple(used_for.value for used_for in Set if used_for in sets)
    return backend, Plan(name=name, files=tuple(files), multi_label=several.pop(), node_hours=budget, own_sets=own_sets)


def _check_labels(files: Sequence[str], surveys: Sequence[Survey]) -> None:
    totals = sum((found.labels for found in surveys), start=type(surveys[0].labels)())
    table = Table("label", "pictures")
    table.columns[1].justify = "right"
    for label, count in sorted(totals.items()):
        table.add_row(label, f"{count:,}")
    Console().print(table)
    if scarce := [f"{label}: {count}" for label, count in sorted(totals.items()) if count < LEAST_PICTURES]:
        raise MalformedImportFileError(
            f"{', '.join(files)}: each label needs {LEAST_PICTURES} pictures to train on; there are {', '.join(scarce)}"
        )


def several_labels(file: str, found: Survey, *, given: bool) -> bool:
    """Whether an image of the import file may have several labels.

    Raises:
        typer.BadParameter: --multi-label contradicts the file.
        MalformedImportFileError: the file needs --multi-label.
    """
    if found.multi_label is not None:
        if given and not found.multi_label:
            raise typer.BadParameter(f"{file} is for one label a picture", param_hint="--multi-label")
        return found.multi_label
    if found.several and not given:
        raise MalformedImportFileError(f"{file} {found.several} has several labels: say --multi-label if that is meant")
    return given
