"""Bad input at everything that takes any: counts of what became of it, and what must never be.

python -m proof.fuzz
"""

import resource
import time
from collections.abc import Callable, Iterable, Sequence

from rich.table import Table
from rich.text import Text

from proof.fuzz_functions import fuzz_functions, fuzz_whole_path
from proof.fuzz_mutations import Fuzzed
from proof.fuzz_pictures import fuzz_pictures
from proof.fuzz_review import fuzz_review
from proof.fuzz_settings import fuzz_settings
from proof.fuzz_stack_files import fuzz_stack_files
from proof.report import finish, report_console

SEED = 20_261_121
MESSAGES = 10_000
"""At each function."""
PICTURES = 2_000
"""Of each format, and as many packed."""
WHOLE_PATH = 500
"""Pictures of each format that predict reads, prepares, asks about and tells of."""
CONFIGS = 5_000
FILES = 2_000
"""At each reader of a stack's file."""
REQUESTS = 5_000

MEMORY = 6_000_000_000
"""Bytes of address space for all that runs here: what asks for more gets a MemoryError, and the machine keeps its own."""

TARGETS: Sequence[Callable[[], Iterable[Fuzzed]]] = (
    lambda: fuzz_functions(MESSAGES, SEED),
    lambda: fuzz_pictures(PICTURES, SEED),
    lambda: fuzz_whole_path(WHOLE_PATH, SEED),
    lambda: [fuzz_settings(CONFIGS, SEED)],
    lambda: fuzz_stack_files(FILES, SEED),
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
            f"{result.peak_bytes / 2**20:.0f} MiB",
            Text("none") if result.holds else Text(str(result.findings.total()), "red"),
        )
    return table


def main() -> None:
    """Print the report; exit code 1 if anything happened that must never be."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
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
    originals, peak = sum(result.originals for result in results), max(result.peak_bytes for result in results)
    total, findings = sum(result.count for result in results), sum(result.findings.total() for result in results)
    finish(
        console,
        f"{total:,} mutations, no two alike at any of {len(results)} targets, and {originals:,} good requests between them "
        f"(seed {SEED}), "
        f"{time.monotonic() - start:.0f} s, at most {peak / 2**20:.0f} MiB: {findings} findings",
        holds=not findings,
    )


if __name__ == "__main__":
    main()
