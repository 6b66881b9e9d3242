"""What the parts of the proof have in common: how they print, and the line that tells what came of it."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from rich.console import Console

WIDTH = 128
"""Of a table where nobody has a terminal: in a file, or on a page."""
SUMMARY_FILE = "PROOF_SUMMARY_FILE"
"""The environment variable that says where :mod:`proof` wants a part's last line as well."""


def report_console() -> Console:
    """Where a part prints."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


def finish(console: Console, summary: str, *, holds: bool) -> NoReturn:
    """Print a part's last line, and end with exit code 0 if all holds, 1 if it does not."""
    console.print(summary, style=None if holds else "red", markup=False)
    if file := os.environ.get(SUMMARY_FILE):
        Path(file).write_text(summary)
    sys.exit(0 if holds else 1)
