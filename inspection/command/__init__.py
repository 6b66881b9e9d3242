"""The `inspection` command. Not deployed; hands over to the parts, each imported only when it is asked for."""

import typer

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


def main() -> None:
    """Run the command line."""
    app()
