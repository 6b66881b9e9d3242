"""The `inspection` command. Not deployed; hands over to the parts, whose heavy imports wait until they are needed."""

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
    epilog="Examples: inspection send part1.jpg 'part #7.png'; inspection send pictures/ --stack dev; "
    "inspection send *.jpg --to gs://my-inbound-bucket/line1"
)
def send(
    files: Annotated[
        list[Path], typer.Argument(parser=given_path, metavar="FILE|FOLDER", help="Pictures, or folders of them.")
    ],
    stack: Annotated[str | None, typer.Option(help="Send to the inbound bucket of this deployed Pulumi stack.")] = None,
    to: Annotated[str | None, typer.Option(help="Send to this bucket: gs://BUCKET or gs://BUCKET/FOLDER.")] = None,
    at_once: Annotated[int, typer.Option(help="Uploads at the same time.", min=1, max=10)] = 8,
) -> None:
    """Send pictures to the local cloud that runs here, or to a deployed stack.

    Whatever lies in a folder and is left out is named: linked folders, what
    cannot be read, what is no file; hidden files are counted. What was not sent
    is named. Send only that again: a picture that is sent twice lands twice.

    Exit code 0: all are sent. 1: at least one is not, or was left out.
    2: the command was given wrongly. 130: it was stopped by Ctrl-C.
    """
    from cli.send import run

    run(files, stack=stack, to=to, at_once=at_once)


@app.command(
    epilog="Examples: inspection redrive; inspection redrive --yes; inspection redrive --stack production --older-than 120"
)
def redrive(
    stack: Annotated[str | None, typer.Option(help="Of this deployed Pulumi stack, not of the local cloud.")] = None,
    older_than: Annotated[
        int,
        typer.Option(
            help="Minutes after which a picture in the inbound bucket counts as waiting.",
            min=0,
            max=5_256_000,  # ten years
        ),
    ] = 60,
    yes: Annotated[bool, typer.Option("--yes", help="Send again what waits, without asking.")] = False,
    discard_malformed: Annotated[
        bool,
        typer.Option("--discard-malformed", help="Also delete, for good, dead letters that no function can read."),
    ] = False,
    show: Annotated[int, typer.Option(help="At most so many lines; the rest is counted.", min=0)] = 50,
) -> None:
    """Show the dead letters, and what lies in the inbound bucket for too long, each with the reason; send it again.

    Without --yes it asks on a terminal, and changes nothing elsewhere. Sending twice does no harm.
    Exit code 0: nothing waits, or all was sent again. 1: something still waits. 2: the command was given wrongly.
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
