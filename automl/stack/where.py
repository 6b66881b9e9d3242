"""Which cloud a command speaks to: the local one that runs here, or a project at Google."""

import os

from console.errors import UserError
from console.target import PROJECT, prefer_local_cloud
from inspection.names import LOCAL_STACK


class NowhereError(UserError):
    """Neither is named; the text says how to."""


def project(given: str | None) -> str:
    """The project to speak to, after the clients were pointed to the local cloud if none is given.

    Raises:
        NowhereError: no project is given and no local cloud runs here, or one without a name is.
    """
    if given is not None and not given.strip():
        raise NowhereError(f"{given!r} is no project: give --project PROJECT, or leave it out for the local cloud")
    found = given or prefer_local_cloud() or os.environ.get(PROJECT)
    if not found:
        raise NowhereError(
            f"no local cloud runs here (`make local` starts one); for Google give --project PROJECT or set {PROJECT}"
        )
    return found


def to_put_into_force(stack: str) -> str:
    """What is to be done so that what was written into a stack's file counts."""
    return f"To put it into force: {'start `make local` again' if stack == LOCAL_STACK else '`pulumi up`'}"
