"""`inspection redrive` on a terminal: the table of what can be sent again, the question, and the result."""

import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import NoReturn

import typer
from google.api_core.exceptions import (
    Forbidden,
    GoogleAPIError,
    NotFound,
    Unauthorized,
)
from google.auth.exceptions import GoogleAuthError
from requests import RequestException
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.redrive.cloud import CHECK_NETWORK, NOTHING_LOST, LineClient
from cli.redrive.model import Found, Row
from console.target import outputs_of
from console.transfer import TransferError

_LEASED_NOT_LISTED = (
    "(Messages leased by another redrive are not listed. They return when it ends, or within ten minutes if it was "
    "killed.)"
)
_ROLES = (
    "It needs roles/pubsub.subscriber on the dead letters' subscriptions, roles/pubsub.publisher on the topics and "
    "roles/storage.objectViewer on the inbound bucket."
)
_LOG_ROLE = "Reading the functions' log needs roles/logging.viewer on the project."


@contextmanager
def _terminable() -> Generator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that what it holds is given back."""

    def end(*_: int | FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # giving back is not interrupted once more
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def redrive(stack: str | None, *, older_than: timedelta, yes: bool, discard_malformed: bool, max_rows: int) -> int:
    """Show dead letters and stranded images, and send them again after confirmation; returns the exit code.

    Args:
        stack: a deployed Pulumi stack; None is the local cloud that runs here.
        older_than: images that stay longer in the inbound bucket are stranded.
        yes: do not ask. Without it and without a terminal, nothing is changed.
        discard_malformed: delete the dead letters that no function can read. Their images, if they had any, still lie in
            the inbound bucket and are found there.
        max_rows: the largest number of rows; the rest is counted.

    Raises:
        TransferError: the cloud refuses, or the line does not exist.
    """
    console = Console()
    line = LineClient(outputs_of(stack), older_than=older_than)
    try:
        found = line.find(max_rows)
        _print(found, *line.explain(found), console)
        if not found.counts:
            console.print(f"Nothing to send again. {_LEASED_NOT_LISTED}", soft_wrap=True)
            return 0
        _print_log_location(console, stack, line.project)
        discarded = found.malformed if discard_malformed else 0
        if not (found.sendable or discarded):
            console.print(f"Nothing to send again; {found.malformed:,} malformed: see --discard-malformed.")
            return 1
        if not yes and not _confirmed(found.sendable, discarded, console):
            return 1
        sent = line.send(found, discard_malformed=discard_malformed)
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise TransferError(f"{error}\n{NOTHING_LOST} {_what_to_do(error, line)}") from error
    console.print(f"{sent.sent:,} sent again, {sent.discarded:,} discarded, {sent.left:,} left.")
    return 1 if sent.left else 0


def _what_to_do(error: Exception, line: LineClient) -> str:
    match error:
        case Forbidden() | Unauthorized() | GoogleAuthError():
            return _ROLES
        case NotFound():
            return "A part of the line does not exist: deploy it again (`pulumi up`)."
        case _:
            return f"{line.addresses} {CHECK_NETWORK}"


def _confirmed(sendable: int, discarded: int, console: Console) -> bool:
    question = f"Send {sendable:,} again" + (f" and discard {discarded:,} for good" if discarded else "")
    if sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]  # closed: `<&-`
        console.print(f"Nothing was changed. {question}: pass --yes to confirm")
        return False
    return typer.confirm(f"{question}?")


def _print(found: Found, first: list[Row], unreadable: str | None, console: Console) -> None:
    if not found.counts:
        return
    if first:
        console.print(_table(first))
        if more := found.counts.total() - len(first):
            console.print(f"... and {more:,} more")
    if unreadable is not None:
        note = f"Cloud Logging gave no reasons ({_printable(unreadable)}). {_LOG_ROLE}"
        console.print(Text(note), soft_wrap=True)
    console.print(", ".join(f"{where}: {count:,}" for where, count in found.counts.items()), highlight=False)


def _table(lines: list[Row]) -> Table:
    table = Table("where", "image", "since", "why")
    table.columns[1].overflow = table.columns[3].overflow = "fold"  # a long name or role is not cut off
    for waiting in lines:
        since = f"{waiting.since:%Y-%m-%d %H:%M:%S}Z"
        table.add_row(waiting.where, Text(_printable(waiting.image)), since, Text(_printable(waiting.why)))
    return table


def _print_log_location(console: Console, stack: str | None, project: str) -> None:
    if stack is None:
        logs = ".local/cloud/*-predict.log and .local/cloud/*-move.log"
    else:
        query = 'jsonPayload.logger=("predict" OR "move") AND severity>=WARNING'
        logs = f"gcloud logging read '{query}' --project={project} --freshness=7d (jsonPayload.image is the image)"
    console.print(f"The functions' logs: {escape(logs)}", highlight=False, soft_wrap=True)


def _printable(text: str) -> str:
    """A name may hold anything, also what a terminal obeys."""
    return text if text.isprintable() else repr(text)


def run(stack: str | None, *, older_than: timedelta, yes: bool, discard_malformed: bool, max_rows: int) -> None:
    """:func:`redrive` for the command line: a mistake becomes a line of text and exit code 1."""
    try:
        with _terminable():
            code = redrive(
                stack, older_than=older_than, yes=yes, discard_malformed=discard_malformed, max_rows=max_rows
            )
    except TransferError as error:
        typer.secho(f"Error: {error}", err=True)
        code = 1
    raise typer.Exit(code)
