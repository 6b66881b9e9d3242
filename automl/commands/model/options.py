"""Options that several sub-commands of `inspection model` share."""

from typing import Annotated

import typer

from console.arguments import given_name
from console.target import PROJECT
from inspection.model_id import Backend

Project = Annotated[
    str | None,
    typer.Option(envvar=PROJECT, help="A Google Cloud project. Default: the local cloud that runs here."),
]
Location = Annotated[str | None, typer.Option(help="Where the service is asked. Default: us-central1.")]
BackendOption = Annotated[
    Backend | None,
    typer.Option("--backend", help="AutoML Vision, or AutoML on Vertex AI. Default: as the model was trained."),
]
ModelName = Annotated[
    str,
    typer.Argument(
        parser=given_name, metavar="MODEL", help="The --name it was trained under, or its whole resource name."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
