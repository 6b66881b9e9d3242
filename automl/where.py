"""Which cloud a command speaks to: the local one that runs here, or a project at Google."""

import os

from inspection.command.line import local_state

STORAGE = "STORAGE_EMULATOR_HOST"
AUTOML = "AUTOML_EMULATOR_HOST"
VERTEX = "AIPLATFORM_EMULATOR_HOST"
PROJECT = "GOOGLE_CLOUD_PROJECT"


class NowhereError(Exception):
    """Neither is named; the text says how to."""


def prefer_local_cloud() -> str | None:
    """Let the clients of this process speak to the local cloud that runs here; its project, or None if none runs.

    Whoever names another by these variables is left alone, and so is whoever names a project in GOOGLE_CLOUD_PROJECT.
    """
    if any(os.environ.get(name) for name in (STORAGE, AUTOML, VERTEX, PROJECT)):
        return None
    state = local_state()
    if state is None:
        return None
    os.environ.update({STORAGE: state["storageUrl"], AUTOML: state["automl"], VERTEX: state["storageUrl"]})
    os.environ[PROJECT] = state["project"]
    return state["project"]


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
