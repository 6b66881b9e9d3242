"""`inspection model deploy` and `undeploy`."""

from pathlib import Path
from typing import Annotated

import typer

from automl.commands.model.costs import hourly_cost
from automl.commands.model.lookup import find_model
from automl.commands.model.options import BackendOption, Location, ModelName, Project, Yes
from automl.commands.model.terminal import confirm, print_line, reported_errors, watch
from automl.stack.config import stack_file
from automl.stack.model import MODEL_ID, check_model_id, write_model_id
from automl.stack.where import to_put_into_force
from console.arguments import given_name
from console.errors import fail


def deploy(
    *,
    model: ModelName,
    write: Annotated[
        str | None,
        typer.Option(
            parser=given_name,
            metavar="STACK",
            help="Put it into Pulumi.STACK.yaml as modelId; the rest of the file stays.",
        ),
    ] = None,
    yes: Yes = False,
    backend: BackendOption = None,
    project: Project = None,
    location: Location = None,
) -> None:
    """
    Deploy a model, so that it answers; from then on it costs by the hour.

    \b
    Examples:
      inspection model deploy castings
      inspection model deploy castings --write dev

    Exit code: 0 it answers, 1 refused or failed, 2 wrong usage, 130 interrupted.
    """  # noqa: D301  # as above
    with reported_errors():
        file = stack_file(write, Path.cwd()) if write is not None else None
        if file is not None:
            check_model_id(file)
        service, found = find_model(model, backend, project, location)
        if not found.model_id:
            print_line(f"A deployed model costs {hourly_cost(service)}")
            confirm("Deploy it?", yes=yes)
            operation = service.begin_deploy(found)
            watch("Deploying", lambda: service.progress(operation))
            found = service.find_model(found.name)
        print_line(f"Deployed: {found.name}")
        if write is None or file is None:
            print_line(f"For Pulumi.<stack>.yaml:\n\n  {MODEL_ID}: {found.model_id}")
        else:
            write_model_id(file, str(found.model_id))
            print_line(f"Written to {file}: modelId is {found.model_id}. {to_put_into_force(write)}")


def undeploy(
    *,
    model: ModelName,
    yes: Yes = False,
    backend: BackendOption = None,
    project: Project = None,
    location: Location = None,
) -> None:
    """
    Undeploy a model: it costs nothing more, and no longer answers.

    Pictures of a line that uses it become dead letters until another answers.

    \b
    Example:
      inspection model undeploy castings

    Exit code: 0 undeployed, 1 refused or failed, 2 wrong usage, 130 interrupted.
    """  # noqa: D301  # as above
    with reported_errors():
        service, found = find_model(model, backend, project, location)
        if not found.model_id:
            fail(f"{found.name} is not deployed")
        print_line(
            f"This saves {hourly_cost(service)}\nA stack whose modelId is {found.model_id} gets no more answers."
        )
        confirm("Undeploy it?", yes=yes)
        operation = service.begin_undeploy(found)
        watch("Undeploying", lambda: service.progress(operation))
        print_line(f"Undeployed: {found.name}")
