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
        float,
        typer.Option(metavar="SECONDS", min=0, max=900, help="Delay before a new grant takes effect, as at Google."),
    ] = 0,
) -> None:
    """Start everything and keep it running until Ctrl-C."""
    console = Console()
    with _running_cloud(CLOUD_HOME, console, code_when_stopped=0, grants_take_seconds=grants_take) as cloud:
        console.print(cloud.how_to_use(), highlight=False, soft_wrap=True)
        while True:
            cloud.check()
            time.sleep(1)


@local_app.command(epilog="Examples: inspection local demo --count 200; inspection local demo --images my_images/")
def demo(
    images: Annotated[
        Path | None,
        typer.Option(parser=given_path, metavar="FOLDER", help="Send the images of this folder instead of samples."),
    ] = None,
    count: Annotated[int, typer.Option(help="How many samples to send.", min=1, max=10_000)] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the samples.", min=0)] = 7,
) -> None:
    """Send images through the whole line, wait until each has landed, show where, and stop.

    Exit code 0: every image landed. 1: an image is missing or was left out, or the local cloud did not start.
    2: there is nothing to send. 130: interrupted.
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


@local_app.command("samples", epilog="Example: inspection local samples sample_images --by-label --count 300")
def make_samples(
    folder: Annotated[
        Path,
        typer.Argument(parser=given_path, metavar="FOLDER", help="An empty folder, or one to create."),
    ],
    count: Annotated[int, typer.Option(help="How many images.", min=1, max=10_000)] = 300,
    seed: Annotated[int, typer.Option(help="Seed of the images.", min=0)] = 7,
    by_label: Annotated[
        bool, typer.Option("--by-label", help="In casting_data/{train,test}/{def_front,ok_front}/, to train on.")
    ] = False,
) -> None:
    """Make images of casting-like parts, good and defective; all are computed, none is a photograph.

    The true labels are written to truth.csv beside the images' folder.
    """
    from console.progress import counting
    from local.demo.samples import write_samples

    console = Console(stderr=True)
    try:
        # Images of an earlier run would have no line in truth.csv.
        if folder.is_dir() and any(folder.iterdir()):
            raise typer.BadParameter(
                f"'{folder}' is not empty: use another folder, or remove it first", param_hint="FOLDER"
            )
        with counting("Making images", count, console=console) as done:
            pictures = write_samples(folder, count, seed, by_label=by_label, progress=lambda _done, _count: done())
    except OSError as error:
        console.print(f"Error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(f"Images: {pictures}", markup=False, highlight=False, soft_wrap=True)


@local_app.command(epilog="Example: inspection local bucket training-images")
def bucket(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, '-', '_' and '.'.")],
) -> None:
    """Create a bucket in the local cloud, as `gcloud storage buckets create` does at Google.

    Exit code 0: the bucket exists. 1: it could not be created, or no local cloud is running. 2: the name is not allowed.
    """
    from google.api_core import exceptions as api

    from console.target import outputs_of
    from console.transfer import TransferError, storage_client
    from inspection.names import BUCKET_NAME_RULE, is_bucket_name

    if not is_bucket_name(name):
        raise typer.BadParameter(f"{name!r} is not a bucket name: {BUCKET_NAME_RULE}", param_hint="NAME")
    console = Console(stderr=True)
    try:
        outputs_of(None)
        storage_client().create_bucket(name)
    except api.Conflict:
        console.print(f"Exists already: gs://{name}", highlight=False, soft_wrap=True)
    except (TransferError, api.GoogleAPIError, ValueError) as error:
        console.print(f"Error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    else:
        console.print(f"Created: gs://{name}", highlight=False, soft_wrap=True)


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
