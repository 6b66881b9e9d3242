"""How a part may lie in front of the camera and still be the same part."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Symmetry(StrEnum):
    """As it does; mirrored too; or turned in any way."""

    NONE = "none"
    FLIP = "flip"
    ROTATE = "rotate"


TURNS = {Symmetry.NONE: (0,), Symmetry.FLIP: (0, 4), Symmetry.ROTATE: (0, 5, 2, 7)}
"""Of each symmetry, for :func:`turned`; the first leaves a picture as it is. All eight would take twice as long as these
four: as it is, turned by half, and two mirrored."""


def turned(picture: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """One of the eight ways to lay a square: quarter turns from 0 to 3, and these mirrored from 4 to 7."""
    flat = np.rot90(picture, turn % 4, axes=(0, 1))
    return np.ascontiguousarray(flat[:, ::-1] if turn >= 4 else flat)  # noqa: PLR2004 - see above
