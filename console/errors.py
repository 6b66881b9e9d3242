"""Errors for users: one line on standard error and exit code 1, without a traceback."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console


class UserError(Exception):
    """An error whose text is for the user: what is wrong, the value, what is allowed and what to do."""


def fail(message: str) -> NoReturn:
    """Print an error and end the command with exit code 1."""
    Console(stderr=True).print(f"Error: {message}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


@contextmanager
def reported_errors() -> Generator[None]:
    """Print a line instead of a traceback for a :class:`UserError`, and for what the cloud or the disk refused."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except UserError as error:
        fail(str(error))
    except (GoogleAPIError, GoogleAuthError, HTTPError, OSError) as error:
        fail(" ".join(str(error).split()))
