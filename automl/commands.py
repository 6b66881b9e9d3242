"""What `inspection dataset` and `inspection model` offer; mounted by the `inspection` command."""

from automl.commands_dataset import dataset_app

__all__ = ["dataset_app"]
