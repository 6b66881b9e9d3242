"""What `inspection dataset` and `inspection model` offer; mounted by the `inspection` command."""

import typer

from automl.commands_dataset import dataset_app
from automl.commands_thresholds import thresholds

__all__ = ["dataset_app", "model_app"]

model_app = typer.Typer(no_args_is_help=True, help="A model's life: how good it is, and what to make of its scores.")
model_app.command()(thresholds)


@model_app.callback()
def _model() -> None:
    """Keeps `thresholds` a word of its own: an app with a single command would swallow it."""
