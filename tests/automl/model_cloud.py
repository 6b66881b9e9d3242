"""The local services that train models, without the rest of the local cloud; and pictures that are quick to learn."""

import io
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.cloud import storage
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Mount

from automl.dataset.import_file import Format, Row, write
from automl.dataset.split import Set
from local.google.gate import RequestLog
from local.google.http import serve
from local.google.models.automl_prediction import prediction_service
from local.google.models.automl_service import model_services
from local.google.models.imports import read_object
from local.google.models.registry import ModelRegistry
from local.google.models.vertex_prediction import prediction_routes
from local.google.models.vertex_service import model_routes
from local.google.models.workshop import Workshop
from local.google.rpc import RunningGrpcServer
from local.google.storage.server import storage_app
from local.google.storage.store import ObjectStore

PROJECT = "factory"
COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 60, 200)}


@dataclass(frozen=True)
class ModelCloud:
    """Where the services are, and what is behind them."""

    url: str
    """Of Cloud Storage and Vertex AI."""
    automl: str
    workshop: Workshop
    registry: ModelRegistry
    gate: RequestLog

    @property
    def environment(self) -> dict[str, str]:
        """What points every client to it."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "AUTOML_EMULATOR_HOST": self.automl,
            "AIPLATFORM_EMULATOR_HOST": self.url,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }

    def calls(self, method: str) -> int:
        """How often it was asked since the gate was cleared."""
        return sum(count for (_, asked), count in self.gate.counts().items() if asked == method)


@contextmanager
def running_models(folder: Path) -> Generator[ModelCloud]:
    """Cloud Storage, AutoML Vision and Vertex AI."""
    gate, registry = RequestLog(), ModelRegistry()
    with ObjectStore(folder / "objects") as store:
        workshop = Workshop(lambda uri: read_object(store, uri), registry, folder=folder / "trained", most_pictures=200)
        routes = [*prediction_routes(registry, gate=gate), *model_routes(workshop, gate=gate)]
        app = Starlette(routes=[*routes, Mount("/", storage_app(store, gate=gate))])
        services = [
            *model_services(workshop, gate=gate, identity=None),
            prediction_service(registry, gate=gate, identity=None),
        ]
        with serve(app) as server, RunningGrpcServer(services) as door:
            yield ModelCloud(server.url, door.address, workshop, registry, gate)
            workshop.stop()


def painted(colour: str, seed: int) -> bytes:
    """A small picture of one colour, with a texture that no other seed has."""
    rng = np.random.default_rng((seed, *COLOURS[colour]))
    noise = rng.integers(-30, 30, (48, 48, 3))
    picture = Image.fromarray(np.clip(noise + COLOURS[colour], 0, 255).astype(np.uint8))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def put_pictures(bucket: storage.Bucket, counts: dict[str, int], first: int = 0) -> dict[str, str]:
    """Upload so many of each colour; the colour by the picture's address."""
    put: dict[str, str] = {}
    for colour, count in counts.items():
        for number in range(first, first + count):
            name = f"{colour}/{number}.png"
            bucket.blob(name).upload_from_string(painted(colour, number), content_type="image/png")
            put[f"gs://{bucket.name}/{name}"] = colour
    return put


def put_import_file(
    bucket: storage.Bucket, labels: Mapping[str, Sequence[str] | str], form: Format, *, multi_label: bool = False
) -> str:
    """Write an import file in which every third picture is for testing, and upload it; its address."""
    text = io.StringIO(newline="")
    rows = (
        Row(
            uri=uri,
            labels=(each,) if isinstance(each, str) else tuple(each),
            set=Set.TEST if number % 3 == 0 else Set.TRAINING,
        )
        for number, (uri, each) in enumerate(labels.items())
    )
    write(rows, text, form=form, multi_label=multi_label)
    blob = bucket.blob("imports/pictures")
    blob.upload_from_string(text.getvalue())
    return f"gs://{bucket.name}/imports/pictures"
