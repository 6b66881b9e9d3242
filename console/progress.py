"""Progress on standard error: a bar on a terminal, a plain line now and then where nobody watches."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS_BETWEEN_REFRESHES = 0.1
_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def counting(
    what: str, total: int | None = None, *, console: Console | None = None
) -> Generator[Callable[[], None], None, None]:
    """A function to call once for each thing that is done; `total` is how many there will be, where that is known.

    A line of text is written at the end too, so that a log shows how many there were. Cheap enough to be called a
    million times.
    """
    console = console or Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task(what, total=total)
    pause = _SECONDS_BETWEEN_REFRESHES if console.is_terminal else _SECONDS_BETWEEN_LINES
    count = 0
    shown = time.monotonic()

    def done() -> None:
        nonlocal count, shown
        count += 1
        if (now := time.monotonic()) - shown < pause:
            return
        shown = now
        if console.is_terminal:
            bar.update(task, completed=count)
        else:
            _print_line(console, what, count, total)

    with bar:
        yield done
    _print_line(console, what, count, total)


def _print_line(console: Console, what: str, count: int, total: int | None) -> None:
    of_total = f" of {total:,}" if total is not None else ""
    console.print(f"{what}: {count:,}{of_total}", markup=False, highlight=False)
