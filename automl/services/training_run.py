"""A training that can be left and taken up again: what was begun stands in a file, and goes on in the cloud.

Three steps, each begun by one request: a data set, its import, the training. Before each request the file says that it
is about to be made, and after it which operation it became. So whatever stops this process, the next one knows what is
there: it follows the operation, or, if it was stopped between request and answer, looks in the service for what came
of the request. Nothing is created twice.
"""

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from automl.services.service import NotThereError, OperationFailedError, Plan, Progress, Service
from console.errors import UserError
from inspection.model_id import Backend

FOLDER = Path(".inspection")
"""Below the working directory; what is in it may be deleted once nothing is being trained."""

DATA_SET = "data set"
IMPORT = "import"
TRAINING = "training"
STEPS = (DATA_SET, IMPORT, TRAINING)

_CLOCKS_APART = 60.0
"""Seconds that the service's clock may be behind this one's."""


class NotBegunError(UserError):
    """Nothing is begun, or not again; the text says why and what to do."""


@dataclass
class Step:
    """One step, as far as it has come."""

    asked: float | None = None
    """When the request was about to be made; seconds since 1970."""
    operation: str | None = None
    done: bool = False
    result: str = ""
    problems: list[str] = field(default_factory=list[str])


@dataclass
class Training:
    """What is known of one training."""

    backend: Backend
    project: str
    location: str
    plan: Plan
    steps: dict[str, Step] = field(default_factory=lambda: {step: Step() for step in STEPS})

    @property
    def finished(self) -> bool:
        """Whether there is a model."""
        return self.steps[TRAINING].done

    @property
    def running(self) -> str | None:
        """The operation that is going on, as far as is known."""
        return next((step.operation for step in self.steps.values() if step.operation and not step.done), None)


def state_file(name: str, project: str) -> Path:
    """Where the training of that name is kept."""
    return FOLDER / project / f"{name}.json"


def load(name: str, project: str) -> Training | None:
    """What is known of a training; None: nothing.

    Raises:
        NotBegunError: its file cannot be read.
    """
    file = state_file(name, project)
    try:
        fields: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        plan: dict[str, Any] = fields["plan"]
        files, own_sets = tuple(plan.pop("files")), tuple(plan.pop("own_sets"))
        return Training(
            backend=Backend(fields["backend"]),
            project=fields["project"],
            location=fields["location"],
            plan=Plan(**plan, files=files, own_sets=own_sets),
            steps={step: Step(**fields["steps"][step]) for step in STEPS},
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotBegunError(f"{file} does not tell of a training ({error}): delete it if nothing is running") from error


def save(training: Training) -> None:
    """Write what is known, in one step."""
    file = state_file(training.plan.name, training.project)
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(training), indent=1, ensure_ascii=False)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".state-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
    Path(temporary).replace(file)


def forget(name: str, project: str) -> None:
    """The training's model is gone."""
    state_file(name, project).unlink(missing_ok=True)


def check_free(service: Service, name: str, before: Training | None) -> None:
    """Refuse to begin where something of that name is there already.

    Raises:
        NotBegunError: it names what is there.
    """
    if before and _is_known(service, before):
        if before.finished:
            raise NotBegunError(
                f"{name!r} is trained already ({before.steps[TRAINING].result}): give another --name, or delete it "
                f"first (`inspection model delete {name} --data-set`)"
            )
        raise NotBegunError(f"the training of {name!r} was begun before: --resume goes on with it")
    there = service.find_data_set(name)
    if there is None:
        try:
            there = service.find_model(name).name
        except NotThereError:
            return
    raise NotBegunError(f"there is {there} already, which is called {name!r} in {service.where}: give another --name")


def check_resumable(service: Service, name: str, before: Training | None) -> Training:
    """What --resume goes on with.

    Raises:
        NotBegunError: there is nothing.
    """
    if before is None:
        raise NotBegunError(f"no training of {name!r} was begun from this folder: there is no file in {FOLDER} for it")
    if not _is_known(service, before):
        raise NotBegunError(
            f"the service knows nothing of the training of {name!r} any more: begin it without --resume"
        )
    return before


def run(
    service: Service,
    training: Training,
    watch: Callable[[str, Callable[[], Progress]], Progress],
    *,
    despite_problems: bool = False,
) -> str:
    """Do every step that is not done; the trained model's resource name.

    Args:
        service: what trains.
        training: is written to its file at every change.
        watch: waits for an operation, given what it does and how to ask how far it is; see :func:`automl.services.waiting.wait`.
        despite_problems: go on though pictures were left out of the import.

    Raises:
        LeftOutError: the import left pictures out, and nothing is trained yet.
        ServiceError: the service refused, or an operation failed; a failed step is tried again the next time.
    """
    for name in STEPS:
        step = training.steps[name]
        if not step.done:
            _begin(service, training, name)
            _follow(service, training, name, watch)
        if name == IMPORT and step.problems and not despite_problems and not training.steps[TRAINING].asked:
            raise LeftOutError(step.problems)
    return training.steps[TRAINING].result


class LeftOutError(Exception):
    """The import left something out."""

    def __init__(self, problems: list[str]) -> None:
        """`problems` are the service's lines."""
        super().__init__(f"{len(problems)} pictures were left out")
        self.problems = problems


def _begin(service: Service, training: Training, name: str) -> None:
    step, plan = training.steps[name], training.plan
    if step.asked is not None and step.operation is None:
        _recover(service, training, name)
    if step.operation is not None or step.done:
        return
    step.asked = time.time()
    save(training)
    data_set = training.steps[DATA_SET].result
    with _undisturbed():
        match name:
            case "data set":
                step.operation = service.begin_data_set(plan)
            case "import":
                step.operation = service.begin_import(data_set, plan)
            case _:
                step.operation = service.begin_training(data_set, plan)
        save(training)


def _recover(service: Service, training: Training, name: str) -> None:
    """What became of a request whose answer was not noted."""
    step, plan = training.steps[name], training.plan
    if name == DATA_SET:
        found = service.find_data_set(plan.name)
        step.done, step.result = found is not None, found or ""
    else:
        since = (step.asked or 0) - _CLOCKS_APART
        step.operation = service.begun_since(name, training.steps[DATA_SET].result, plan.name, since)
    save(training)


def _follow(
    service: Service, training: Training, name: str, watch: Callable[[str, Callable[[], Progress]], Progress]
) -> None:
    step = training.steps[name]
    if step.done:
        return
    operation = step.operation or ""
    try:
        progress = watch(name, lambda: service.progress(operation))
    except OperationFailedError:
        training.steps[name] = Step()
        save(training)
        raise
    step.done, step.result, step.problems = True, progress.result, list(progress.problems)
    save(training)


def _is_known(service: Service, training: Training) -> bool:
    """Whether the service still knows what was begun: a local cloud forgets at its end."""
    try:
        if training.finished:
            service.find_model(training.steps[TRAINING].result)
        elif running := training.running:
            service.progress(running)
        elif data_set := training.steps[DATA_SET].result:
            return service.has_data_set(data_set)
    except OperationFailedError:
        return True
    except NotThereError:
        return False
    return any(step.asked for step in training.steps.values())


@contextmanager
def _undisturbed() -> Generator[None, None, None]:
    """Ctrl-C waits until the block is through, so that a request's answer is noted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def remember(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            raise KeyboardInterrupt
