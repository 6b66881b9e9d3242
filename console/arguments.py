"""What the commands have in common: arguments that must not be empty, and an exit code.

An empty argument is rather a script's empty variable than what is meant.
"""

from pathlib import Path

import typer

INTERRUPTED = 130
"""Exit code of what was stopped before its end, as shells have it for Ctrl-C."""


def given_path(text: str) -> Path:
    """A file or folder; an empty text would be the working directory.

    Raises:
        typer.BadParameter: the text is empty.
    """
    if not text:
        raise typer.BadParameter("'' is not a name of a file or folder; the working directory is '.'")
    return Path(text)


def given_name(text: str) -> str:
    """What a user calls a model, a stack or an address.

    Raises:
        typer.BadParameter: the text is empty, or blank.
    """
    if not text.strip():
        raise typer.BadParameter(f"{text!r} is not a name")
    return text
