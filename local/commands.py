"""`inspection local`: the line on this machine. Heavy imports wait until a command is really run."""

import os
import platform
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from console.arguments import INTERRUPTED, given_path
from console.files import files_below

if TYPE_CHECKING:
    from local.cloud import LocalCloud

HOME = Path(".local")
CLOUD_HOME = HOME / "cloud"
"""Of the cloud that `up` keeps running; `inspection send` finds it there."""

local_app = typer.Typer(
    no_args_is_help=True, help="The whole line on this machine, run from the program that deploys it."
)


@local_app.command(epilog="Example: inspection local up")
def up(
    grants_take: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, max=900, help="Let new grants take effect so late, as at Google.")
    ] = 0,
) -> None:
    """Start everything and keep it running until Ctrl-C."""
    console = Console()
    with _running_cloud(CLOUD_HOME, console, code_when_stopped=0, grants_take_seconds=grants_take) as cloud:
        console.print(cloud.how_to_use(), highlight=False, soft_wrap=True)
        while True:
            cloud.check()
            time.sleep(1)


@local_app.command(epilog="Examples: inspection local demo --count 200; inspection local demo --images my_pictures/")
def demo(
    images: Annotated[
        Path | None,
        typer.Option(parser=given_path, metavar="FOLDER", help="Send the pictures of this folder instead of samples."),
    ] = None,
    count: Annotated[int, typer.Option(help="How many samples to send.", min=1, max=10_000)] = 60,
    seed: Annotated[int, typer.Option(help="The samples follow from it.", min=0)] = 7,
) -> None:
    """Send pictures through the whole line, wait until each has landed, show where, and stop.

    Exit code 0: every picture landed. 1: one is missing or was left out, or something did not start.
    2: there is nothing to send. 130: it was stopped before it could tell.
    """
    if images is not None:
        left_out: list[str] = []
        if next(files_below(images, left_out.append, lambda _path: None), None) is None:
            raise typer.BadParameter("\n".join([f"there is no file in {images}", *left_out]), param_hint="--images")
    console = Console()
    try:
        HOME.mkdir(exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix="demo-", dir=HOME))
    except OSError as error:
        Console(stderr=True).print(f"Error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    try:
        with _running_cloud(home / "cloud", console, code_when_stopped=INTERRUPTED) as cloud:
            from local.demo.run import run_demo

            all_landed = run_demo(cloud, console, images=images, count=count, seed=seed)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    raise typer.Exit(0 if all_landed else 1)


@local_app.command("samples", epilog="Example: inspection local samples sample_pictures --by-label --count 300")
def make_samples(
    folder: Annotated[
        Path,
        typer.Argument(parser=given_path, metavar="FOLDER", help="Where they go: an empty folder, or one to be made."),
    ],
    count: Annotated[int, typer.Option(help="How many pictures.", min=1, max=10_000)] = 300,
    seed: Annotated[int, typer.Option(help="The pictures follow from it.", min=0)] = 7,
    by_label: Annotated[
        bool, typer.Option("--by-label", help="In casting_data/{train,test}/{def_front,ok_front}/, to train on.")
    ] = False,
) -> None:
    """Make pictures of casting-like parts, good and defective ones: nothing here is a photograph.

    The truth about them goes into truth.csv beside the pictures' folder.
    """
    from console.progress import counting
    from local.demo.samples import write_samples

    console = Console(stderr=True)
    try:
        # Pictures of an earlier run would stand there without their line in truth.csv.
        if folder.is_dir() and any(folder.iterdir()):
            raise typer.BadParameter(
                f"'{folder}' is not empty: give another folder, or remove it first", param_hint="FOLDER"
            )
        with counting("Making pictures", count, console=console) as done:
            pictures = write_samples(folder, count, seed, by_label=by_label, progress=lambda _done, _count: done())
    except OSError as error:
        console.print(f"Error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(f"Pictures: {pictures}", markup=False, highlight=False, soft_wrap=True)


@local_app.command(epilog="Example: inspection local bucket training-pictures")
def bucket(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, '-', '_' and '.'.")],
) -> None:
    """Make a bucket in the local cloud that runs here, as `gcloud storage buckets create` does at Google.

    Exit code 0: it is there. 1: it could not be made, or no local cloud runs here. 2: it has no name that a bucket can have.
    """
    from google.api_core import exceptions as api

    from console.target import outputs_of
    from console.transfer import TransferError, storage_client
    from inspection.names import BUCKET_NAME_RULE, is_bucket_name

    if not is_bucket_name(name):
        raise typer.BadParameter(f"{name!r} is no bucket's name: {BUCKET_NAME_RULE}", param_hint="NAME")
    console = Console(stderr=True)
    try:
        outputs_of(None)
        storage_client().create_bucket(name)
    except api.Conflict:
        console.print(f"There already: gs://{name}", highlight=False, soft_wrap=True)
    except (TransferError, api.GoogleAPIError, ValueError) as error:
        console.print(f"Error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    else:
        console.print(f"Made: gs://{name}", highlight=False, soft_wrap=True)


@contextmanager
def _running_cloud(
    home: Path, console: Console, *, code_when_stopped: int, grants_take_seconds: float = 0
) -> Generator["LocalCloud"]:
    """Whatever ends this process, or the `make` that started it, ends the cloud as well."""
    from local.deploy.processes import CannotStartError

    if platform.system() == "Windows":  # which has neither process groups nor SIGHUP
        message = "Error: the local cloud runs on Linux and macOS, not on Windows. Start it in WSL."
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
        raise typer.Exit(1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    started = time.monotonic()
    try:
        with console.status("Starting"):
            from local.cloud import LocalCloud
        with LocalCloud(home, grants_take_seconds=grants_take_seconds) as cloud:
            with console.status("Starting") as status:

                def say(what: str) -> None:
                    console.print(f"{time.monotonic() - started:5.1f} s  {what}", highlight=False, soft_wrap=True)
                    status.update(what)

                cloud.start(say)
            say("ready")
            yield cloud
            console.print("Stopping.")
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(code_when_stopped) from None
    except CannotStartError as error:
        Console(stderr=True).print(f"[red]Error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
