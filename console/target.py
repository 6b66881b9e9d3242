"""The line that a command uses: a deployed stack, or the local cloud on this machine."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from console.transfer import TransferError, split_uri
from inspection.environment import (
    AUTOML_EMULATOR,
    LOGGING_EMULATOR,
    PUBSUB_EMULATOR,
    STORAGE_EMULATOR,
    VERTEX_EMULATOR,
)

LOCAL_STATE = Path(".local/cloud/state.json")
"""Written by a local cloud (`make local`) when it is ready."""
LOCAL_LOCK = Path(".local/cloud.lock")
"""Locked as long as it runs; a state that it left behind when it was killed says nothing."""

PROJECT = "GOOGLE_CLOUD_PROJECT"


def outputs_of(stack: str | None, *, otherwise: str = "") -> Mapping[str, Any]:
    """The outputs of the Pulumi program; without a stack those of the local cloud, which clients then speak to.

    Args:
        stack: a deployed Pulumi stack.
        otherwise: the alternative to a stack, for the error's text.

    Raises:
        TransferError: there are none.
        typer.BadParameter: the stack has no name. (A script's variable may be empty; that does not mean the local cloud.)
    """
    if stack is None:
        return _of_local_cloud(otherwise)
    if not stack.strip():
        raise typer.BadParameter(f"{stack!r} is not the name of a stack", param_hint="--stack")
    return _of_stack(stack, otherwise)


def _is_held(lock: Path) -> bool:
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows, where the local cloud does not run
        return False
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    return False


def _of_stack(stack: str, otherwise: str) -> Mapping[str, Any]:
    if shutil.which("pulumi") is None:
        raise TransferError(f"`pulumi` is not on PATH, so the outputs of stack {stack!r} cannot be read{otherwise}")
    asked = subprocess.run(
        ["pulumi", "stack", "output", "--json", "--stack", stack], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        raise TransferError(f"Pulumi has no outputs of stack {stack!r}: {asked.stderr.strip()}")
    try:
        outputs: Mapping[str, Any] = json.loads(asked.stdout)
        split_uri(outputs["inboundBucket"])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise TransferError(
            f"stack {stack!r} has no output inboundBucket that is a bucket: deploy it first (`pulumi up`){otherwise}"
        ) from None
    return outputs


def local_state() -> Mapping[str, Any] | None:
    """The addresses, project and outputs of the local cloud that runs here; None if none does, or not yet."""
    if _is_held(LOCAL_LOCK) and LOCAL_STATE.exists():
        return json.loads(LOCAL_STATE.read_text())
    return None


def prefer_local_cloud() -> str | None:
    """Point the clients of this process at the local cloud; returns its project, or None if none is running.

    Whoever names another by these variables is left alone, and so is whoever names a project in GOOGLE_CLOUD_PROJECT.
    """
    if any(os.environ.get(name) for name in (STORAGE_EMULATOR, AUTOML_EMULATOR, VERTEX_EMULATOR, PROJECT)):
        return None
    state = local_state()
    if state is None:
        return None
    os.environ.update(
        {STORAGE_EMULATOR: state["storageUrl"], AUTOML_EMULATOR: state["automl"], VERTEX_EMULATOR: state["storageUrl"]}
    )
    os.environ[PROJECT] = state["project"]
    return state["project"]


def announce_local_cloud() -> None:
    """:func:`prefer_local_cloud`, with a line on standard error."""
    if project := prefer_local_cloud():
        notice = f"Using the buckets of the local cloud ({project}). Set {PROJECT} to use Google's."
        Console(stderr=True).print(notice, highlight=False, soft_wrap=True)


def _of_local_cloud(otherwise: str) -> Mapping[str, Any]:
    state = local_state()
    if state is None:
        raise TransferError(
            f"No local cloud is running here. Start one with `make local`, or pass --stack NAME for a deployed stack{otherwise}"
        )
    os.environ[STORAGE_EMULATOR] = state["storageUrl"]
    os.environ[PUBSUB_EMULATOR] = state["pubsubAddress"]
    os.environ[LOGGING_EMULATOR] = state["loggingUrl"]
    return state["outputs"]
