"""What `inspection model` prints: lines, errors, questions, and the progress of a long-running operation."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from automl.services import training_run as training
from automl.services.service import (
    Progress,
)
from automl.services.waiting import wait
from console.arguments import INTERRUPTED
from console.errors import fail
from console.errors import reported_errors as user_errors_reported

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def reported_errors() -> Generator[None]:
    """:func:`console.errors.reported_errors`; after Ctrl-C, a line that says what goes on."""
    with user_errors_reported():
        try:
            yield
        except KeyboardInterrupt:
            print_error_line("Interrupted. What was begun at the service goes on there.")
            raise typer.Exit(INTERRUPTED) from None


def confirm(question: str, *, yes: bool) -> None:
    """Ask the question, and end the command unless the answer is yes."""
    if yes:
        return
    try:
        confirmed = typer.confirm(question)
    except typer.Abort:
        fail("not a terminal: pass --yes to confirm; nothing was done")
    if not confirmed:
        fail("not confirmed; nothing was done")


def list_failures(failures: Sequence[str], what: str) -> None:
    """Print each failure, and end the command with an error if there is one."""
    for failure in failures:
        print_error_line(failure)
    if failures:
        fail(f"{len(failures):,} {what}")


def watch_step(step: str, ask: Callable[[], Progress]) -> Progress:
    """Show one step of a training until it is done."""
    told = {
        training.DATA_SET: "Making the data set",
        training.IMPORT: "Importing pictures",
        training.TRAINING: "Training",
    }
    return watch(told[step], ask)


def watch(what: str, ask: Callable[[], Progress]) -> Progress:
    """Show an operation until it is done: a bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    begun = shown = time.monotonic()
    if not console.is_terminal:
        print_error_line(f"{what} ...")
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def tell(progress: Progress) -> None:
            nonlocal shown
            if progress.percent:
                bar.update(task, total=100, completed=progress.percent)
            if not console.is_terminal and not progress.done and time.monotonic() - shown >= _SECONDS_BETWEEN_LINES:
                shown = time.monotonic()
                percent = f"{progress.percent} %, " if progress.percent else ""
                print_error_line(f"{what}: {percent}{shown - begun:,.0f} s")

        done = wait(ask, tell)
    print_error_line(f"{what}: done after {time.monotonic() - begun:,.1f} s")
    return done


def print_line(text: str) -> None:
    """Print to standard output."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def print_error_line(text: str) -> None:
    """Print to standard error."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
