"""Waiting for an operation of a service."""

import time
from collections.abc import Callable

from automl.services.service import Progress

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0


def wait(ask: Callable[[], Progress], tell: Callable[[Progress], None]) -> Progress:
    """Call `ask` until the operation is done, at first often, then every half minute; pass each answer to `tell`."""
    pause = _FIRST_PAUSE
    while True:
        progress = ask()
        tell(progress)
        if progress.done:
            return progress
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, 1.3 * pause)
