"""The report of the loss proof: a row for each request, a column for each kind of failure."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from local.google.faults import Kind, When
from proof.losses_matrix import BY_ITSELF, KEPT, Cell
from proof.losses_pipeline import PIPELINE
from proof.losses_review import REVIEWING

# The report

COLUMNS = tuple(Kind)


@dataclass(kw_only=True)
class _Row:
    """One request, or several of one method after each other of which all is the same."""

    scenario: str
    when: When
    method: str
    first: int
    last: int
    shown: list[str]

    def takes(self, other: "_Row") -> bool:
        same = (self.scenario, self.when, self.method, self.shown)
        if same != (other.scenario, other.when, other.method, other.shown) or other.first != self.last + 1:
            return False
        self.last = other.last
        return True


def table(cells: Sequence[Cell]) -> Table:
    """A row for each request and side of its effect, a column for each kind of failure."""
    table = Table(title=f"{len(cells):,} ways to fail: how often each thing was then tried until it was done")
    for heading in ("what is done", "request", "fails", *COLUMNS, "every time"):
        table.add_column(heading, no_wrap=True)
    by_request: dict[tuple[str, int, When], list[Cell]] = {}
    for cell in cells:
        by_request.setdefault((cell.step.scenario.name, cell.step.number, cell.when), []).append(cell)
    rows: list[_Row] = []
    for (name, number, when), found in sorted(by_request.items(), key=lambda item: _order(item[0])):
        once = {cell.kind: cell for cell in found if not cell.every_time and cell.outcome != BY_ITSELF}
        row = _Row(
            scenario=name,
            when=when,
            method=found[0].step.method.rpartition(".")[2],
            first=number,
            last=number,
            shown=[
                *(_shown_cell([once[kind]]) if kind in once else "" for kind in COLUMNS),
                _shown_cell([cell for cell in found if cell.every_time]),
            ],
        )
        if not (rows and rows[-1].takes(row)):
            rows.append(row)
    last = ""
    for row in rows:
        numbers = f"{row.first}" if row.first == row.last else f"{row.first}-{row.last}"
        table.add_row(row.scenario if row.scenario != last else "", f"{numbers} {row.method}", row.when, *row.shown)
        last = row.scenario
    return table


def _order(row: tuple[str, int, When]) -> tuple[int, int, int]:
    name, number, when = row
    return [scenario.name for scenario in (*PIPELINE, *REVIEWING)].index(name), list(When).index(when), number


def _shown_cell(cells: Sequence[Cell]) -> str:
    if any(cell.problems for cell in cells):
        return "[red]FAILED[/red]"
    return ", ".join(sorted({"kept" if cell.outcome.startswith(KEPT) else cell.outcome for cell in cells}))


def describe(cell: Cell) -> str:
    """One line for a person."""
    step = cell.step
    often = "every time" if cell.every_time else "once"
    return (
        f"{step.scenario.name}: request {step.number} ({step.method}) fails {cell.when} its effect, {cell.kind}, {often}: "
        f"{cell.outcome}; {'; '.join(cell.problems) or 'nothing is wrong'}"
    )
