"""Every part of the proof, or some of them, one after the other; then a summary."""

import os
import subprocess
import sys
import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from proof.report import SUMMARY_FILE, report_console

SECONDS_FOR_A_PART = 3600
"""Generous: each takes some minutes. What hangs is ended, and fails."""


class Part(StrEnum):
    """Each is a module, and a process of its own: one that fails or falls over leaves the others as they are."""

    POLICIES = "policies"
    PERMISSIONS = "permissions"
    FIRST_UP = "first_up"
    LOSSES = "losses"
    LOSSES_IN_ANY_ORDER = "losses_machine"
    FUZZ = "fuzz"
    THOUSANDS_OF_PICTURES = "losses_many"


def main(parts: Annotated[list[Part] | None, typer.Argument(help="All of them, if none is named.")] = None) -> None:
    """Show that no picture is lost, no permission is too many or missing, and no bad input hurts.

    Exit code 0 if all of it holds, 1 if anything does not.

    Examples: python -m proof, python -m proof policies fuzz
    """
    console = report_console()
    summary = Table("part", "", "what was seen", "seconds", title="Proof")
    holds = True
    with tempfile.TemporaryDirectory() as folder:
        for part in parts or list(Part):
            console.rule(part)
            file, start = Path(folder) / part, time.monotonic()
            code = _run(part, file)
            otherwise = "did not end" if code is None else f"ended with exit code {code}, without a word"
            seen = file.read_text() if file.exists() else otherwise
            verdict = "[green]holds[/green]" if code == 0 else "[red]FAILED[/red]"
            summary.add_row(part, verdict, seen, f"{time.monotonic() - start:.0f}")
            holds = holds and code == 0
    console.print(summary)
    sys.exit(0 if holds else 1)


def _run(part: Part, summary: Path) -> int | None:
    """Its exit code; None if it had to be ended."""
    command, environment = [sys.executable, "-m", f"proof.{part}"], {**os.environ, SUMMARY_FILE: str(summary)}
    try:
        return subprocess.run(command, env=environment, check=False, timeout=SECONDS_FOR_A_PART).returncode
    except subprocess.TimeoutExpired:
        return None


if __name__ == "__main__":
    typer.run(main)
