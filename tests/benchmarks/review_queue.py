"""What the review app's queue costs with a small and with a large backlog, and the requests of a decision.

python -m tests.benchmarks.review_queue
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from inspection import layout
from inspection.environment import STORAGE_EMULATOR
from local.google.storage.store import ObjectStore
from tests.support.gate import ScriptedGate
from tests.webapp.review_line import JPEG, IapKey, Line, Page, let_counting_end, new_line, storage_server
from webapp import picture

SMALL, LARGE = 1_000, 100_000
ROUNDS = 60
PICTURES = 5
"""In one request of the page."""

ALLOWED_RATIO = 1.2

console = Console()


@dataclass
class PageCost:
    """Milliseconds and storage requests of one page of the queue, by backlog."""

    page: str
    milliseconds: dict[int, float]
    requests: dict[int, int]

    @property
    def ratio(self) -> float:
        """How many times more a page costs with the large backlog."""
        return self.milliseconds[LARGE] / self.milliseconds[SMALL]


@contextmanager
def _lines(folder: Path) -> Generator[dict[int, Line]]:
    gate, iap = ScriptedGate(once=True), IapKey()
    with ObjectStore(folder) as store, storage_server(store, gate) as address:
        with patch.dict(os.environ, {STORAGE_EMULATOR: address}):
            lines = {backlog: new_line(address, gate, iap, f"backlog-{backlog}", folder) for backlog in (SMALL, LARGE)}
        for backlog, line in lines.items():
            with console.status(f"Laying out {backlog:,} pictures"):
                _fill(store, line, backlog)
        with lines[SMALL].client, lines[LARGE].client:
            yield lines


def _fill(store: ObjectStore, line: Line, backlog: int) -> None:
    """Straight into the store: through its API this would take minutes."""
    bucket = str(line.bucket.name)
    content = store.new_content()
    content.write(JPEG)
    store.insert(bucket, "seed", content, {"contentType": "image/jpeg"})
    for number in range(backlog):
        name = _name(number)
        metadata = {
            layout.PREDICTION_LABEL: "defect",
            layout.PREDICTION_SCORE: "0.61",
            layout.MODEL: "ICN1",
            layout.SOURCE: layout.source_uri("inbound", name, number + 1),
        }
        store.rewrite(
            (bucket, "seed"), (bucket, f"unclear/{name}"), {"contentType": "image/jpeg", "metadata": metadata}
        )


def _name(number: int) -> str:
    return f"shift-{number // 1000:03}/part-{number:06}.jpg"


def measure() -> tuple[list[PageCost], list[str]]:
    """The first and a middle page's cost at both backlogs, and the storage requests of one decision."""
    with tempfile.TemporaryDirectory() as folder, _lines(Path(folder)) as lines:
        pages = {backlog: line.page() for backlog, line in lines.items()}
        for page in pages.values():
            page.get("/api/session")  # starts the count of waiting pictures, which is not the queue's cost
        let_counting_end()
        # Half-way, as the answer before it would have given it.
        middles = {backlog: picture.encode(0, f"unclear/{_name(backlog // 2)}") for backlog in lines}
        costs = [
            _cost("first", lines, pages, dict.fromkeys(lines)),
            _cost("in the middle", lines, pages, middles),
        ]
        [shown] = pages[LARGE].pictures(1)
        with lines[LARGE].requests() as decision:
            pages[LARGE].decide(shown).raise_for_status()
    return costs, decision


def _cost(title: str, lines: dict[int, Line], pages: dict[int, Page], cursors: Mapping[int, str | None]) -> PageCost:
    times: dict[int, list[float]] = {backlog: [] for backlog in lines}
    requests: dict[int, int] = {}
    for _ in range(ROUNDS):
        # By turns, so that whatever else this machine does touches both alike.
        for backlog, line in lines.items():
            with line.requests() as methods:
                start = time.perf_counter()
                answer = pages[backlog].queue(PICTURES, cursors[backlog])
                times[backlog].append((time.perf_counter() - start) * 1000)
            if len(answer["pictures"]) != PICTURES:
                raise RuntimeError(f"{PICTURES} pictures were asked for, {len(answer['pictures'])} came")
            requests[backlog] = len(methods)
    medians = {backlog: statistics.median(taken) for backlog, taken in times.items()}
    return PageCost(page=title, milliseconds=medians, requests=requests)


def main() -> None:
    """Print the figures; 1 if a page costs more with the large backlog than allowed."""
    costs, decision = measure()
    table = Table("page of the queue", f"at {SMALL:,}", f"at {LARGE:,}", "times", title="Review: cost of a page")
    for cost in costs:
        at = {
            backlog: f"{cost.milliseconds[backlog]:.1f} ms, {cost.requests[backlog]} requests"
            for backlog in (SMALL, LARGE)
        }
        table.add_row(cost.page, at[SMALL], at[LARGE], f"{cost.ratio:.2f} (at most {ALLOWED_RATIO})")
    console.print(table)
    console.print(f"Requests to the storage for a decision: {len(decision)} ({', '.join(decision)})")
    sys.exit(any(cost.ratio > ALLOWED_RATIO for cost in costs) or len(decision) != 2)  # claim and move


if __name__ == "__main__":
    main()
