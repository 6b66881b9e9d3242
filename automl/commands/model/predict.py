"""`inspection model predict`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from automl.commands.model.lookup import check_deployed, find_model
from automl.commands.model.options import BackendOption, Location, ModelName, Project
from automl.commands.model.terminal import list_failures, reported_errors
from automl.services.service import (
    NotThereError,
    ServiceError,
)
from console.arguments import given_path
from imaging.bounded import UnusableImageError
from imaging.prepare import prepare


def predict(
    *,
    model: ModelName,
    files: Annotated[list[Path], typer.Argument(parser=given_path, metavar="FILE...", help="Pictures.")],
    backend: BackendOption = None,
    project: Project = None,
    location: Location = None,
) -> None:
    """
    Ask a deployed model about pictures on this machine.

    \b
    Example:
      inspection model predict castings part1.jpg part2.jpg

    Exit code: 0 each was answered, 1 one was not, 2 wrong usage.
    """  # noqa: D301  # as above
    with reported_errors():
        service, found = find_model(model, backend, project, location)
        check_deployed(model, found)
        table = Table("picture", "label", "score", "others")
        table.columns[2].justify = "right"
        failures: list[str] = []
        for file in files:
            try:
                scores = service.scores(found, prepare(file.read_bytes()))
            except (OSError, UnusableImageError, ServiceError) as error:
                if isinstance(error, NotThereError):
                    raise
                failures.append(f"{file}: {' '.join(str(error).split())}")
                continue
            best, *others = sorted(scores.items(), key=lambda pair: pair[1], reverse=True) or [("none", 0.0)]
            told = ", ".join(f"{label} {score:.3f}" for label, score in others)
            table.add_row(str(file), best[0], f"{best[1]:.3f}", told)
        if table.row_count:
            Console().print(table)
        list_failures(failures, "could not be asked about")
