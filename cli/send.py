"""`inspection send`: pictures into an inbound bucket, as a camera would put them there."""

import os
import signal
import stat
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import typer
from rich.console import Console

from console.arguments import INTERRUPTED
from console.files import files_below, hidden_line
from console.progress import counting
from console.target import announce_local_cloud, outputs_of
from console.transfer import TransferError, is_unicode, print_uploaded, split_uri, storage_client, upload


def send(files: Sequence[Path], *, stack: str | None, to: str | None, at_once: int) -> int:
    """Upload the files, and those of folders; returns the exit code.

    Args:
        files: a folder's files keep their names below it, so that `line1/a.jpg` of folder `line1` stays apart.
        stack: a deployed Pulumi stack, whose output names the bucket.
        to: `gs://bucket` or `gs://bucket/prefix`, if no stack does.
        at_once: uploads at the same time.

    Raises:
        TransferError: there is nothing to send, or nowhere to send it.
        typer.BadParameter: the options do not say where.
    """
    bucket, prefix = _where(stack, to)
    left_out: list[str] = []
    hidden: list[Path] = []
    named = [
        (path, f"{prefix.rstrip('/')}/{name}" if prefix else name)
        for path, name in _named(files, left_out.append, hidden.append)
    ]
    if hidden:
        typer.secho(hidden_line(hidden), err=True)
    for line in left_out:
        typer.secho(f"Left out: {line}", err=True)
    if not named:
        raise TransferError("there is no file in what was given")
    client = storage_client()
    with _interruptible() as interrupted, counting(f"Sending to gs://{bucket}", len(named)) as progress:
        files_until = takewhile(lambda _: not interrupted.is_set(), named)
        uploaded = upload(files_until, client.bucket(bucket), at_once=at_once, progress=progress)
    print_uploaded(uploaded, advice="")
    not_tried = named[uploaded.sent + uploaded.already_there + uploaded.failed :]
    if not_tried:
        first, _ = not_tried[0]
        typer.secho(
            f"Not sent: {len(not_tried):,}, from {first} on, in the order of the names "
            "(a folder's own files before those of the folders in it)",
            err=True,
        )
    if left_out or uploaded.failed or not_tried:
        # The line takes pictures out of the bucket, so that nobody can tell from it which were sent before.
        typer.secho("Send only what is named above again: a picture that is sent twice lands twice.", err=True)
    if interrupted.is_set():
        return INTERRUPTED
    return 1 if left_out else uploaded.exit_code


@contextmanager
def _interruptible() -> Generator[threading.Event, None, None]:
    """The first Ctrl-C lets what is under way get through, as only then can be told what was sent; the next one does not."""
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        if interrupted.is_set():
            Console(stderr=True).show_cursor()  # which a progress bar hides
            os._exit(INTERRUPTED)
        interrupted.set()
        # Python's own streams may be in the middle of a line.
        os.write(
            2, b"\nStopping when what is under way is through. Ctrl-C again: at once, and nobody knows what was sent.\n"
        )

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _where(stack: str | None, to: str | None) -> tuple[str, str]:
    """The bucket and the prefix in it; the clients are then pointed to the cloud that has it."""
    if to is None:
        return split_uri(outputs_of(stack, otherwise=", or the bucket: --to gs://BUCKET")["inboundBucket"])
    if stack is not None:
        raise typer.BadParameter("either --stack or --to says where the pictures go, not both", param_hint="--to")
    try:
        bucket, prefix = split_uri(to)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None
    announce_local_cloud()
    return bucket, prefix


def _named(
    files: Sequence[Path], left_out: Callable[[str], None], hidden: Callable[[Path], None]
) -> list[tuple[Path, str]]:
    named: list[tuple[Path, str]] = []
    by_name: dict[str, Path] = {}
    for path, name in _found(files, left_out, hidden):
        if not is_unicode(name):
            left_out(f"{path}: a name that is not in UTF-8, as every object's is; rename it")
            continue
        if by_name.setdefault(name, path) != path:
            raise TransferError(
                f"{by_name[name]} and {path} would both be called {name!r} in the bucket: send their folders instead, "
                "or one after the other with --to gs://BUCKET/FOLDER"
            )
        named.append((path, name))
    return named


def _found(
    files: Sequence[Path], left_out: Callable[[str], None], hidden: Callable[[Path], None]
) -> Iterator[tuple[Path, str]]:
    """Each file, and its name in the bucket."""
    for given in files:
        try:
            kind = given.stat().st_mode
        except OSError as error:
            raise TransferError(f"{given}: {error.strerror}") from error
        if stat.S_ISDIR(kind):
            name = given.resolve().name
            for path in files_below(given, left_out, hidden):
                yield path, f"{name}/{path.relative_to(given).as_posix()}".lstrip("/")
        elif stat.S_ISREG(kind):
            yield given, given.name
        else:
            raise TransferError(f"{str(given)!r} is no file and no folder")


def run(files: Sequence[Path], *, stack: str | None, to: str | None, at_once: int) -> None:
    """:func:`send` for the command line: a mistake becomes a line of text and exit code 1, or 2 where it is the line's."""
    try:
        code = send(files, stack=stack, to=to, at_once=at_once)
    except TransferError as error:
        typer.secho(f"Error: {error}", err=True)
        code = 1
    except KeyboardInterrupt:
        typer.secho("Stopped; nothing was sent.", err=True)
        code = INTERRUPTED
    raise typer.Exit(code)
