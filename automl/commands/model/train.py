"""`inspection model train` and `cancel`."""

import re
from pathlib import Path
from typing import Annotated

import typer

from automl.commands.model.costs import confirm_cost
from automl.commands.model.options import Location, Project, Yes
from automl.commands.model.plan import check_plan
from automl.commands.model.terminal import print_error_line, print_line, reported_errors, watch_step
from automl.own.symmetry import Symmetry
from automl.services import training_run as training
from automl.services.choice import service_for
from automl.services.service import (
    LIMITS,
    Service,
    ServiceError,
)
from automl.stack.where import project as project_or_local
from console.arguments import INTERRUPTED, given_name, given_path
from console.errors import fail
from console.errors import reported_errors as user_errors_reported
from inspection.model_id import Backend

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_NAME_RULE = "up to 32 letters, digits and '_', beginning with a letter"


def train(  # typer's help tells the arguments
    *,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMPORT_FILE...",
            help="gs://..., from `inspection dataset`; several are put together. --backend own also takes a folder "
            "with a sub-folder for each label.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help=f"Of data set and model: {_NAME_RULE}.")],
    budget: Annotated[int, typer.Option(metavar="NODE_HOURS", help="At most so much is trained: 8 to 800.")] = 8,
    backend: Annotated[
        Backend | None,
        typer.Option(
            help="AutoML Vision, AutoML on Vertex AI, or own: a model file, trained here. Default: whose format the "
            "import file has."
        ),
    ] = None,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="A picture may have several labels. (JSON Lines say it themselves.)")
    ] = False,
    yes: Yes = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training of that name.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(parser=given_path, metavar="FILE", help="own: where the model goes. Default: NAME.onnx."),
    ] = None,
    only_good: Annotated[
        bool,
        typer.Option("--only-good", help="own: learn from images labelled ok alone; what looks different is defect."),
    ] = False,
    symmetry: Annotated[
        Symmetry,
        typer.Option(
            help="own: how a part may lie and still be the same: as it does, mirrored too, or turned in any way.",
        ),
    ] = Symmetry.FLIP,
    seed: Annotated[int, typer.Option(min=0, help="own: the same images and seed give the same file.")] = 0,
    size: Annotated[int, typer.Option(metavar="PIXELS", help="own: of each side of what the model looks at.")] = 384,
    project: Project = None,
    location: Location = None,
) -> None:
    """
    Make a data set, import the pictures and train a model on them.

    What it may cost is shown and asked for before anything is begun.

    Ctrl-C at any time: what is going on goes on in the cloud. --resume shows
    it again, or takes the next step, and creates nothing twice.

    \b
    Defective parts, one label a picture:
      inspection model train gs://BUCKET/casting.csv --name castings --budget 8

    \b
    Two kinds of vehicles, several labels a picture:
      inspection model train gs://BUCKET/vehicles.csv --name vehicles \\
        --multi-label --budget 16

    \b
    On Vertex AI, and after an interruption:
      inspection model train gs://BUCKET/parts.jsonl --name parts \\
        --backend vertex --project PROJECT
      inspection model train --name parts --project PROJECT --resume

    \b
    A model of your own, on this machine; started again, it goes on where it was:
      inspection model train parts/ --name parts --backend own

    Exit code: 0 trained, 1 refused or failed, 2 wrong usage, 130 interrupted.
    """  # noqa: D301  # \b is a real backspace: click's mark for lines to keep
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is not a name: {_NAME_RULE}", param_hint="--name")
    if backend is Backend.OWN:
        from automl.commands.model.own import train_own
        from automl.own.training import Options

        options = Options(size=size, symmetry=symmetry, seed=seed, multi_label=multi_label)
        with user_errors_reported():
            try:
                train_own(files or [], out or Path(f"{name}.onnx"), options, only_good=only_good)
            except KeyboardInterrupt:
                print_error_line("Interrupted. The same command goes on where this one was.")
                raise typer.Exit(INTERRUPTED) from None
        return
    with reported_errors():
        where = project_or_local(project)
        before = training.load(name, where)
        if resume:
            if before is None:
                raise training.NotBegunError(
                    f"no training of {name!r} in {where} was begun from this folder ({training.FOLDER} has no file for it)"
                )
            service = service_for(before.backend, project=where, location=before.location)
            current = training.check_resumable(service, name, before)
            if files and tuple(files) != current.plan.files:
                raise typer.BadParameter(
                    f"it was begun with {', '.join(current.plan.files)}", param_hint="IMPORT_FILE with --resume"
                )
        else:
            backend, plan = check_plan(files or [], name, budget, backend, multi_label=multi_label)
            service = service_for(backend, project=where, location=location)
            training.check_free(service, name, before)
            confirm_cost(service, plan, yes=yes)
            current = training.Training(
                backend=backend, project=where, location=location or LIMITS[backend].location, plan=plan
            )
        _train(service, current, despite_problems=resume)


def cancel(*, name: Annotated[str, typer.Argument(parser=given_name, metavar="NAME")], project: Project = None) -> None:
    """
    Stop a training that is going on; what it has used so far is charged.

    \b
    Example:
      inspection model cancel castings

    Exit code: 0 asked to stop, 1 nothing is going on, 2 wrong usage.
    """  # noqa: D301  # as above
    with reported_errors():
        where = project_or_local(project)
        current = training.load(name, where)
        running = current.running if current else None
        if current is None or running is None:
            fail(f"nothing of {name!r} in {where} is going on that was begun from this folder")
        service_for(current.backend, project=where, location=current.location).cancel(running)
        print_line(f"Asked to stop: {running}")


def _train(service: Service, current: training.Training, *, despite_problems: bool) -> None:
    name = current.plan.name
    again = f"inspection model train --name {name} --resume"
    try:
        model = training.run(service, current, watch_step, despite_problems=despite_problems)
    except training.LeftOutError as error:
        for problem in error.problems:
            print_error_line(f"  {problem}")
        fail(
            f"{len(error.problems)} or more pictures were not imported, and nothing is trained yet. Put the import file "
            f"right and train under another name, or go on without these pictures: {again}"
        )
    except KeyboardInterrupt:
        print_error_line(f"Interrupted. What was begun goes on in the cloud; `{again}` shows it, "
              f"`inspection model cancel {name}` stops it.")  # fmt: skip
        raise typer.Exit(INTERRUPTED) from None
    except ServiceError as error:
        fail(f"{error}\nWhen that is put right, `{again}` goes on from there.")
    print_line(f"Trained: {model}\nNext: inspection model deploy {name}")
