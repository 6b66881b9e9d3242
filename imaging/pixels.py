"""A prepared JPEG made into the bytes that a model file takes: in training and in the function the same ones."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels(jpeg: bytes, size: int) -> NDArray[np.uint8]:
    """The picture squeezed into a square, sRGB: (size, size, 3)."""
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        # A large JPEG is decoded at a half, a quarter or an eighth of its size, never below twice what is wanted.
        image.draft("RGB", (2 * size, 2 * size))
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))
