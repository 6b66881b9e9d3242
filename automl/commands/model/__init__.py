"""`inspection model`: train, cancel, deploy, evaluate, predict, undeploy, delete; one module for each topic."""

import typer

from automl.commands.model import delete, deployment, evaluate, predict, train

__all__ = ["mount"]


def mount(app: typer.Typer) -> None:
    """Add the commands in the order of a model's life."""
    for command in (
        train.train,
        train.cancel,
        deployment.deploy,
        evaluate.evaluate,
        predict.predict,
        deployment.undeploy,
        delete.delete,
    ):
        app.command()(command)
