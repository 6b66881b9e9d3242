"""Pictures of casting-like parts, made up from a seed: a round impeller seen from above, good or defective.

Nothing here is a photograph. A part is a height map (rim, hub, blades), lit from one side; defects and dirt are cut into
it or laid onto it. Some defects are faint and some good parts dirty, so that an honest model is unsure about them.
"""

import csv
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

OK = "ok"
DEFECT = "defect"
LABELS = (DEFECT, OK)

BLOW_HOLE = "blow hole"
CRACK = "crack"
SCRATCH = "scratch"
CHIPPED_EDGE = "chipped edge"
DEFECT_KINDS = (BLOW_HOLE, CRACK, SCRATCH, CHIPPED_EDGE)

SIZE = 300
"""Pixels, both ways."""

DEFAULT_DIFFICULTY = 0.5
TRUTH_FILE = "truth.csv"
TEST_SHARE = 0.2
FOLDERS = {DEFECT: "def_front", OK: "ok_front"}

_JPEG_QUALITY = 92
_CRACKS_FROM_RIM = 0.6
_SECOND_DEFECT = 0.2
"""How often a defective part has a second kind of defect."""
_OVERSAMPLING = 4
_BACKGROUND = 0.16
_LIGHT_STRENGTH = 0.085

Map = NDArray[np.floating]
"""float32, but for what numpy's types cannot tell."""
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A picture, and the truth about it that no model gets to see."""

    name: str
    """`casting_0001.jpeg`: says nothing about the label."""
    label: str
    """`ok` or `defect`."""
    defects: tuple[str, ...]
    """Of :data:`DEFECT_KINDS`; empty for a good part."""
    severity: float
    """0 for a good part; otherwise from barely visible (near 0) to glaring (1)."""
    jpeg: bytes


@dataclass(frozen=True)
class _Part:
    """Where the part lies in the picture; pixels and radians."""

    x: float
    y: float
    radius: float
    rotation: float
    light: float
    """Where the light comes from."""

    def at(self, share: float, angle: float) -> Point:
        """The point at a share of the radius."""
        return self.x + share * self.radius * math.cos(angle), self.y + share * self.radius * math.sin(angle)


@dataclass
class _Surface:
    """What light falls on: heights in pixels, and how much light the material throws back (1: clean metal)."""

    height: Map
    albedo: Map
    present: Map
    """1 where there is metal, 0 where the belt shows."""


def samples(
    count: int,
    *,
    seed: int,
    first: int = 1,
    difficulty: float = DEFAULT_DIFFICULTY,
    defect_share: float = 0.5,
) -> Iterator[Sample]:
    """Make `count` pictures, about half of them of defective parts; same arguments, same bytes.

    A picture depends on its number and the seed alone, not on how many are asked for.

    Args:
        count: how many.
        seed: another seed gives other parts; 0 or more.
        first: the number of the first picture.
        difficulty: 0 (glaring defects, clean parts) to 1 (many faint defects, dirty parts).
        defect_share: which share of the parts is defective, 0 to 1.

    Raises:
        ValueError: a value outside of what is allowed.
    """
    for name, share in (("difficulty", difficulty), ("defect_share", defect_share)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}; allowed is 0 to 1")
    if count < 0 or seed < 0 or first < 0:
        raise ValueError(f"count is {count}, seed {seed} and first {first}; each must be 0 or more")
    return (_sample(number, seed, difficulty, defect_share) for number in range(first, first + count))


def write_samples(
    folder: Path,
    count: int,
    seed: int,
    *,
    by_label: bool = False,
    difficulty: float = DEFAULT_DIFFICULTY,
    progress: Callable[[int, int], None] = lambda _done, _count: None,
) -> Path:
    """Write pictures and the truth about them below `folder`; gives the folder that holds the pictures.

    The pictures stand in `pictures/`, or with `by_label` in `casting_data/{train,test}/{def_front,ok_front}/` for
    training. The truth stands in `truth.csv` beside that folder, with the columns name, label, defects and severity, so
    that whoever sends the pictures does not send the answers.
    """
    pictures = folder / ("casting_data" if by_label else "pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    tests = max(1, round(1 / TEST_SHARE))
    with (folder / TRUTH_FILE).open("w", newline="", encoding="utf-8") as file:
        truth = csv.writer(file)
        truth.writerow(("name", "label", "defects", "severity"))
        for done, sample in enumerate(samples(count, seed=seed, difficulty=difficulty), start=1):
            target = pictures
            if by_label:
                target = pictures / ("test" if done % tests == 0 else "train") / FOLDERS[sample.label]
                target.mkdir(parents=True, exist_ok=True)
            (target / sample.name).write_bytes(sample.jpeg)
            truth.writerow((sample.name, sample.label, "; ".join(sample.defects), f"{sample.severity:.3f}"))
            progress(done, count)
    return pictures


def read_truth(file: Path) -> dict[str, str]:
    """The label of each picture by its name, from a `truth.csv`."""
    with file.open(newline="", encoding="utf-8") as lines:
        return {row["name"]: row["label"] for row in csv.DictReader(lines)}


def _sample(number: int, seed: int, difficulty: float, defect_share: float) -> Sample:
    rng = np.random.default_rng((seed, number))
    defective = bool(rng.random() < defect_share)
    # The difficulty bends the distributions: 0 keeps severities high and dirt low, 1 the other way round.
    severity = float(rng.beta(2.6, 0.2 + 1.6 * difficulty)) if defective else 0.0
    dirt = float(rng.beta(0.2 + 1.3 * difficulty, 3.0))
    kinds: tuple[str, ...] = ()
    if defective:
        how_many = 2 if rng.random() < _SECOND_DEFECT else 1
        kinds = tuple(str(kind) for kind in rng.choice(DEFECT_KINDS, how_many, replace=False))
    picture = _picture(rng, kinds, severity, dirt)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=_JPEG_QUALITY)
    return Sample(
        name=f"casting_{number:04d}.jpeg", label=DEFECT if defective else OK, defects=kinds, severity=severity,
        jpeg=file.getvalue(),
    )  # fmt: skip


def _picture(rng: np.random.Generator, kinds: tuple[str, ...], severity: float, dirt: float) -> NDArray[np.uint8]:
    part = _Part(
        x=SIZE / 2 + rng.uniform(-7, 7),
        y=SIZE / 2 + rng.uniform(-7, 7),
        radius=SIZE * rng.uniform(0.42, 0.465),
        rotation=rng.uniform(0, 2 * math.pi),
        light=rng.uniform(0, 2 * math.pi),
    )
    dx = np.arange(SIZE, dtype=np.float32)[None, :] - np.float32(part.x)
    dy = np.arange(SIZE, dtype=np.float32)[:, None] - np.float32(part.y)
    distance = np.sqrt(dx * dx + dy * dy)
    surface = _Surface(
        height=_heights(part, dx, dy, distance),
        albedo=_metal(rng, part, dx, dy, distance),
        present=_step(distance, part.radius + 0.7, part.radius - 0.7),
    )
    for kind in kinds:
        _DEFECTS[kind](rng, part, surface, severity)
    _soil(rng, part, surface, dirt)
    lit = _light(rng, part, surface, dx, dy)
    return _photograph(rng, lit)


def _heights(part: _Part, dx: Map, dy: Map, distance: Map) -> Map:
    """Rim, hub with its bore, and blades."""
    share = np.linspace(0, SIZE / part.radius, SIZE * 4, dtype=np.float32)
    profile = (
        7 * _step(share, 1.0, 0.955)  # the outer edge
        - 4 * _step(share, 0.845, 0.81)  # down from the rim to the face
        + 7 * _step(share, 0.33, 0.275)  # up to the hub
        - 11 * _step(share, 0.135, 0.115)  # the bore
    )
    heights = _by_distance(profile, distance)
    blades = 7
    sweep = 1.5 * np.log(np.maximum(distance / np.float32(part.radius), 0.05))
    wave = np.cos(blades * (np.arctan2(dy, dx) - part.rotation - sweep))
    reach = _by_distance(_step(share, 0.36, 0.42) * _step(share, 0.79, 0.74), distance)
    return heights + np.float32(3.2) * reach * _step(wave, 0.45, 0.8)


def _metal(rng: np.random.Generator, part: _Part, dx: Map, dy: Map, distance: Map) -> Map:
    """Cast skin on the face, turning marks and their bow-tie glare on rim and hub, a dark bore."""
    share = np.linspace(0, SIZE / part.radius, SIZE * 4, dtype=np.float32)
    turned = np.maximum(_step(share, 0.83, 0.86), _step(share, 0.28, 0.25))
    marks = ndimage.gaussian_filter1d(rng.standard_normal(share.size).astype(np.float32), 2.0)
    base = 0.58 + 0.14 * turned + marks * (0.02 + 0.1 * turned)
    base *= 1 - 0.8 * _step(share, 0.13, 0.11)
    albedo = _by_distance(base.astype(np.float32), distance)
    # A turned surface throws light back across its marks: two bright sectors that point at the lamp.
    across = (dx * math.cos(part.light) + dy * math.sin(part.light)) ** 2 / np.maximum(distance * distance, 1)
    albedo *= 1 + _by_distance((0.28 * turned).astype(np.float32), distance) * (across - np.float32(0.5))
    return albedo * (1 + np.float32(0.1) * _clouds(rng, 60) + np.float32(0.05) * _clouds(rng, 8))


def _light(rng: np.random.Generator, part: _Part, surface: _Surface, dx: Map, dy: Map) -> Map:
    """The surface under a lamp from one side, on a dark belt that it throws a shadow on."""
    slope_y, slope_x = np.gradient(surface.height)
    toward_x, toward_y = math.cos(part.light), math.sin(part.light)
    # A surface that falls toward the lamp faces it.
    shade = 1 - np.float32(_LIGHT_STRENGTH * rng.uniform(0.75, 1.25)) * (slope_x * toward_x + slope_y * toward_y) * 3
    falloff = 1 + np.float32(rng.uniform(0.05, 0.28)) * (dx * toward_x + dy * toward_y) / np.float32(SIZE / 2)
    metal = surface.albedo * np.clip(shade, 0.25, 1.7)
    belt = np.float32(_BACKGROUND * rng.uniform(0.7, 1.3)) * (1 + np.float32(0.25) * _clouds(rng, 100))
    shadow_x, shadow_y = dx + 7 * toward_x, dy + 7 * toward_y
    away = np.sqrt(shadow_x * shadow_x + shadow_y * shadow_y)
    belt *= np.float32(0.45) + np.float32(0.55) * _step(away, part.radius - 3, part.radius + 9)
    return (belt + (metal - belt) * surface.present) * falloff


def _photograph(rng: np.random.Generator, lit: Map) -> NDArray[np.uint8]:
    """Exposure, focus and noise of the camera."""
    blurred = ndimage.gaussian_filter(lit, rng.uniform(0.35, 0.95), truncate=3)
    noise = rng.standard_normal(lit.shape, dtype=np.float32) * np.float32(rng.uniform(0.006, 0.022))
    exposed = blurred * np.float32(rng.uniform(0.78, 1.12)) + noise
    return (np.clip(exposed, 0, 1) ** np.float32(rng.uniform(0.85, 1.1)) * 255).astype(np.uint8)


def _blow_holes(rng: np.random.Generator, part: _Part, surface: _Surface, severity: float) -> None:
    """Gas bubbles that came up to the face or the rim: round-ish pits, deep and dark."""
    share, angle = rng.uniform(0.38, 0.93), rng.uniform(0, 2 * math.pi)
    for _ in range(1 + rng.poisson(2.0 * severity)):
        centre = part.at(min(0.94, max(0.36, share + rng.normal(0, 0.06))), angle + rng.normal(0, 0.15))
        radius = (1.3 + 5.2 * severity) * rng.uniform(0.7, 1.15)
        where, pit = _drawn([_blob(rng, centre, radius, 0.25)], soft=0.7)
        surface.height[where] -= (0.8 + 4.5 * severity) * rng.uniform(0.8, 1.2) * pit
        surface.albedo[where] *= 1 - (0.12 + 0.6 * severity) * pit


def _crack(rng: np.random.Generator, part: _Part, surface: _Surface, severity: float) -> None:
    """A jagged dark line that starts at the rim or the hub, and may fork."""
    from_rim = rng.random() < _CRACKS_FROM_RIM
    share, angle = (0.97 if from_rim else 0.3), rng.uniform(0, 2 * math.pi)
    heading = angle + (math.pi if from_rim else 0) + rng.normal(0, 0.5)
    trunk = _jagged(rng, part.at(share, angle), heading, length=22 + 65 * severity)
    paths = [trunk]
    if rng.random() < severity:
        side = rng.choice((-0.8, 0.8))
        paths.append(_jagged(rng, trunk[len(trunk) // 2], heading + side, length=12 + 25 * severity))
    where, line = _drawn(paths, width=0.5 + 1.1 * severity, soft=0.35)
    surface.height[where] -= (0.5 + 1.2 * severity) * line
    surface.albedo[where] *= 1 - (0.2 + 0.6 * severity) * line


def _scratch(rng: np.random.Generator, part: _Part, surface: _Surface, severity: float) -> None:
    """Long, straight or slightly bent strokes that laid bare bright metal."""
    heading = rng.uniform(0, math.pi)
    x, y = part.at(rng.uniform(0.3, 0.85), rng.uniform(0, 2 * math.pi))
    for stroke in range(1 + rng.poisson(0.8)):
        begin = (x - 5 * stroke * math.sin(heading), y + 5 * stroke * math.cos(heading))
        points = _stroke(rng, begin, heading, length=(28 + 85 * severity) * rng.uniform(0.7, 1.1))
        where, line = _drawn([points], width=0.5 + 0.7 * severity, soft=0.3)
        surface.height[where] -= (0.3 + 0.7 * severity) * line
        surface.albedo[where] *= 1 + (0.12 + 0.75 * severity) * line


def _chipped_edge(rng: np.random.Generator, part: _Part, surface: _Surface, severity: float) -> None:
    """A piece broken out of the outer edge; the fracture is rough and catches the light."""
    size = 3 + 18 * severity
    centre = part.at(1.0 + 0.3 * size / part.radius, rng.uniform(0, 2 * math.pi))
    outline = _blob(rng, centre, size, 0.2)
    inner = [(centre[0] + 0.75 * (x - centre[0]), centre[1] + 0.75 * (y - centre[1])) for x, y in outline]
    where, fracture = _drawn([outline], soft=0.5)
    surface.height[where] -= 2.5 * fracture
    surface.albedo[where] *= 1 + fracture * (0.3 * _clouds(rng, 3)[where] - 0.1 - 0.2 * severity)
    where, gap = _drawn([inner], soft=0.5)
    surface.present[where] *= 1 - gap


def _soil(rng: np.random.Generator, part: _Part, surface: _Surface, dirt: float) -> None:
    """What a good part may have too: oil, specks as dark as small holes, and marks of handling."""
    for _ in range(rng.poisson(0.4 + 3 * dirt)):
        centre = part.at(rng.uniform(0.1, 0.95), rng.uniform(0, 2 * math.pi))
        where, stain = _drawn([_blob(rng, centre, rng.uniform(8, 26), 0.3)], soft=4)
        surface.albedo[where] *= 1 - rng.uniform(0.05, 0.1 + 0.25 * dirt) * stain
    for _ in range(rng.poisson(1 + 7 * dirt)):
        centre = part.at(rng.uniform(0.2, 0.98), rng.uniform(0, 2 * math.pi))
        where, speck = _drawn([_blob(rng, centre, rng.uniform(0.5, 1.0 + 1.8 * dirt), 0.3)], soft=0.4)
        surface.albedo[where] *= 1 - rng.uniform(-0.25, 0.3 + 0.4 * dirt) * speck
    for _ in range(rng.poisson(2.2 * dirt)):
        begin = part.at(rng.uniform(0.3, 0.9), rng.uniform(0, 2 * math.pi))
        points = _stroke(rng, begin, rng.uniform(0, 2 * math.pi), length=rng.uniform(8, 12 + 35 * dirt))
        where, mark = _drawn([points], width=0.6, soft=0.4)
        surface.albedo[where] *= 1 + rng.uniform(-0.25, 0.35) * (0.4 + dirt) * mark


_DEFECTS: dict[str, Callable[[np.random.Generator, _Part, _Surface, float], None]] = {
    BLOW_HOLE: _blow_holes,
    CRACK: _crack,
    SCRATCH: _scratch,
    CHIPPED_EDGE: _chipped_edge,
}


def _blob(rng: np.random.Generator, centre: Point, radius: float, roughness: float) -> list[Point]:
    """The outline of something round-ish."""
    corners = 18
    bumps = rng.standard_normal(corners)
    radii = radius * np.clip(1 + roughness * (bumps + np.roll(bumps, 1)) / 2, 0.3, 1.7)
    squeeze = rng.uniform(0.75, 1.0)
    return [
        (centre[0] + r * math.cos(a), centre[1] + squeeze * r * math.sin(a))
        for r, a in zip(radii.tolist(), np.linspace(0, 2 * math.pi, corners, endpoint=False).tolist(), strict=True)
    ]


def _jagged(rng: np.random.Generator, start: Point, heading: float, length: float) -> list[Point]:
    points = [start]
    for turn in rng.normal(0, 0.55, max(3, round(length / 5))).tolist():
        x, y = points[-1]
        points.append((x + 5 * math.cos(heading + turn), y + 5 * math.sin(heading + turn)))
    return points


def _stroke(rng: np.random.Generator, start: Point, heading: float, length: float) -> list[Point]:
    bend = rng.normal(0, 0.004)
    points = [start]
    for _ in range(max(2, round(length / 6))):
        x, y = points[-1]
        points.append((x + 6 * math.cos(heading), y + 6 * math.sin(heading)))
        heading += 6 * bend
    return points


def _drawn(paths: list[list[Point]], *, soft: float, width: float | None = None) -> tuple[tuple[slice, slice], Map]:
    """Filled outlines, or lines `width` pixels wide, with edges softened over about `soft` pixels.

    Gives where in the picture, and there the shares from 0 to 1: a whole picture for each speck would take too long.
    """
    margin = 2 + math.ceil(3 * soft + (width or 0))
    xs, ys = ([point[axis] for path in paths for point in path] for axis in (0, 1))
    left, right = (min(SIZE, max(0, math.floor(x))) for x in (min(xs) - margin, max(xs) + margin))
    top, bottom = (min(SIZE, max(0, math.floor(y))) for y in (min(ys) - margin, max(ys) + margin))
    where = (slice(top, bottom), slice(left, right))
    if top == bottom or left == right:  # a stroke that left the picture
        return where, np.zeros((bottom - top, right - left), np.float32)
    canvas = Image.new("L", ((right - left) * _OVERSAMPLING, (bottom - top) * _OVERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    for path in paths:
        points = [((x - left) * _OVERSAMPLING, (y - top) * _OVERSAMPLING) for x, y in path]
        if width is None:
            draw.polygon(points, fill=255)
        else:
            draw.line(points, fill=255, width=max(1, round(width * _OVERSAMPLING)), joint="curve")
    shares = np.asarray(canvas.reduce(_OVERSAMPLING), dtype=np.float32) / 255
    return where, ndimage.gaussian_filter(shares, soft)


def _clouds(rng: np.random.Generator, grain: float) -> Map:
    """Smooth noise around 0 whose lumps are about `grain` pixels wide."""
    cells = math.ceil(SIZE / grain) + 1
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def _by_distance(profile: Map, distance: Map) -> Map:
    """A profile with four values a pixel, spun round the centre."""
    return profile[(distance * 4).astype(np.intp)]


def _step(value: Map, zero: float, one: float) -> Map:
    """0 up to `zero`, 1 from `one` on, smooth between; `one` may be the smaller."""
    share = np.clip((value - np.float32(zero)) / np.float32(one - zero), 0, 1)
    return share * share * (3 - 2 * share)
