"""A heat map: a small square grid that says where in an image the model saw what it answered, as text.

`14:` and 14 * 14 bytes in base64, row by row from the top left; 0 is nothing, 255 the most that a trainer expects. Small,
as it travels in each prediction message and in the metadata of each object.
"""

import base64
import binascii
from collections.abc import Sequence

MAX_BYTES = 400
"""Of the text; more than the largest grid has."""

MAX_SIDE = 16


def write_heat_map(rows: Sequence[Sequence[float]]) -> str:
    """The text of a square grid of shares from 0 to 1; what lies beyond is taken for 0 or 1.

    Raises:
        ValueError: it is not square, or larger than 16 by 16.
    """
    side = len(rows)
    if not 1 <= side <= MAX_SIDE or any(len(row) != side for row in rows):
        message = f"a heat map of {side} rows; allowed is a square of 1 to {MAX_SIDE}"
        raise ValueError(message)
    levels = bytes(min(255, max(0, round(255 * share))) for row in rows for share in row)
    return f"{side}:{base64.b64encode(levels).decode()}"


def read_heat_map(text: str) -> list[list[int]]:
    """The rows, each level from 0 to 255.

    Raises:
        ValueError: the text is not a heat map.
    """
    side_text, colon, data = text.partition(":")
    try:
        if len(text) > MAX_BYTES or not colon or not side_text.isascii() or not side_text.isdigit():
            raise ValueError  # noqa: TRY301 - one text for all
        side, levels = int(side_text), base64.b64decode(data, validate=True)
        if not 1 <= side <= MAX_SIDE or len(levels) != side * side:
            raise ValueError  # noqa: TRY301 - one text for all
    except (ValueError, binascii.Error):
        message = f"{text[:100]!r} is not a heat map; allowed is N: and N * N bytes in base64, N from 1 to {MAX_SIDE}"
        raise ValueError(message) from None
    return [list(levels[row * side : (row + 1) * side]) for row in range(side)]
