"""`inspection model delete`."""

from typing import Annotated

import typer

from automl.commands.model.lookup import find_model
from automl.commands.model.options import BackendOption, Location, ModelName, Project, Yes
from automl.commands.model.terminal import confirm, print_line, reported_errors, watch
from automl.services import training_run as training
from automl.stack.where import project as project_or_local
from console.errors import fail


def delete(
    *,
    model: ModelName,
    data_set: Annotated[
        bool, typer.Option("--data-set", help="Its data set too; the pictures stay in their bucket.")
    ] = False,
    yes: Yes = False,
    backend: BackendOption = None,
    project: Project = None,
    location: Location = None,
) -> None:
    """
    Delete a model that is not deployed; it cannot be had back.

    \b
    Example:
      inspection model delete castings --data-set

    Exit code: 0 deleted, 1 refused or failed, 2 wrong usage, 130 interrupted.
    """  # noqa: D301  # as above
    with reported_errors():
        service, found = find_model(model, backend, project, location)
        if found.model_id:
            fail(f"{found.name} is deployed and may be in use: `inspection model undeploy {model}` first")
        its_data = service.find_data_set(found.display_name) if data_set else None
        print_line(
            "\n".join(["To be deleted:", found.name, *service.goes_with(found), *([its_data] if its_data else [])])
        )
        confirm("Delete for good?", yes=yes)
        operation = service.begin_delete(found)
        watch("Deleting the model", lambda: service.progress(operation))
        if its_data:
            of_data = service.begin_delete_data_set(its_data)
            watch("Deleting the data set", lambda: service.progress(of_data))
        training.forget(found.display_name, project_or_local(project))
        print_line("Deleted.")
