"""What `inspection dataset` and `inspection model` offer; mounted by the `inspection` command."""

import typer
from rich.console import Console

from automl.commands_dataset import dataset_app
from automl.commands_model import mount
from automl.commands_thresholds import thresholds
from automl.where import PROJECT, prefer_local_cloud

__all__ = ["dataset_app", "model_app"]

model_app = typer.Typer(
    no_args_is_help=True, help="A model's life: training, how good it is, what its scores are worth."
)
mount(model_app)
model_app.command()(thresholds)


@dataset_app.callback()
def _find_local_cloud() -> None:
    """Buckets are those of the local cloud where one runs here and no other is named."""
    if project := prefer_local_cloud():
        told = f"Buckets are those of the local cloud that runs here ({project}); set {PROJECT} for Google's."
        Console(stderr=True).print(told, highlight=False, soft_wrap=True)
