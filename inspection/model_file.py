"""A model file: an ONNX graph, and what stands in its metadata. The contract between training and serving.

The graph takes `image`, a picture of `size` by `size` pixels as bytes (1, size, size, 3; sRGB), and normalises it itself.
It gives `probabilities` (1, labels), calibrated, and `heat_map` (1, labels, side, side) with shares from 0 to 1 that say
where each label was seen.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from inspection.heat_map import MAX_SIDE
from inspection.labels import MAX_LABELS, is_label

MAX_FILE_BYTES = 20_000_000
"""A larger file is not loaded: it has to fit into a function's memory, together with images."""

IMAGE = "image"
PROBABILITIES = "probabilities"
HEAT_MAP = "heat_map"

SHA256 = "sha256"
"""Key of the metadata of an object that is a model file: its hash, in hexadecimal digits."""

_KEY = "inspection.model"
_VERSION = 1
_MIN_SIZE, _MAX_SIZE = 64, 1024


class NotAModelFileError(ValueError):
    """The file cannot be used as a model; the text says why."""


class Kind(StrEnum):
    """How many labels an image can have."""

    SINGLE_LABEL = "single label"
    MULTI_LABEL = "multi label"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model file says about itself."""

    labels: tuple[str, ...]
    kind: Kind
    size: int
    """Pixels of each side of the picture that goes in."""
    heat_map_side: int
    normalisation: str
    """What the graph does to the bytes, in words: nobody else has to."""
    calibration: str
    """How scores became probabilities, in words."""
    trained_on: date
    dataset: str
    """Fingerprint of images and labels: SHA-256, in hexadecimal digits."""
    figures: Mapping[str, float]
    """What training measured on images that it held out, by name."""

    def to_metadata(self) -> dict[str, str]:
        """For the metadata of the ONNX file."""
        fields = {
            "version": _VERSION,
            "labels": list(self.labels),
            "kind": self.kind.value,
            "size": self.size,
            "heat_map_side": self.heat_map_side,
            "normalisation": self.normalisation,
            "calibration": self.calibration,
            "trained_on": self.trained_on.isoformat(),
            "dataset": self.dataset,
            "figures": dict(self.figures),
        }
        return {_KEY: json.dumps(fields, ensure_ascii=False, sort_keys=True, allow_nan=False)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "ModelCard":
        """Read the metadata of an ONNX file.

        Raises:
            NotAModelFileError: `inspection model train --backend own` did not write it, or a later version did.
        """
        if _KEY not in metadata:
            raise NotAModelFileError("it is not a model that `inspection model train --backend own` wrote")
        try:
            fields: dict[str, Any] = json.loads(metadata[_KEY])
            if fields["version"] != _VERSION:
                raise NotAModelFileError(  # noqa: TRY301 - of what follows, only other errors mean that it is unreadable
                    f"its metadata has version {fields['version']!r}; allowed is {_VERSION}. Deploy a newer program"
                )
            card = cls(
                labels=tuple(fields["labels"]),
                kind=Kind(fields["kind"]),
                size=fields["size"],
                heat_map_side=fields["heat_map_side"],
                normalisation=str(fields["normalisation"]),
                calibration=str(fields["calibration"]),
                trained_on=date.fromisoformat(fields["trained_on"]),
                dataset=fields["dataset"],
                figures={str(name): float(value) for name, value in fields["figures"].items()},
            )
        except NotAModelFileError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise NotAModelFileError(f"its metadata cannot be read ({type(error).__name__}: {error})") from error
        card._check()
        return card

    def _check(self) -> None:
        labels: tuple[Any, ...] = self.labels
        if not all(isinstance(label, str) and is_label(label) for label in labels):
            raise NotAModelFileError(f"its labels are {labels!r}, and not all of them can name a folder")
        if not 1 <= len(set(labels)) == len(labels) <= MAX_LABELS:
            raise NotAModelFileError(f"it has the labels {labels!r}; allowed are 1 to {MAX_LABELS} different ones")
        for name, value, least, most in (
            ("size", self.size, _MIN_SIZE, _MAX_SIZE),
            ("heat_map_side", self.heat_map_side, 1, MAX_SIDE),
        ):
            if type(value) is not int or not least <= value <= most:
                raise NotAModelFileError(f"its {name} is {value!r}; allowed is a whole number from {least} to {most}")
        if not isinstance(self.dataset, str) or not re.fullmatch(r"[0-9a-f]{64}", self.dataset):  # pyright: ignore[reportUnnecessaryIsInstance]  # JSON
            raise NotAModelFileError(f"its dataset is {self.dataset!r}; allowed are 64 hexadecimal digits")
