"""What `inspection dataset` and `inspection model` offer; mounted by the `inspection` command."""

import typer

from automl.commands.dataset import dataset_app
from automl.commands.model import mount
from automl.commands.thresholds import thresholds
from console.target import announce_local_cloud

__all__ = ["dataset_app", "model_app"]

model_app = typer.Typer(
    no_args_is_help=True, help="A model's life: training, how good it is, what its scores are worth."
)
mount(model_app)
model_app.command()(thresholds)


@dataset_app.callback()
def _find_local_cloud() -> None:
    """Use the buckets of the local cloud if one is running and no other is named."""
    announce_local_cloud()
