"""`inspection model evaluate`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from automl.commands.model.lookup import check_deployed, find_model
from automl.commands.model.options import BackendOption, Location, ModelName, Project
from automl.commands.model.plan import several_labels
from automl.commands.model.terminal import list_failures, print_line, reported_errors
from automl.dataset.import_reader import pictures, survey
from automl.dataset.split import Set
from console.arguments import given_name, given_path
from console.progress import counting
from console.transfer import storage_client


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
    backend: BackendOption = None,
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

    with reported_errors():
        service, found = find_model(model, backend, project, location)
        check_deployed(model, found)
        contents = survey(test)
        count = contents.pictures if every else contents.sets[Set.TEST]
        if not count:
            raise typer.BadParameter(
                f"{test} has no picture of the test set; --all asks about every one of its {contents.pictures:,}",
                param_hint="--test",
            )
        several = several_labels(test, contents, given=multi_label)
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
            print_line(f"{len(asked.pictures):,} pictures in {asked.seconds:.1f} s")
            print_line(f"Report: {out / 'report.html'}\nScores: {out / 'evaluation.json'}")
        list_failures(asked.failures, "could not be asked about")
