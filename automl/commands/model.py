"""`inspection model`: train, evaluate, deploy, undeploy, predict, delete."""

import re
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from urllib3.exceptions import HTTPError

from automl.dataset.catalogue import LEAST_PICTURES
from automl.dataset.import_file import Format
from automl.dataset.import_reader import MalformedImportFileError, Survey, pictures, survey
from automl.dataset.split import Set
from automl.own.symmetry import Symmetry
from automl.picture import UnusableImageError, prepare
from automl.services import training_run as training
from automl.services.service import (
    DEPLOYED_NODE_HOUR,
    HOURS_A_MONTH,
    LIMITS,
    PRICES_FROM,
    TRAINING_NODE_HOUR,
    Model,
    NotThereError,
    Plan,
    Progress,
    Service,
    ServiceError,
    service_for,
)
from automl.stack.config import StackConfigError, stack_file
from automl.stack.model import MODEL_ID, check_model_id, write_model_id
from automl.stack.where import NowhereError, to_put_into_force
from automl.stack.where import project as project_or_local
from console.arguments import INTERRUPTED, given_name, given_path
from console.progress import counting
from console.target import PROJECT
from console.transfer import TransferError, storage_client
from inspection.model_id import Backend

_GS = "gs://"
_BACKENDS = {Format.AUTOML_CSV: Backend.AUTOML, Format.VERTEX_JSONL: Backend.VERTEX}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_NAME_RULE = "up to 32 letters, digits and '_', beginning with a letter"
_SECONDS_BETWEEN_LINES = 10.0
_TOLD = (
    NowhereError,
    ServiceError,
    training.NotBegunError,
    MalformedImportFileError,
    StackConfigError,
    TransferError,
)
"""Errors whose text is for the user."""

Project = Annotated[
    str | None,
    typer.Option(envvar=PROJECT, help="A Google Cloud project. Default: the local cloud that runs here."),
]
Location = Annotated[str | None, typer.Option(help="Where the service is asked. Default: us-central1.")]
Service_ = Annotated[
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
    name: Annotated[str, typer.Option(help=f"Of data set and model: {_NAME_RULE}.")] = "",
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
        Path | None, typer.Option(parser=given_path, metavar="FILE", help="own: where the model goes, FILE.onnx.")
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
    A model of your own, on this machine; begun again it goes on where it was:
      inspection model train parts/ --backend own --out parts.onnx

    Exit code: 0 trained, 1 refused or failed, 2 wrong usage, 130 interrupted.
    """  # noqa: D301  # \b is a real backspace: click's mark for lines to keep
    if backend is Backend.OWN:
        from automl.commands.own import train_own
        from automl.own.images import UnusableImagesError
        from automl.own.training import Options

        options = Options(size=size, symmetry=symmetry, seed=seed, multi_label=multi_label)
        with _told_errors():
            try:
                train_own(files or [], out, options, only_good=only_good)
            except UnusableImagesError as error:
                _fail(str(error))
            except KeyboardInterrupt:
                _warn("Interrupted. The same command goes on where this one was.")
                raise typer.Exit(INTERRUPTED) from None
        return
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is no name: {_NAME_RULE}", param_hint="--name")
    with _told_errors():
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
            backend, plan = _plan(files or [], name, budget, backend, multi_label=multi_label)
            service = service_for(backend, project=where, location=location)
            training.check_free(service, name, before)
            _ask_to_spend(service, plan, yes=yes)
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
    with _told_errors():
        where = project_or_local(project)
        current = training.load(name, where)
        running = current.running if current else None
        if current is None or running is None:
            _fail(f"nothing of {name!r} in {where} is going on that was begun from this folder")
        service_for(current.backend, project=where, location=current.location).cancel(running)
        _print(f"Asked to stop: {running}")


def evaluate(
    *,
    model: ModelName,
    test: Annotated[
        str,
        typer.Option(
            parser=given_name, metavar="IMPORT_FILE", help="Whose test set is asked about; gs://... or a file."
        ),
    ],
    out: Annotated[
        Path, typer.Option(parser=given_path, metavar="FOLDER", help="Where report.html and evaluation.json go.")
    ],
    every: Annotated[
        bool,
        typer.Option("--all", help="Ask about every picture, not the test set alone: to find wrong labels."),
    ] = False,
    multi_label: Annotated[bool, typer.Option("--multi-label", help="A picture may have several labels.")] = False,
    at_once: Annotated[int, typer.Option(help="Pictures asked about at the same time.", min=1, max=10)] = 8,
    backend: Service_ = None,
    project: Project = None,
    location: Location = None,
) -> None:
    """
    Ask a deployed model about a test set, and report how good it is.

    The services tell figures over their own test set, but not what the model
    said about each picture. So it is asked about each, as the line would do.
    The report shows precision, recall and F1 for each label and threshold,
    what was taken for what, and the worst mistakes with their pictures: that
    is where wrong labels show. evaluation.json has every score; thresholds are
    chosen from it.

    With --all the model is asked about pictures that it learned from, too: to
    find wrong labels in them. Its figures then look better than they are.

    \b
    Examples:
      inspection model evaluate castings --test gs://BUCKET/casting.csv \\
        --out report
      inspection model evaluate vehicles --test gs://BUCKET/vehicles.csv \\
        --all --multi-label --out report

    Exit code: 0 every picture was asked about, 1 some could not be, or nothing
    could be reported, 2 wrong usage.
    """  # noqa: D301  # as above
    from automl.evaluation import asking, report

    with _told_errors():
        service, found = _found(model, backend, project, location)
        _check_deployed(model, found)
        contents = survey(test)
        count = contents.pictures if every else contents.sets[Set.TEST]
        if not count:
            raise typer.BadParameter(
                f"{test} has no picture of the test set; --all asks about every one of its {contents.pictures:,}",
                param_hint="--test",
            )
        several = _several_labels(test, contents, given=multi_label)
        out.mkdir(parents=True, exist_ok=True)
        client = storage_client()
        rows = pictures(test, None if every else Set.TEST)
        with counting("Asking the model", count) as progress:
            asked = asking.ask(service, found, rows, client, at_once=at_once, progress=progress)
        if asked.pictures:
            scores = asking.evaluation(found.name, asked.pictures, multi_label=several)
            (out / "evaluation.json").write_text(scores.to_json(), encoding="utf-8")
            page = report.Page(
                title=found.display_name,
                source=test,
                everything=every,
                left_out=len(asked.failures),
                own=tuple(service.figures(found)),
            )
            shown = report.write(scores, page, out / "report.html", partial(asking.picture_bytes, client))
            Console().print(shown)
            _print(f"{len(asked.pictures):,} pictures in {asked.seconds:.1f} s")
            _print(f"Report: {out / 'report.html'}\nScores: {out / 'evaluation.json'}")
        _list_failures(asked.failures, "could not be asked about")


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
    backend: Service_ = None,
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
    with _told_errors():
        file = stack_file(write, Path.cwd()) if write is not None else None
        if file is not None:
            check_model_id(file)
        service, found = _found(model, backend, project, location)
        if not found.model_id:
            _print(f"A deployed model costs {_hourly(service)}")
            _confirm("Deploy it?", yes=yes)
            operation = service.begin_deploy(found)
            _watch("Deploying", lambda: service.progress(operation))
            found = service.find_model(found.name)
        _print(f"Deployed: {found.name}")
        if write is None or file is None:
            _print(f"For Pulumi.<stack>.yaml:\n\n  {MODEL_ID}: {found.model_id}")
        else:
            write_model_id(file, str(found.model_id))
            _print(f"Written to {file}: modelId is {found.model_id}. {to_put_into_force(write)}")


def undeploy(
    *,
    model: ModelName,
    yes: Yes = False,
    backend: Service_ = None,
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
    with _told_errors():
        service, found = _found(model, backend, project, location)
        if not found.model_id:
            _fail(f"{found.name} is not deployed")
        _print(f"This saves {_hourly(service)}\nA stack whose modelId is {found.model_id} gets no more answers.")
        _confirm("Undeploy it?", yes=yes)
        operation = service.begin_undeploy(found)
        _watch("Undeploying", lambda: service.progress(operation))
        _print(f"Undeployed: {found.name}")


def predict(
    *,
    model: ModelName,
    files: Annotated[list[Path], typer.Argument(parser=given_path, metavar="FILE...", help="Pictures.")],
    backend: Service_ = None,
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
    with _told_errors():
        service, found = _found(model, backend, project, location)
        _check_deployed(model, found)
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
        _list_failures(failures, "could not be asked about")


def delete(
    *,
    model: ModelName,
    data_set: Annotated[
        bool, typer.Option("--data-set", help="Its data set too; the pictures stay in their bucket.")
    ] = False,
    yes: Yes = False,
    backend: Service_ = None,
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
    with _told_errors():
        service, found = _found(model, backend, project, location)
        if found.model_id:
            _fail(f"{found.name} is deployed and may be in use: `inspection model undeploy {model}` first")
        its_data = service.find_data_set(found.display_name) if data_set else None
        _print("\n".join(["To be deleted:", found.name, *service.goes_with(found), *([its_data] if its_data else [])]))
        _confirm("Delete for good?", yes=yes)
        operation = service.begin_delete(found)
        _watch("Deleting the model", lambda: service.progress(operation))
        if its_data:
            of_data = service.begin_delete_data_set(its_data)
            _watch("Deleting the data set", lambda: service.progress(of_data))
        training.forget(found.display_name, project_or_local(project))
        _print("Deleted.")


def mount(app: typer.Typer) -> None:
    """Add the commands in the order of a model's life."""
    for command in (train, cancel, deploy, evaluate, predict, undeploy, delete):
        app.command()(command)


def _plan(
    files: Sequence[str], name: str, budget: int, backend: Backend | None, *, multi_label: bool
) -> tuple[Backend, Plan]:
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
    several = {_several_labels(file, found, given=multi_label) for file, found in zip(files, surveys, strict=True)}
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


def _several_labels(file: str, found: Survey, *, given: bool) -> bool:
    if found.multi_label is not None:
        if given and not found.multi_label:
            raise typer.BadParameter(f"{file} is for one label a picture", param_hint="--multi-label")
        return found.multi_label
    if found.several and not given:
        raise MalformedImportFileError(f"{file} {found.several} has several labels: say --multi-label if that is meant")
    return given


def _ask_to_spend(service: Service, plan: Plan, *, yes: bool) -> None:
    table = Table("may cost", "unit", "at most", title=f"{plan.name}: {service.where}", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row(
        f"training, {plan.node_hours} node hours",
        f"${TRAINING_NODE_HOUR:g} an hour",
        _dollars(plan, TRAINING_NODE_HOUR),
    )
    table.add_row("deployed later, idle too", f"${DEPLOYED_NODE_HOUR:g} an hour", f"${_monthly():,.0f} a month")
    Console().print(table)
    _print(PRICES_FROM)
    if service.backend is Backend.AUTOML and not service.is_local:
        _warn("Google shut AutoML Vision down on 2024-03-31; its successor is --backend vertex (JSON Lines).")
    if service.is_local:
        _print("The local cloud trains on this machine, in seconds: nothing is spent.")
    _confirm("Begin?", yes=yes)


def _dollars(plan: Plan, hourly: float) -> str:
    return f"${plan.node_hours * hourly:,.2f}"


def _monthly() -> float:
    return DEPLOYED_NODE_HOUR * HOURS_A_MONTH


def _hourly(service: Service) -> str:
    told = f"${DEPLOYED_NODE_HOUR:g} an hour while idle too, about ${_monthly():,.0f} a month ({PRICES_FROM})."
    return f"{told}\nIn the local cloud it costs nothing." if service.is_local else told


def _train(service: Service, current: training.Training, *, despite_problems: bool) -> None:
    name = current.plan.name
    again = f"inspection model train --name {name} --resume"
    try:
        model = training.run(service, current, watch_step, despite_problems=despite_problems)
    except training.LeftOutError as error:
        for problem in error.problems:
            _warn(f"  {problem}")
        _fail(
            f"{len(error.problems)} or more pictures were not imported, and nothing is trained yet. Put the import file "
            f"right and train under another name, or go on without these pictures: {again}"
        )
    except KeyboardInterrupt:
        _warn(f"Interrupted. What was begun goes on in the cloud; `{again}` shows it, "
              f"`inspection model cancel {name}` stops it.")  # fmt: skip
        raise typer.Exit(INTERRUPTED) from None
    except ServiceError as error:
        _fail(f"{error}\nWhen that is put right, `{again}` goes on from there.")
    _print(f"Trained: {model}\nNext: inspection model deploy {name}")


def watch_step(step: str, ask: Callable[[], Progress]) -> Progress:
    """Show one step of a training until it is done."""
    told = {
        training.DATA_SET: "Making the data set",
        training.IMPORT: "Importing pictures",
        training.TRAINING: "Training",
    }
    return _watch(told[step], ask)


def _watch(what: str, ask: Callable[[], Progress]) -> Progress:
    """Show an operation until it is done: a bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    begun = shown = time.monotonic()
    if not console.is_terminal:
        _warn(f"{what} ...")
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def tell(progress: Progress) -> None:
            nonlocal shown
            if progress.percent:
                bar.update(task, total=100, completed=progress.percent)
            if not console.is_terminal and not progress.done and time.monotonic() - shown >= _SECONDS_BETWEEN_LINES:
                shown = time.monotonic()
                percent = f"{progress.percent} %, " if progress.percent else ""
                _warn(f"{what}: {percent}{shown - begun:,.0f} s")

        done = training.wait(ask, tell)
    _warn(f"{what}: done after {time.monotonic() - begun:,.1f} s")
    return done


def _found(model: str, backend: Backend | None, project: str | None, location: str | None) -> tuple[Service, Model]:
    """The model, and the service that has it."""
    where = project_or_local(project)
    of_name = _backend_of(model)
    if backend and of_name and backend != of_name:
        raise typer.BadParameter(f"{model} is a model of {of_name}", param_hint="--backend")
    before = None if of_name else training.load(model, where)
    backend = backend or of_name or (before.backend if before else None)
    if backend is None:
        raise NotThereError(
            f"no model {model!r} in {where} was trained from this folder: give its whole resource name, or --backend"
        )
    if before and before.backend == backend:
        location = location or before.location
    if named := re.match(r"projects/[^/]+/locations/([^/]+)/", model):
        location = named[1]
    service = service_for(backend, project=where, location=location)
    trained = before.steps[training.TRAINING].result if before and before.backend == backend else ""
    return service, service.find_model(trained or model)


def _backend_of(model: str) -> Backend | None:
    """What the shape of a resource name says; None: it is a display name."""
    if re.fullmatch(r"(projects/[^/]+/locations/[^/]+/models/)?ICN\d+", model):
        return Backend.AUTOML
    return Backend.VERTEX if model.startswith("projects/") else None


def _check_deployed(text: str, model: Model) -> None:
    if not model.model_id:
        _fail(f"{model.name} is not deployed, so it does not answer: `inspection model deploy {text}` first")


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    try:
        confirmed = typer.confirm(question)
    except typer.Abort:
        _fail("nobody answers here: say --yes if that is meant; nothing was done")
    if not confirmed:
        _fail("not confirmed; nothing was done")


def _list_failures(failures: Sequence[str], what: str) -> None:
    for failure in failures:
        _warn(failure)
    if failures:
        _fail(f"{len(failures):,} {what}")


@contextmanager
def _told_errors() -> Generator[None, None, None]:
    """A line instead of a traceback for what the cloud or the disk refused."""
    try:
        yield
    except KeyboardInterrupt:
        _warn("Interrupted. What was begun at the service goes on there.")
        raise typer.Exit(INTERRUPTED) from None
    except _TOLD as error:
        _fail(str(error))
    except (api.GoogleAPIError, auth.GoogleAuthError, HTTPError, OSError) as error:
        _fail(" ".join(str(error).split()))


def _print(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def _warn(text: str) -> None:
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def _fail(message: str) -> NoReturn:
    _warn(f"Error: {message}")
    raise typer.Exit(1)
