"""The `inspection` command. Not deployed; hands over to the parts, whose heavy imports are delayed until they are needed."""

import io
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from console.arguments import INTERRUPTED, given_path

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A visual inspection line on Google Cloud, and on your own machine.",
)


@app.command(
    epilog="Examples: inspection send part1.jpg 'part #7.png'; inspection send images/ --stack dev; "
    "inspection send *.jpg --to gs://my-inbound-bucket/line1"
)
def send(
    files: Annotated[
        list[Path], typer.Argument(parser=given_path, metavar="FILE|FOLDER", help="Images, or folders of images.")
    ],
    stack: Annotated[str | None, typer.Option(help="Send to the inbound bucket of this deployed Pulumi stack.")] = None,
    to: Annotated[str | None, typer.Option(help="Send to this bucket: gs://BUCKET or gs://BUCKET/FOLDER.")] = None,
    at_once: Annotated[int, typer.Option(help="Uploads at the same time.", min=1, max=10)] = 8,
) -> None:
    """Send images to the local cloud, or to a deployed stack.

    Entries of a folder that are left out are named: linked folders, entries
    that cannot be read, entries that are not files; hidden files are counted.
    Images that were not sent are named. Send only those again: an image that
    is sent twice lands twice.

    Exit code 0: all were sent. 1: at least one was not sent or was left out.
    2: wrong usage. 130: interrupted.
    """
    from cli.send import run

    run(files, stack=stack, to=to, at_once=at_once)


@app.command(
    epilog="Examples: inspection redrive; inspection redrive --yes; inspection redrive --stack production --older-than 120"
)
def redrive(
    stack: Annotated[
        str | None, typer.Option(help="Use this deployed Pulumi stack instead of the local cloud.")
    ] = None,
    older_than: Annotated[
        int,
        typer.Option(
            help="Minutes after which an image in the inbound bucket counts as stranded.",
            min=0,
            max=5_256_000,  # ten years
        ),
    ] = 60,
    yes: Annotated[bool, typer.Option("--yes", help="Send again without asking.")] = False,
    discard_malformed: Annotated[
        bool,
        typer.Option("--discard-malformed", help="Also delete, for good, dead letters that no function can read."),
    ] = False,
    show: Annotated[int, typer.Option(help="Maximum rows to print.", min=0)] = 50,
) -> None:
    """Show dead letters and images stranded in the inbound bucket, with reasons, and send them again.

    Without --yes it asks on a terminal, and changes nothing without one. Sending twice does no harm.
    Exit code 0: nothing is left. 1: at least one message is left. 2: wrong usage.
    """
    from cli.redrive.terminal import run

    run(
        stack,
        older_than=timedelta(minutes=older_than),
        yes=yes,
        discard_malformed=discard_malformed,
        max_rows=show,
    )


def main() -> None:
    """Run the command line."""
    # A name that the output's encoding lacks is shown with escapes, as standard error does, and ends nothing.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        # Here, as the parts use modules of this package.
        from automl.commands import dataset_app, model_app
        from local.commands import local_app
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    app.add_typer(local_app, name="local")
    app.add_typer(dataset_app, name="dataset")
    app.add_typer(model_app, name="model")
    app()
