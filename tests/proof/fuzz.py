"""Bad input at everything that takes any: counts of what became of it, and what must never be.

python -m tests.proof.fuzz
"""

import time
from collections.abc import Callable, Iterable, Sequence

from rich.table import Table
from rich.text import Text

from tests.proof.fuzz_functions import fuzz_functions
from tests.proof.fuzz_mutations import Fuzzed
from tests.proof.fuzz_pictures import fuzz_pictures
from tests.proof.fuzz_review import fuzz_review
from tests.proof.fuzz_settings import fuzz_settings
from tests.proof.report import finish, report_console

SEED = 20_261_121
MESSAGES = 10_000
"""At each function."""
PICTURES = 2_000
"""Of each format."""
CONFIGS = 5_000
REQUESTS = 5_000

TARGETS: Sequence[Callable[[], Iterable[Fuzzed]]] = (
    lambda: fuzz_functions(MESSAGES, SEED),
    lambda: fuzz_pictures(PICTURES, SEED),
    lambda: [fuzz_settings(CONFIGS, SEED)],
    lambda: [fuzz_review(REQUESTS, SEED)],
)


def table(results: Sequence[Fuzzed]) -> Table:
    """A row for each target."""
    table = Table("target", "mutations", "what became of them", "seconds", "slowest", "memory", "findings")
    for result in results:
        table.add_row(
            result.target,
            f"{result.count:,}",
            ", ".join(f"{outcome}: {count:,}" for outcome, count in sorted(result.outcomes.items())),
            f"{result.seconds:.0f}",
            f"{result.slowest:.2f} s",
            f"{result.peak_bytes / 2**20:.0f} MiB" if result.peak_bytes else "",
            Text("none") if result.holds else Text(str(result.findings.total()), "red"),
        )
    return table


def main() -> None:
    """Print the report; exit code 1 if anything happened that must never be."""
    console, start = report_console(), time.monotonic()
    results: list[Fuzzed] = []
    with console.status("Bad input"):
        for target in TARGETS:
            results += target()
    console.print(table(results))
    for result in results:
        for kind, count in result.findings.items():
            console.print(f"{result.target}: {kind}, {count:,} times, first by", style="red", markup=False)
            console.print(ascii(result.examples[kind]), markup=False)
    total, findings = sum(result.count for result in results), sum(result.findings.total() for result in results)
    finish(
        console,
        f"{total:,} mutations at {len(results)} targets (seed {SEED}), {time.monotonic() - start:.0f} s: {findings} findings",
        holds=not findings,
    )


if __name__ == "__main__":
    main()
