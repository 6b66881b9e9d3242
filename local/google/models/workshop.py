"""Where the local cloud's models are made: data sets, imports, trainings, deployments, and the operations that these are.

AutoML Vision and Vertex AI say the same things in different words; what they mean is here, and the words are in
:mod:`local.google.models.automl_service` and :mod:`local.google.models.vertex_service`. What is trained is really trained, on the
pictures that were imported, in seconds on this machine's processors; a budget is checked, and not spent.
"""

import csv
import hashlib
import io
import json
import os
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, cast

import joblib
import numpy as np
from PIL import Image

from local.deploy.processes import CannotStartError
from local.google.gate import ApiError
from local.google.models.registry import ModelRegistry, RegisteredModel
from local.google.models.training import Model, train, train_multi_label
from local.google.rpc import RefusedError
from local.google.storage.store import ObjectStore, StorageError

LEAST_PICTURES: Final = 10
"""Of each label; Google trains with no fewer."""
MOST_PICTURES: Final = 20_000
"""In a data set of the local cloud; Google's quota is a million."""
MAX_PICTURE_BYTES: Final = 30_000_000
MAX_FAILURES: Final = 20
"""Of an import that are told; Google tells so many (google.cloud.automl.v1.OperationMetadata.partial_failures)."""
CONFIDENCES: Final = tuple(round(step / 20, 2) for step in range(20))
"""Thresholds at which an evaluation tells its figures."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "ICO")
_AUTOMATIC_SHARES = ((0.8, "training"), (0.9, "validation"))
_VERTEX_SET = "aiplatform.googleapis.com/ml_use"

ReadObject = Callable[[str], bytes]
"""The bytes at a `gs://` address; LookupError if there is no such object."""


class Set(StrEnum):
    """What a picture is used for; a picture without is assigned when a model is trained."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


_CSV_SETS = {"TRAIN": Set.TRAINING, "VALIDATION": Set.VALIDATION, "TEST": Set.TEST, "UNASSIGNED": None}


@dataclass(frozen=True, kw_only=True)
class Example:
    """One picture of a data set."""

    uri: str
    labels: tuple[str, ...]
    used_for: Set | None


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Pictures with labels. `examples` is replaced as a whole, so that whoever reads it sees one state."""

    name: str
    display_name: str
    multi_label: bool
    """As given at creation (AutoML) or by the first import (Vertex AI)."""
    created: datetime
    examples: Mapping[str, Example] = field(default_factory=dict[str, Example])
    """By address."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How good a model is on its test set; for one label, or for all together."""

    label: str | None
    pictures: int
    au_prc: float
    log_loss: float
    at: tuple[tuple[float, float, float, float], ...]
    """(confidence threshold, recall, precision, F1), each threshold of :data:`CONFIDENCES`."""
    labels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    """[true label][said label], in the order of `labels`; empty with several labels a picture."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A trained model."""

    name: str
    display_name: str
    data_set: str
    multi_label: bool
    budget_milli_node_hours: int
    model_type: str
    created: datetime
    model: Model
    figures: tuple[Figures, ...]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A Vertex AI endpoint, and the model that it asks."""

    name: str
    display_name: str
    created: datetime
    model: str | None = None
    deployed_id: str = ""


Parse = Callable[[str], Iterable[tuple[int, Example | str]]]
"""An import file's text to its lines: the number of each, and a picture or what is wrong with it."""


class JobCancelledError(Exception):
    """The job was told to stop."""


class Job:
    """A long-running operation. Any thread may read it."""

    def __init__(self, *, name: str, kind: str, subject: str, details: Mapping[str, Any]) -> None:
        """`kind` says what it does, `subject` is the resource that it works on, `details` what it was asked."""
        self.name = name
        self.kind = kind
        self.subject = subject
        self.details = details
        self.created = self.updated = datetime.now(UTC)
        self.percent = 0
        self.failures: tuple[str, ...] = ()
        """Of single lines, while the whole goes on."""
        self.result: Any = None
        self.error: ApiError | None = None
        self.finished = threading.Event()
        self.cancelled = threading.Event()

    def progress(self, done: int, count: int) -> None:
        """So much is done.

        Raises:
            JobCancelledError: stop here.
        """
        if self.cancelled.is_set():
            raise JobCancelledError
        self.percent = min(99, 100 * done // max(count, 1))
        self.updated = datetime.now(UTC)

    def run(self, work: Callable[["Job"], Any]) -> None:
        """Do the work; whatever happens, the job is finished afterwards."""
        try:
            self.result = work(self)
            self.percent = 100
        except ApiError as error:
            self.error = error
        except JobCancelledError:
            self.error = ApiError(499, "CANCELLED", "Operation was cancelled.")
        except Exception as error:  # noqa: BLE001  # the answer of an operation that nobody waits for in this thread
            self.error = RefusedError("INTERNAL", f"{type(error).__name__}: {error}")
        finally:
            self.updated = datetime.now(UTC)
            self.finished.set()


class Workshop:
    """All data sets, models, endpoints and operations. Any thread may use it.

    Models and endpoints are kept in `folder`, so that a model that was trained answers after the next start too. Data
    sets and operations go with the process, as the local buckets do.
    """

    def __init__(
        self,
        read: ReadObject,
        registry: ModelRegistry,
        *,
        folder: Path | None = None,
        most_pictures: int = MOST_PICTURES,
    ) -> None:
        """Deployed models are registered in `registry`, those that were kept at once."""
        self._read = read
        self._registry = registry
        self._folder = folder
        self._most_pictures = most_pictures
        self._lock = threading.RLock()
        self._data_sets: dict[str, DataSet] = {}
        self._models: dict[str, Made] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._deployed: set[str] = set()
        """Models of AutoML that answer by their own name."""
        self._jobs: dict[str, Job] = {}
        self._threads: list[threading.Thread] = []
        self._load()

    def stop(self) -> None:
        """Cancel what runs, and wait until it has ended."""
        with self._lock:
            jobs, threads = list(self._jobs.values()), list(self._threads)
        for job in jobs:
            job.cancelled.set()
        for thread in threads:
            thread.join()

    # Operations

    def start(
        self,
        kind: str,
        *,
        name: str,
        subject: str,
        work: Callable[[Job], Any],
        details: Mapping[str, Any] | None = None,
    ) -> Job:
        """Begin a long-running operation called `name`."""
        job = Job(name=name, kind=kind, subject=subject, details=details or {})
        thread = threading.Thread(target=job.run, args=(work,), name=f"{kind}:{name[-6:]}", daemon=True)
        with self._lock:
            self._jobs[name] = job
            self._threads = [running for running in self._threads if running.is_alive()]
            self._threads.append(thread)
        thread.start()
        return job

    def job(self, name: str) -> Job:
        """The operation of that name."""
        with self._lock:
            return _existing(self._jobs, name, "Operation")

    def jobs(self, parent: str, kind: str | None = None) -> list[Job]:
        """The operations below a name, the newest first."""
        with self._lock:
            found = [
                job
                for job in self._jobs.values()
                if job.name.startswith(f"{parent}/") and (kind is None or job.kind == kind)
            ]
        return sorted(found, key=lambda job: job.created, reverse=True)

    # Data sets

    def create_data_set(self, name: str, display_name: str, *, multi_label: bool) -> DataSet:
        """An empty one; a display name may be given again and again, as at Google."""
        _check_display_name(display_name)
        made = DataSet(name=name, display_name=display_name, multi_label=multi_label, created=datetime.now(UTC))
        with self._lock:
            self._data_sets[name] = made
        return made

    def data_set(self, name: str) -> DataSet:
        """The data set of that name."""
        with self._lock:
            return _existing(self._data_sets, name, "Dataset")

    def data_sets(self, prefix: str) -> list[DataSet]:
        """Those whose names begin so."""
        with self._lock:
            return [found for name, found in sorted(self._data_sets.items()) if name.startswith(prefix)]

    def delete_data_set(self, name: str) -> None:
        """Forget one; its pictures stay where they are."""
        with self._lock:
            _existing(self._data_sets, name, "Dataset")
            self._refuse_if_busy(name)
            del self._data_sets[name]

    def start_import(
        self,
        data_set: str,
        uris: Sequence[str],
        *,
        operation: str,
        parse: Parse,
        multi_label: bool | None = None,
    ) -> Job:
        """Begin to read import files; with `parse`."""
        if not uris:
            raise RefusedError("INVALID_ARGUMENT", "At least one input URI is required.")
        with self._lock:
            found = self.data_set(data_set)
            self._refuse_if_busy(data_set)
            if multi_label is not None:
                if found.examples and found.multi_label != multi_label:
                    raise RefusedError("INVALID_ARGUMENT", f"{data_set} holds pictures of the other kind of labels.")
                self._data_sets[data_set] = replace(found, multi_label=multi_label)

            def work(job: Job) -> None:
                self._import(job, data_set, uris, parse)

            return self.start("import", name=operation, subject=data_set, work=work)

    def _import(self, job: Job, name: str, uris: Sequence[str], parse: Parse) -> None:
        data_set = self.data_set(name)
        examples = dict(data_set.examples)
        read = self._lines(uris, parse, multi_label=data_set.multi_label)
        if len({*examples, *(line.uri for _, line in read)}) > self._most_pictures:
            raise RefusedError(
                "RESOURCE_EXHAUSTED",
                f"Quota exceeded for quota metric 'Images in a dataset' and limit {self._most_pictures} of {name}.",
            )
        failures: list[str] = []
        for done, (where, line) in enumerate(read, start=1):
            before = examples.get(line.uri)
            if before is not None and before.labels != line.labels:
                failures.append(f"{where}: {line.uri} was imported before with {', '.join(before.labels)}.")
            elif reason := self._unusable(line.uri):
                failures.append(f"{where}: {line.uri} {reason}")
            else:
                examples[line.uri] = line
            job.progress(done, len(read))
        job.failures = tuple(failures)
        if len(failures) == len(read):
            raise RefusedError("INVALID_ARGUMENT", _told("No image could be imported", failures or ["no line"]))
        with self._lock:
            self._data_sets[name] = replace(self.data_set(name), examples=examples)

    def _lines(self, uris: Sequence[str], parse: Parse, *, multi_label: bool) -> list[tuple[str, Example]]:
        """Each picture, and where it is told."""
        read: list[tuple[str, Example]] = []
        malformed: list[str] = []
        for uri in uris:
            for number, line in parse(self._import_file(uri)):
                where = f"{uri} line {number}"
                if isinstance(line, str):
                    malformed.append(f"{where}: {line}")
                elif len(line.labels) > 1 and not multi_label:
                    malformed.append(f"{where}: {line.uri} has {len(line.labels)} labels in a single-label dataset.")
                else:
                    read.append((where, line))
        if malformed:
            raise RefusedError("INVALID_ARGUMENT", _told("The import file has malformed lines", malformed))
        return read

    def _import_file(self, uri: str) -> str:
        try:
            return self._read(uri).decode("utf-8-sig")
        except LookupError:
            raise RefusedError("NOT_FOUND", f"The import file {uri} does not exist.") from None
        except UnicodeDecodeError as error:
            raise RefusedError("INVALID_ARGUMENT", f"The import file {uri} is not UTF-8: {error}.") from error

    def _unusable(self, uri: str) -> str:
        try:
            data = self._read(uri)
        except LookupError:
            return "does not exist."
        if len(data) > MAX_PICTURE_BYTES:
            return f"has {len(data)} bytes; allowed are up to {MAX_PICTURE_BYTES}."
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                image.draft("L", (64, 64))
                image.load()
        except Exception as error:  # noqa: BLE001  # what a damaged file makes a decoder raise is not limited
            return f"is no image that can be read: {error or type(error).__name__}"
        return ""

    # Models

    def start_training(
        self,
        *,
        data_set: str,
        model: str,
        display_name: str,
        operation: str,
        budget_milli_node_hours: int,
        model_type: str,
        multi_label: bool | None = None,
        predefined: Mapping[Set, bool] | None = None,
    ) -> Job:
        """Begin to train.

        Args:
            data_set: what to learn from.
            model: the new model's name.
            display_name: how people call it.
            operation: the operation's name.
            budget_milli_node_hours: as checked by the service.
            model_type: as checked by the service.
            multi_label: of the request, where that says it; None: the data set's.
            predefined: which of the pictures' own sets are used (Vertex AI's filters); None: all, and pictures
                without one are assigned 80 : 10 : 10.
        """
        _check_display_name(display_name)
        with self._lock:
            found = self.data_set(data_set)
            self._refuse_if_busy(data_set)
        if multi_label is not None and multi_label != found.multi_label:
            raise RefusedError(
                "INVALID_ARGUMENT", f"multiLabel is {multi_label}; the pictures of {data_set} are not so."
            )
        if not found.examples:
            raise RefusedError("FAILED_PRECONDITION", f"{data_set} has no images; import some first.")
        sets = _sets(found, predefined)
        counts = Counter(label for examples in sets.values() for example in examples for label in example.labels)
        if scarce := sorted(label for label, count in counts.items() if count < LEAST_PICTURES):
            told = ", ".join(f"{label} has {counts[label]}" for label in scarce)
            raise RefusedError(
                "FAILED_PRECONDITION", f"Each label needs at least {LEAST_PICTURES} images to train: {told}."
            )

        def work(job: Job) -> Made:
            made = self._train(job, found, sets, model, display_name, budget_milli_node_hours, model_type)
            with self._lock:
                self._models[model] = made
                self._keep(made)
            return made

        details = {"displayName": display_name, "model": model, "dataset": data_set}
        return self.start("train", name=operation, subject=data_set, work=work, details=details)

    def _train(
        self,
        job: Job,
        data_set: DataSet,
        sets: Mapping[Set, Sequence[Example]],
        name: str,
        display_name: str,
        budget: int,
        model_type: str,
    ) -> Made:
        # The validation set's part is taken by cross-validation, in which each picture is validated with once.
        learned_from = [*sets[Set.TRAINING], *sets[Set.VALIDATION]]
        tested = sets[Set.TEST]
        count = len(learned_from) + len(tested)
        try:
            if data_set.multi_label:
                model: Model = train_multi_label(
                    ((self._read(each.uri), each.labels) for each in learned_from),
                    progress=lambda done, _: job.progress(done, count),
                )
            else:
                model = train(
                    ((self._read(each.uri), each.labels[0]) for each in learned_from),
                    progress=lambda done, _: job.progress(done, count),
                )
            scores: list[dict[str, float]] = []
            for example in tested:
                scores.append(model.scores(self._read(example.uri)))
                job.progress(len(learned_from) + len(scores), count)
        except (ValueError, LookupError) as error:
            raise RefusedError("INVALID_ARGUMENT", f"Training failed: {error}.") from error
        return Made(
            name=name,
            display_name=display_name,
            data_set=data_set.name,
            multi_label=data_set.multi_label,
            budget_milli_node_hours=budget,
            model_type=model_type,
            created=datetime.now(UTC),
            model=model,
            figures=_figures(model.labels, tested, scores, multi_label=data_set.multi_label),
        )

    def model(self, name: str) -> Made:
        """The model of that name."""
        with self._lock:
            return _existing(self._models, name, "Model")

    def models(self, prefix: str) -> list[Made]:
        """Those whose names begin so."""
        with self._lock:
            return [found for name, found in sorted(self._models.items()) if name.startswith(prefix)]

    def delete_model(self, name: str) -> None:
        """Forget one; a deployed one stays."""
        with self._lock:
            _existing(self._models, name, "Model")
            if name in self._deployed or any(endpoint.model == name for endpoint in self._endpoints.values()):
                raise RefusedError("FAILED_PRECONDITION", f"The Model {name} is deployed; undeploy it first.")
            if self._registry.find(name) is not None:
                self._registry.remove(name)
            del self._models[name]
            if self._folder:
                self._file(name).unlink(missing_ok=True)

    # AutoML Vision: a model is deployed under its own name

    def is_deployed(self, name: str) -> bool:
        """Whether the model answers under its own name."""
        with self._lock:
            return name in self._deployed

    def deploy(self, name: str) -> None:
        """Let the model answer under its own name."""
        with self._lock:
            made = self.model(name)
            self._deployed.add(name)
            self._registry.register(RegisteredModel(name=name, model=made.model, display_name=made.display_name))
            self._keep_deployments()

    def undeploy(self, name: str) -> None:
        """No longer."""
        with self._lock:
            self.model(name)
            if name not in self._deployed:
                raise RefusedError("FAILED_PRECONDITION", f"The model {name} is not deployed.")
            self._deployed.discard(name)
            self._registry.set_deployed(name, deployed=False)
            self._keep_deployments()

    # Vertex AI: a model is deployed to an endpoint

    def create_endpoint(self, name: str, display_name: str) -> Endpoint:
        """One without a model."""
        made = Endpoint(name=name, display_name=display_name, created=datetime.now(UTC))
        with self._lock:
            self._endpoints[name] = made
            self._keep_deployments()
        return made

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint of that name."""
        with self._lock:
            return _existing(self._endpoints, name, "Endpoint")

    def endpoints(self, prefix: str) -> list[Endpoint]:
        """Those whose names begin so."""
        with self._lock:
            return [found for name, found in sorted(self._endpoints.items()) if name.startswith(prefix)]

    def deploy_to(self, endpoint: str, model: str, deployed_id: str) -> Endpoint:
        """Let the endpoint ask the model; the local cloud's have one model at a time."""
        with self._lock:
            found, made = self.endpoint(endpoint), self.model(model)
            if found.model:
                raise RefusedError("FAILED_PRECONDITION", f"{endpoint} has a model already: {found.model}.")
            changed = replace(found, model=model, deployed_id=deployed_id)
            self._endpoints[endpoint] = changed
            self._registry.register(RegisteredModel(name=endpoint, model=made.model, display_name=made.display_name))
            self._keep_deployments()
            return changed

    def undeploy_from(self, endpoint: str, deployed_id: str) -> None:
        """Let the endpoint ask no model."""
        with self._lock:
            found = self.endpoint(endpoint)
            if not found.model or found.deployed_id != deployed_id:
                raise RefusedError("NOT_FOUND", f"The deployed model {deployed_id} of {endpoint} does not exist.")
            self._endpoints[endpoint] = replace(found, model=None, deployed_id="")
            self._registry.set_deployed(endpoint, deployed=False)
            self._keep_deployments()

    def delete_endpoint(self, name: str) -> None:
        """Forget an endpoint without a model."""
        with self._lock:
            if self.endpoint(name).model:
                raise RefusedError("FAILED_PRECONDITION", f"Endpoint {name} has a deployed model; undeploy it first.")
            del self._endpoints[name]
            if self._registry.find(name) is not None:
                self._registry.remove(name)
            self._keep_deployments()

    def _refuse_if_busy(self, data_set: str) -> None:
        for job in self._jobs.values():
            if job.subject == data_set and not job.finished.is_set():
                raise RefusedError(
                    "FAILED_PRECONDITION", f"Operation {job.name} is working on {data_set}; wait for it."
                )

    # What is kept from one start to the next

    def _file(self, name: str) -> Path:
        assert self._folder  # noqa: S101  # whoever calls has asked
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.joblib"

    def _keep(self, made: Made) -> None:
        if self._folder:

            def write(file: Path) -> None:
                joblib.dump(made, file, compress=3)

            _write(self._file(made.name), write)

    def _keep_deployments(self) -> None:
        if not self._folder:
            return
        endpoints = [
            {**vars(endpoint), "created": endpoint.created.isoformat()} for endpoint in self._endpoints.values()
        ]
        text = json.dumps({"deployed": sorted(self._deployed), "endpoints": endpoints}, indent=1)
        _write(self._folder / "deployments.json", lambda file: file.write_bytes(text.encode()))

    def _load(self) -> None:
        if not self._folder or not self._folder.is_dir():
            return
        for file in self._folder.glob("*.joblib"):
            try:
                made: Made = joblib.load(file)
            except Exception as error:
                # Written by another state of this code or of scikit-learn; what reading raises then is not limited.
                raise CannotStartError(
                    f"{file}, a model that was trained here, cannot be read ({type(error).__name__}: {error}): "
                    "delete it, and train again"
                ) from error
            self._models[made.name] = made
        deployments = self._folder / "deployments.json"
        if not deployments.exists():
            return
        kept = json.loads(deployments.read_text())
        for name in (*self._models, *(fields["name"] for fields in kept["endpoints"])):
            if self._registry.find(name):  # whatever else answers to that name, it is this model or nothing
                self._registry.remove(name)
        for fields in kept["endpoints"]:
            created = datetime.fromisoformat(fields.pop("created"))
            endpoint = Endpoint(**fields, created=created)
            self._endpoints[endpoint.name] = endpoint
            if endpoint.model:
                self._register_kept(endpoint.name, endpoint.model)
        for name in kept["deployed"]:
            self._deployed.add(name)
            self._register_kept(name, name)

    def _register_kept(self, name: str, model: str) -> None:
        made = self._models[model]
        self._registry.register(RegisteredModel(name=name, model=made.model, display_name=made.display_name))


def read_object(store: ObjectStore, uri: str) -> bytes:
    """The bytes at a `gs://` address of the local Cloud Storage.

    Raises:
        LookupError: there is no such object.
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    try:
        _, content = store.open(bucket, name)
    except StorageError as error:
        raise LookupError(uri) from error
    with content:
        return content.read()


def new_id() -> str:
    """A number as long as Google's, that nothing else has."""
    return str(10**18 + uuid.uuid4().int % (9 * 10**18))


def parse_csv(text: str) -> Iterable[tuple[int, Example | str]]:
    """AutoML Vision's lines: `[SET,]URI[,LABEL...]` (https://cloud.google.com/vision/automl/docs/prepare)."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = lines.line_num + 1
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, f"Malformed CSV: {error}."
            continue
        if cells:
            yield number, _csv_example([cell.strip() for cell in cells])


def _csv_example(cells: list[str]) -> Example | str:
    used_for: Set | None = None
    if cells[0] in _CSV_SETS:
        used_for = _CSV_SETS[cells[0]]
        cells = cells[1:]
    if not cells or not cells[0].startswith("gs://"):
        allowed = ", ".join(_CSV_SETS)
        return f"{(cells or [''])[0]!r} is neither a set ({allowed}) nor an image's gs:// URI."
    uri, *labels = cells
    if not all(labels) or not labels:
        return f"{uri} has no label, or an empty one."
    return Example(uri=uri, labels=tuple(dict.fromkeys(labels)), used_for=used_for)


def parse_jsonl(text: str, *, multi_label: bool) -> Iterable[tuple[int, Example | str]]:
    """Vertex AI's lines (https://cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data)."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, _json_example(line, multi_label=multi_label)


def _json_example(line: str, *, multi_label: bool) -> Example | str:
    try:
        read = json.loads(line)
        fields = cast("dict[str, Any]", read)
        uri: object = fields["imageGcsUri"]
        raw: Any = fields["classificationAnnotations"] if multi_label else [fields["classificationAnnotation"]]
        labels: list[object] = [annotation["displayName"] for annotation in raw]
        used_for: object = (fields.get("dataItemResourceLabels") or {}).get(_VERTEX_SET)
    except ValueError as error:
        return f"Malformed JSON: {error}."
    except (KeyError, TypeError, AttributeError) as error:
        return f"Not as the schema says: {error or type(error).__name__}."
    if not isinstance(uri, str) or not uri.startswith("gs://"):
        return f"imageGcsUri is {uri!r}; it must be a gs:// URI."
    names = [label for label in labels if isinstance(label, str) and label]
    if len(names) != len(labels) or not names:
        return f"{uri} has no label, or an empty one."
    if used_for is not None and used_for not in list(Set):
        return f"{_VERTEX_SET} is {used_for!r}; allowed are {', '.join(Set)}."
    return Example(
        uri=uri, labels=tuple(dict.fromkeys(names)), used_for=Set(cast("str", used_for)) if used_for else None
    )


def _existing(things: Mapping[str, Any], name: str, what: str) -> Any:  # noqa: ANN401  # the type of the values
    try:
        return things[name]
    except KeyError:
        raise RefusedError("NOT_FOUND", f"{what} {name} does not exist.") from None


def _check_display_name(name: str) -> None:
    if not name or len(name) > 128:  # noqa: PLR2004  # Vertex AI's; AutoML Vision's own are checked there
        raise RefusedError("INVALID_ARGUMENT", f"display_name is {name!r}; allowed are 1 to 128 characters.")


def _sets(data_set: DataSet, predefined: Mapping[Set, bool] | None) -> dict[Set, list[Example]]:
    sets: dict[Set, list[Example]] = {used_for: [] for used_for in Set}
    for uri in sorted(data_set.examples):
        example = data_set.examples[uri]
        if predefined is None:
            sets[example.used_for or _assigned(uri)].append(example)
        elif example.used_for and predefined[example.used_for]:
            sets[example.used_for].append(example)
    return sets


def _assigned(uri: str) -> Set:
    place = int.from_bytes(hashlib.sha256(uri.encode()).digest()[:8]) / 2**64
    return next((Set(used_for) for bound, used_for in _AUTOMATIC_SHARES if place < bound), Set.TEST)


def _figures(
    labels: tuple[str, ...], tested: Sequence[Example], scores: Sequence[Mapping[str, float]], *, multi_label: bool
) -> tuple[Figures, ...]:
    """For all together, then for each label; none without a test set."""
    if not tested:
        return ()
    truth = np.array([[label in example.labels for label in labels] for example in tested])
    said = np.array([[each[label] for label in labels] for each in scores])
    whole = _label_figures(None, truth.ravel(), said.ravel(), len(tested))
    if not multi_label:
        matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)
        np.add.at(matrix, (truth.argmax(axis=1), said.argmax(axis=1)), 1)
        whole = replace(whole, labels=labels, confusion=tuple(tuple(row) for row in matrix.tolist()))
    return (
        whole,
        *(_label_figures(label, truth[:, i], said[:, i], len(tested)) for i, label in enumerate(labels)),
    )


def _label_figures(label: str | None, true: Any, scores: Any, pictures: int) -> Figures:  # noqa: ANN401  # arrays
    from sklearn.metrics import average_precision_score, log_loss

    at: list[tuple[float, float, float, float]] = []
    for threshold in CONFIDENCES:
        said = scores >= threshold
        right = int((said & true).sum())
        precision = right / max(1, int(said.sum()))
        recall = right / max(1, int(true.sum()))
        at.append((threshold, recall, precision, 2 * precision * recall / max(precision + recall, 1e-12)))
    return Figures(
        label=label,
        pictures=pictures,
        au_prc=float(average_precision_score(true, scores)) if true.any() else 0.0,
        log_loss=float(log_loss(true, scores, labels=[False, True])),
        at=tuple(at),
    )


def _told(what: str, problems: Sequence[str]) -> str:
    more = f" ... and {len(problems) - MAX_FAILURES} more" if len(problems) > MAX_FAILURES else ""
    return f"{what}: {' '.join(problems[:MAX_FAILURES])}{more}"


def _write(file: Path, write: Callable[[Path], object]) -> None:
    """In one step: whoever reads sees the old or the new."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, suffix=".partial")
    os.close(descriptor)
    try:
        write(Path(temporary))
        Path(temporary).replace(file)
    finally:
        Path(temporary).unlink(missing_ok=True)
