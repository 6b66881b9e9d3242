"""What a classifier sees of a picture: a row of numbers, the same for every size and format.

Made for round parts on a plain ground: what does not repeat round the part's centre (spots, lines) and where the outline
strays from a circle; the strongest few values count, because a defect is small and may sit anywhere. Gradients by place and
colours let it tell whole objects apart as well.
"""

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from imaging.bounded import UnusableImageError
from imaging.prepare import prepare

SIZE = 300
"""Pixels both ways at which a picture is looked at."""

Map = NDArray[np.floating[Any]]

_REACH = (0.16, 0.985)
"""Shares of the part's radius: from within the hub to within the edge."""
_SCALES = (0.8, 1.4, 2.4)
"""Pixels: hairlines, specks, pits."""
_RANKS = (2, 8, 32, 128)
"""How many of the strongest pixels are averaged."""
_ANGLES = 512
_OUTLINE_ANGLES = 256
_RADII = 128
_FOLDS = (4, 5, 6, 7, 8, 9, 10, 11, 12)
"""How many blades, arms or bolts a part may have."""
_SLOW = 3
"""Harmonics up to this one are light and shade."""
_FINEST = 64
"""Harmonics from this one on are too fine to tell the number of blades."""
_BANDS = ((4, 50), (50, 106), (106, 126))
"""Rows of the unrolled part that are looked at by themselves: inner face, outer face, rim."""
_CELLS = 4
_ORIENTATIONS = 8


class UnreadablePictureError(ValueError):
    """Bytes that are no picture."""


def features(picture: bytes) -> NDArray[np.float32]:
    """One row of numbers for an image in any format that the line reads, from the pixels that the line sends.

    Raises:
        UnreadablePictureError: the bytes are no picture, or a broken one.
    """
    grey, colours = _read(picture)
    centre_y, centre_x, radius, outline = _outline(grey)
    noise = float(np.median(np.abs(np.diff(grey[SIZE // 4 : -SIZE // 4 : 2], axis=1))))
    row: list[float] = [*colours, radius / SIZE, *outline, noise]
    unrolled = _unrolled(grey, centre_y, centre_x, radius)
    for scale in _SCALES:
        for response in _responses(unrolled, scale):
            for first, last in _BANDS:
                row.extend(_strongest(response[first:last].ravel()))
    row.extend(_gradients(grey))
    return np.asarray(row, dtype=np.float32)


def _read(picture: bytes) -> tuple[Map, list[float]]:
    try:
        jpeg = prepare(picture)
    except UnusableImageError as error:
        raise UnreadablePictureError(f"the bytes cannot be read as an image: {error}") from error
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        image.draft("RGB", (SIZE, SIZE))
        small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    hsv = np.asarray(small.resize((16, 16)).convert("HSV"), dtype=np.float32).reshape(-1, 3) / 255
    grey = np.asarray(small.convert("L"), dtype=np.float32) / 255
    # Exposure is the camera's, not the part's.
    bright = float(np.percentile(grey[::4, ::4], 90)) + 0.05
    return grey / bright, [bright, *hsv.mean(axis=0).tolist(), *hsv.std(axis=0).tolist()]


def _outline(grey: Map) -> tuple[float, float, float, list[float]]:
    """The circle that fits the part best, and how far its outline strays from it."""
    blurred = ndimage.uniform_filter(grey, 3)
    # Halfway between ground and part.
    mask = blurred > (np.percentile(blurred, 5) + np.percentile(blurred, 60)) / 2
    area = max(1, int(mask.sum()))
    ys, xs = np.nonzero(mask) if mask.any() else (np.array([SIZE / 2]), np.array([SIZE / 2]))
    y, x, radius = float(ys.mean()), float(xs.mean()), max(8.0, math.sqrt(area / math.pi))
    angles = np.linspace(0, 2 * math.pi, _OUTLINE_ANGLES, endpoint=False, dtype=np.float32)
    strays = np.zeros(_OUTLINE_ANGLES)
    for _ in range(2):
        steps = np.arange(-0.22 * radius, 0.12 * radius, 0.5)
        reach = radius + steps[:, None]
        lit = ndimage.map_coordinates(
            blurred,
            [y + reach * np.sin(angles), x + reach * np.cos(angles)],
            order=1,
            mode="nearest",
            output=np.float32,
        )
        level = (np.median(lit[:4]) + np.median(lit[-4:])) / 2
        # The first step outward at which the light falls below the level is the edge.
        edge = radius + steps[np.argmax(lit < level, axis=0)]
        centred = edge - np.median(edge)
        shift_y, shift_x = 2 * np.mean(centred * np.sin(angles)), 2 * np.mean(centred * np.cos(angles))
        y, x, radius = y + float(shift_y), x + float(shift_x), float(np.median(edge))
        strays = edge - radius
    strays = strays - ndimage.median_filter(strays, 31, mode="wrap")
    inward = np.sort(strays)
    return y, x, radius, [*(float(v) for v in inward[[0, 1, 4, 10]]), float(inward[-1]), float(strays.std())]


def _unrolled(grey: Map, y: float, x: float, radius: float) -> Map:
    """The part with what repeats round its centre taken out; rows are radii, columns angles.

    Rims are the same at every angle and blades come back `fold` times: they are the harmonics that are multiples of
    `fold`. A lamp at the side tilts each of these by one harmonic. What is left does not belong to the part's shape.
    """
    angles = np.linspace(0, 2 * math.pi, _ANGLES, endpoint=False, dtype=np.float32)
    reach = (radius * np.linspace(*_REACH, _RADII, dtype=np.float32))[:, None]
    unrolled = ndimage.map_coordinates(
        grey, [y + reach * np.sin(angles), x + reach * np.cos(angles)], order=1, output=np.float32
    )
    spectrum = np.fft.rfft(unrolled, axis=1)
    harmonics = np.arange(spectrum.shape[1])
    power = np.log((np.abs(spectrum) ** 2).sum(axis=0) + 1e-9)
    fine = (harmonics > _FOLDS[-1]) & (harmonics < _FINEST)
    fold = max(_FOLDS, key=lambda n: power[fine & np.isin(harmonics % n, (0, 1, n - 1))].mean())
    repeats = np.isin(harmonics % fold, (0, 1, fold - 1)) | (harmonics <= _SLOW)
    spectrum[:, repeats] = 0
    residue = np.fft.irfft(spectrum, _ANGLES, axis=1)
    # Edges are never taken out wholly: a deviation counts against what is usual at its radius.
    usual = ndimage.gaussian_filter1d(np.median(np.abs(residue), axis=1), 1.0)
    return (residue / (usual[:, None] + 0.004)).astype(np.float32)


def _responses(grey: Map, scale: float) -> list[Map]:
    """Dark spots, bright spots, dark lines, bright lines."""
    smooth = ndimage.gaussian_filter(grey, scale, truncate=3)
    spots = smooth - ndimage.gaussian_filter(smooth, 2 * scale, truncate=2.5)
    yy = np.zeros_like(smooth)
    xx = np.zeros_like(smooth)
    yy[1:-1] = smooth[2:] - 2 * smooth[1:-1] + smooth[:-2]
    xx[:, 1:-1] = smooth[:, 2:] - 2 * smooth[:, 1:-1] + smooth[:, :-2]
    xy = np.zeros_like(smooth)
    xy[1:-1, 1:-1] = (smooth[2:, 2:] - smooth[2:, :-2] - smooth[:-2, 2:] + smooth[:-2, :-2]) / 4
    middle, spread = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
    return [-spots, spots, middle + spread, spread - middle]


def _strongest(values: Map) -> list[float]:
    """Means of the strongest few, which are few wherever they are, and the spread of the rest."""
    most = min(_RANKS[-1], values.size)
    top = np.sort(np.partition(values, values.size - most)[values.size - most :])[::-1]
    spread = float(values.std()) + 1e-6
    means = [float(top[:rank].mean()) for rank in _RANKS]
    return [*means, spread, means[1] / spread]


def _gradients(grey: Map) -> list[float]:
    """Directions of edges by place: a coarse histogram of oriented gradients."""
    small = Image.fromarray(grey.astype(np.float32)).resize((64, 64), Image.Resampling.BOX)
    dy, dx = np.gradient(np.asarray(small, dtype=np.float32))
    strength = np.hypot(dy, dx)
    direction = ((np.arctan2(dy, dx) % math.pi) / math.pi * _ORIENTATIONS).astype(np.intp) % _ORIENTATIONS
    place = np.arange(64) * _CELLS // 64
    cell = place[:, None] * _CELLS + place[None, :]
    counts = np.bincount(
        (cell * _ORIENTATIONS + direction).ravel(), strength.ravel(), minlength=_CELLS * _CELLS * _ORIENTATIONS
    )
    return (counts / (counts.sum() + 1e-6)).tolist()
