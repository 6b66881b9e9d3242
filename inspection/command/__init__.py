"""The `inspection` command. Not deployed; hands over to the parts, whose heavy imports wait until they are needed."""

from pathlib import Path
from typing import Annotated

import typer

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
    files: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    stack: Annotated[str | None, typer.Option(help="Send to the inbound bucket of this deployed Pulumi stack.")] = None,
    to: Annotated[str | None, typer.Option(help="Send to this bucket: gs://BUCKET or gs://BUCKET/FOLDER.")] = None,
    at_once: Annotated[int, typer.Option(help="Uploads at the same time.", min=1, max=10)] = 8,
) -> None:
    """Send pictures to the local cloud that runs here, or to a deployed stack.

    Exit code 0: all are there. 1: at least one is not. 2: the command was given wrongly.
    """
    from inspection.command.send import run

    run(files, stack=stack, to=to, at_once=at_once)


def main() -> None:
    """Run the command line."""
    # Here, as the parts use modules of this package.
    from automl.commands import dataset_app, model_app
    from local.commands import local_app

    app.add_typer(local_app, name="local")
    app.add_typer(dataset_app, name="dataset")
    app.add_typer(model_app, name="model")
    app()
