"""`inspection send`: pictures into an inbound bucket, as a camera would put them there."""

from collections.abc import Sequence
from pathlib import Path

import typer

from inspection.command.line import outputs_of
from inspection.command.progress import counting
from inspection.command.transfer import TransferError, print_uploaded, split_uri, storage_client, upload


def send(files: Sequence[Path], *, stack: str | None, to: str | None, at_once: int) -> int:
    """Upload the files, and those of folders; returns the exit code.

    Args:
        files: a folder's files keep their names below it, so that `line1/a.jpg` of folder `line1` stays apart.
        stack: a deployed Pulumi stack, whose output names the bucket.
        to: `gs://bucket` or `gs://bucket/prefix`, if no stack does.
        at_once: uploads at the same time.

    Raises:
        TransferError: there is nothing to send, or nowhere to send it.
    """
    bucket, prefix = split_uri(to or outputs_of(stack, otherwise=", or the bucket: --to gs://BUCKET")["inboundBucket"])
    named = [(path, f"{prefix.rstrip('/')}/{name}" if prefix else name) for path, name in _named(files)]
    if not named:
        raise TransferError("there is no file in what was given")
    with counting(f"Sending to gs://{bucket}", len(named)) as progress:
        uploaded = upload(named, storage_client().bucket(bucket), at_once=at_once, progress=progress)
    print_uploaded(uploaded)
    return uploaded.exit_code


def _named(files: Sequence[Path]) -> list[tuple[Path, str]]:
    named: list[tuple[Path, str]] = []
    for given in files:
        if given.is_dir():
            inside = sorted(path for path in given.rglob("*") if path.is_file())
            named += [(path, f"{given.resolve().name}/{path.relative_to(given).as_posix()}") for path in inside]
        elif given.is_file():
            named.append((given, given.name))
        else:
            raise TransferError(f"{str(given)!r} is no file and no folder")
    by_name: dict[str, Path] = {}
    for path, name in named:
        if by_name.setdefault(name, path) != path:
            raise TransferError(
                f"{by_name[name]} and {path} would both be called {name!r} in the bucket: send their folders instead, "
                "or one after the other with --to gs://BUCKET/FOLDER"
            )
    return named


def run(files: Sequence[Path], *, stack: str | None, to: str | None, at_once: int) -> None:
    """:func:`send` for the command line: a mistake becomes a line of text and exit code 1 or 2."""
    try:
        code = send(files, stack=stack, to=to, at_once=at_once)
    except (TransferError, ValueError) as error:
        typer.secho(f"Error: {error}", err=True)
        code = 1 if isinstance(error, TransferError) else 2
    raise typer.Exit(code)
