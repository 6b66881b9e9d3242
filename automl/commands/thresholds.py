"""`inspection model thresholds`: the thresholds that cost least."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from automl.evaluation.metrics import Evaluation, MalformedEvaluationError
from automl.evaluation.thresholds import LEAST_PICTURES, Choice, Costs, Expected, LabelChoice, Outcomes, choose
from automl.stack import config as stack_config
from automl.stack.where import to_put_into_force
from console.arguments import given_name
from console.errors import fail
from inspection.routing import Thresholds

DEFAULT_COMMON = 0.8
_GOOD = "ok"
_MOST = 1e12
"""In any currency, and of seconds: sums of products of more would be infinite."""


def thresholds(
    *,
    evaluation: Annotated[
        Path,
        typer.Argument(
            metavar="EVALUATION.json", exists=True, dir_okay=False, help="From `inspection model evaluate`."
        ),
    ],
    escaped_defect: Annotated[
        float, typer.Option(min=0, max=_MOST, help="What a defect costs that is taken for good.")
    ],
    false_reject: Annotated[
        float, typer.Option(min=0, max=_MOST, help="What a good part costs that is taken for a defect.")
    ],
    reviewer_minute: Annotated[float, typer.Option(min=0, max=_MOST, help="What a minute of a reviewer costs.")],
    seconds: Annotated[float, typer.Option(min=0, max=_MOST, help="What a reviewer needs for a picture.")] = 5,
    defect: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="A label that means a defect; again for each. Default: all but 'ok'."),
    ] = None,
    defect_share: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Share of defects in production, as in 0.01. Default: the evaluation's own."
        ),
    ] = None,
    least_pictures: Annotated[
        int, typer.Option(min=1, help="No threshold is chosen on fewer pictures than this.")
    ] = LEAST_PICTURES,
    common: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="The threshold of labels without their own. Default: the stack's, or 0.8."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cost and unclear pictures against threshold, as .html, .svg or .png."),
    ] = None,
    write: Annotated[
        str | None,
        typer.Option(
            parser=given_name, metavar="STACK", help="Put the thresholds into Pulumi.STACK.yaml; the rest of it stays."
        ),
    ] = None,
) -> None:
    """
    The thresholds that cost least, from an evaluation and three costs.

    A picture's best label is sure if its score reaches that label's threshold;
    otherwise a reviewer decides, and is taken to be right. Every outcome is
    counted at its cost, in any one currency, weighted so that defects have
    their share in production.

    A threshold is never chosen on fewer than --least-pictures: so many must
    have the label as their best one, and so many of them must be sure. It is
    said instead, and the label is left as it is.

    \b
    Examples:
      inspection model thresholds evaluation.json \\
        --escaped-defect 200 --false-reject 4 --reviewer-minute 0.80
      inspection model thresholds evaluation.json --defect-share 0.01 \\
        --escaped-defect 200 --false-reject 4 --reviewer-minute 0.80 \\
        --plot thresholds.html --write dev

    Exit code: 0 every label has its threshold, 1 not every one, or something
    is wrong with a file, 2 wrong usage.
    """  # noqa: D301  # \b is a real backspace: click's mark for lines to keep
    _check_plot(plot)
    try:
        scores = Evaluation.from_json(evaluation.read_bytes())
        file = stack_config.stack_file(write, Path.cwd()) if write is not None else None
        now = _now(scores, file, common)
    except MalformedEvaluationError as error:
        fail(f"{evaluation}: {error}")
    except (stack_config.StackConfigError, OSError) as error:
        fail(str(error))
    outcomes = _outcomes(
        scores,
        Costs(
            escaped_defect=escaped_defect,
            false_reject=false_reject,
            reviewer_minute=reviewer_minute,
            seconds_a_picture=seconds,
        ),
        defect,
        defect_share,
    )
    choice = choose(outcomes, now, least_pictures=least_pictures)
    _print_choice(choice, len(scores.pictures))
    try:
        if plot is not None:
            from automl.evaluation.thresholds_plot import plot as draw

            draw(choice, plot)
            _print(f"Plot: {plot}")
        if choice.thresholds:
            _tell_stack(choice, write, file)
    except (stack_config.StackConfigError, OSError) as error:
        fail(str(error))
    if len(choice.thresholds) < len(choice.labels):
        raise typer.Exit(1)


def _check_plot(plot: Path | None) -> None:
    kinds = (".html", ".svg", ".png")
    if plot is not None and (plot.suffix not in kinds or not plot.absolute().parent.is_dir()):
        raise typer.BadParameter(f"'{plot}' is no {', '.join(kinds)} file in a folder that exists", param_hint="--plot")


def _now(scores: Evaluation, file: Path | None, common: float | None) -> Thresholds:
    """What holds before: the stack's, if one is named."""
    if file is None:
        return Thresholds(labels=scores.labels, common=DEFAULT_COMMON if common is None else common)
    stack = stack_config.read(file)
    if stack.labels and (unknown := sorted(set(scores.labels) - set(stack.labels))):
        raise stack_config.StackConfigError(
            f"the model says {unknown[0]!r}, which is none of the labels in {file} ({', '.join(stack.labels)}): "
            f"put the model's labels there first ({', '.join(scores.labels)})"
        )
    return Thresholds(
        labels=scores.labels,
        common=next(value for value in (common, stack.common, DEFAULT_COMMON) if value is not None),
        by_label=stack.by_label,
    )


def _outcomes(scores: Evaluation, costs: Costs, defect: Sequence[str] | None, defect_share: float | None) -> Outcomes:
    defects = defect or [label for label in scores.labels if label.lower() != _GOOD]
    if not defect and len(defects) == len(scores.labels):
        raise typer.BadParameter(
            f"no label is called {_GOOD!r}: say which mean a defect, of {', '.join(scores.labels)}",
            param_hint="--defect",
        )
    try:
        return Outcomes(scores, costs, defects=defects, defect_share=defect_share)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--defect / --defect-share") from None


def _print_choice(choice: Choice, pictures: int) -> None:
    console = Console()
    evidence = _table("label", "threshold", "pictures", "sure", "wrong", "wrong at most")
    evidence.title = f"Chosen from {pictures:,} pictures"
    expected = _table("best label", "escaped", "false rejects", "unclear", "cost")
    expected.title = f"Expected of 1,000 pictures, {100 * choice.defect_share:.3g} % of them defects"
    for label in choice.labels:
        name = label.label + (" (defect)" if label.is_defect else "")
        evidence.add_row(
            name,
            f"{label.threshold:g}" if label.threshold is not None else f"none ({label.in_force:g})",
            f"{label.pictures:,}",
            f"{label.sure:,}",
            f"{label.wrong:,}",
            f"{label.error_bound:.1%}" if label.sure else "-",
        )
        expected.add_row(name, *_row(label.expected))
    expected.add_section()
    expected.add_row("all", *_row(choice.expected))
    expected.add_row("all, with what holds now", *_row(choice.before))
    console.print(evidence)
    _print("pictures: with this best label; wrong at most: of the sure ones, with 95 % confidence\n")
    console.print(expected)
    for label in choice.labels:
        if label.threshold is None:
            _print(_why_none(label, choice.least_pictures))


def _table(*columns: str) -> Table:
    table = Table(*columns, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _why_none(label: LabelChoice, least: int) -> str:
    return (
        f"No threshold for {label.label!r}: {label.pictures} of the evaluated pictures have it as their best label, and "
        f"{least} are asked for. It stays at {label.in_force:g}; evaluate on more pictures."
    )


def _row(expected: Expected) -> tuple[str, ...]:
    return (
        f"{expected.escaped:.2f}",
        f"{expected.false_rejects:.2f}",
        f"{expected.unclear:.1f}",
        f"{expected.cost:,.2f}",
    )


def _tell_stack(choice: Choice, stack: str | None, file: Path | None) -> None:
    if stack is None or file is None:
        _print(f"For Pulumi.<stack>.yaml:\n\n{stack_config.lines(choice.thresholds)}")
    else:
        stack_config.write(file, choice.thresholds)
        _print(f"Written to {file}. {to_put_into_force(stack)}")


def _print(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
