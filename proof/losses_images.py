"""The images of the loss proof, the model that classifies them, and the names of everything on the stage."""

import gzip
import io
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path

from PIL import Image

from inspection.routing import Thresholds

ROOT = Path(__file__).resolve().parents[1]
INBOUND, PREDICTION = "inbound", "prediction"
TOPIC = "projects/factory/topics/predictions"
AUTOML_MODEL = "projects/factory/locations/us-central1/models/ICN42"
VERTEX_MODEL = "projects/factory/locations/europe-west4/endpoints/42"
LABELS = ("ok", "defect")
THRESHOLDS = Thresholds(labels=LABELS, common=0.8)
ANNA, BERT = "anna@example.com", "bert@example.com"
SITE = "https://review.example.com"
CONTENT_TYPES = ("image/jpeg", "image/pjpeg", "application/octet-stream")
"""What cameras call a JPEG."""

PREDICT, PREDICT_VERTEX, MOVE, REVIEW = (
    f"{part}@factory.iam.gserviceaccount.com" for part in ("predict", "predict-vertex", "move", "review")
)

GZIP = b"\x1f\x8b"
"""https://www.rfc-editor.org/rfc/rfc1952#section-2.3.1"""
A_SHIFT = timedelta(hours=8)
"""No test lets more time go by."""

DARK, GREY, LIGHT = 40, 128, 220
"""Of a picture: a good part, one that the model is unsure about, a defective one."""


@cache
def picture(grey: int, number: int) -> bytes:
    """A small JPEG; each number's bytes are its own."""
    buffer = io.BytesIO()
    Image.new("L", (16, 16), grey).save(buffer, "JPEG", comment=f"picture {number}".encode())
    return buffer.getvalue()


class Brightness:
    """A model whose answer can be foretold from the picture, and from nothing else."""

    labels = LABELS

    def __init__(self) -> None:
        self.answers_otherwise = False
        """Says the other label of every picture, as a model does that was trained anew."""

    def scores(self, picture: bytes) -> dict[str, float]:
        """As :class:`local.google.models.classifier.TrainedModel` gives them."""
        grey = Image.open(io.BytesIO(picture)).convert("L").getpixel((8, 8))
        assert isinstance(grey, int | float)
        ok = 0.97 if grey < (DARK + GREY) / 2 else 0.55 if grey < (GREY + LIGHT) / 2 else 0.0625
        return {"ok": 1 - ok, "defect": ok} if self.answers_otherwise else {"ok": ok, "defect": 1 - ok}


def scores_of(data: bytes) -> Mapping[str, float] | None:
    try:
        return Brightness().scores(gzip.decompress(data) if data.startswith(GZIP) else data)
    except OSError:
        return None
