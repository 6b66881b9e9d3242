"""Datasets, models, endpoints and operations of the local cloud.

AutoML Vision and Vertex AI have different words for the same things: :mod:`local.google.models.automl_service` and
:mod:`local.google.models.vertex_service` hold the words, this module the meaning. A model is really trained on the
imported images, in seconds on this machine's processors; a budget is checked, and not spent.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from local.google.models.imports import DataSet, Parse, ReadObject, Set, read_examples
from local.google.models.jobs import Job
from local.google.models.kept import Endpoint, ModelFolder
from local.google.models.registry import ModelRegistry, RegisteredModel
from local.google.models.training import Made, assigned_sets, check_counts, train_on
from local.google.rpc import RefusedError

MOST_PICTURES: Final = 20_000
"""In a data set of the local cloud; Google's quota is a million."""


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
        self._kept = ModelFolder(folder)
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
                examples = read_examples(
                    job,
                    self.data_set(data_set),
                    uris,
                    parse=parse,
                    read_object=self._read,
                    most_images=self._most_pictures,
                )
                with self._lock:
                    self._data_sets[data_set] = replace(self.data_set(data_set), examples=examples)

            return self.start("import", name=operation, subject=data_set, work=work)

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
        sets = assigned_sets(found, predefined)
        check_counts(sets)

        def work(job: Job) -> Made:
            made = train_on(
                job,
                found,
                sets,
                self._read,
                name=model,
                display_name=display_name,
                budget=budget_milli_node_hours,
                model_type=model_type,
            )
            with self._lock:
                self._models[model] = made
                self._kept.keep(made)
            return made

        details = {"displayName": display_name, "model": model, "dataset": data_set}
        return self.start("train", name=operation, subject=data_set, work=work, details=details)

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
            self._kept.forget(name)

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

    def _keep_deployments(self) -> None:
        self._kept.keep_deployments(self._endpoints.values(), self._deployed)

    def _load(self) -> None:
        self._models = self._kept.models()
        kept = self._kept.deployments()
        if kept is None:
            return
        endpoints, deployed = kept
        for name in (*self._models, *(endpoint.name for endpoint in endpoints)):
            if self._registry.find(name):  # this name belongs to the kept model, deployed or not
                self._registry.remove(name)
        for endpoint in endpoints:
            self._endpoints[endpoint.name] = endpoint
            if endpoint.model:
                self._register_kept(endpoint.name, endpoint.model)
        for name in deployed:
            self._deployed.add(name)
            self._register_kept(name, name)

    def _register_kept(self, name: str, model: str) -> None:
        made = self._models[model]
        self._registry.register(RegisteredModel(name=name, model=made.model, display_name=made.display_name))


def _existing(things: Mapping[str, Any], name: str, what: str) -> Any:  # noqa: ANN401  # the type of the values
    try:
        return things[name]
    except KeyError:
        raise RefusedError("NOT_FOUND", f"{what} {name} does not exist.") from None


def _check_display_name(name: str) -> None:
    if not name or len(name) > 128:  # noqa: PLR2004  # Vertex AI's; AutoML Vision's own are checked there
        raise RefusedError("INVALID_ARGUMENT", f"display_name is {name!r}; allowed are 1 to 128 characters.")
