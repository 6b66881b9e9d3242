"""Runs the Pulumi program in this process, without the engine: Pulumi's own mocks take its place.

What a resource becomes is for the given `pulumi.runtime.Mocks` to say; here is only the running. Deliberately absent:
a diff against an earlier run, which is the engine's business.
"""

import asyncio
import contextvars
import json
import logging
import os
import runpy
import threading
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pulumi
import yaml
from pulumi.runtime._callbacks import _CallbackServicer  # pyright: ignore[reportPrivateUsage]
from pulumi.runtime.mocks import MockMonitor, set_mocks
from pulumi.runtime.proto.resource_pb2 import ResourceHookRequest
from pulumi.runtime.settings import SETTINGS, get_root_resource, set_root_resource
from pulumi.runtime.stack import Stack as RootStack
from pulumi.runtime.stack import run_pulumi_func
from yaml.composer import ComposerError

from console.words import MAX_SHOWN, one_line

ROOT = Path(__file__).resolve().parents[2]


class ProgramError(Exception):
    """The program refuses to run, or the stack has no config; the text is for the user."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack as its files describe it."""

    project: str
    """The Pulumi project's name, which is also the namespace of its keys."""
    name: str
    config: Mapping[str, Any]
    """Keys with their namespace (`gcp:project`, `automl-inspection:modelId`), values as YAML reads them."""
    secret_keys: frozenset[str] = frozenset()
    """Those whose values the engine had to decrypt."""

    @classmethod
    def read(cls, name: str, *, root: Path = ROOT) -> "Stack":
        """Read `Pulumi.yaml` and `Pulumi.<name>.yaml`.

        Raises:
            ProgramError: there is no such stack, or a file is none that describes one.
        """
        path = root / f"Pulumi.{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(found.name.split(".")[1] for found in root.glob("Pulumi.*.yaml")))
            raise ProgramError(f"there is no {path.name} in {root}; the stacks here are {known}")
        project = _load_yaml(root / "Pulumi.yaml").get("name")
        if not isinstance(project, str) or not project:
            raise ProgramError(f"{root / 'Pulumi.yaml'}: name is {_short(project)}; it is the project's name, as text")
        config = _load_yaml(path).get("config")
        if not isinstance(config, dict):
            raise ProgramError(f"{path} has no `config:` with keys below it")
        keys: dict[Any, Any] = config  # pyright: ignore[reportUnknownVariableType]
        for key, value in keys.items():
            try:
                _ = _as_engine(value)
            except (TypeError, ValueError) as error:
                raise ProgramError(
                    f"{path}: the value of {_short(key)} is nothing that can be handed over: {error}"
                ) from error
        if odd := [key for key in keys if not isinstance(key, str)]:
            raise ProgramError(f"{path}: the key {_short(odd[0])} is no text: put it in quotes, with its namespace")
        return cls(project=project, name=name, config=keys)

    def text(self, *keys: str) -> str:
        """The value of the first of these keys that is set; it must be text.

        Raises:
            ProgramError: none is, or it is not.
        """
        value = next((self.config[key] for key in keys if key in self.config), None)
        if not isinstance(value, str) or not value:
            raise ProgramError(f"Pulumi.{self.name}.yaml: {keys[0]} is {_short(value)}; it is required, as text")
        return value


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One resource, as the program declared it."""

    type: str
    name: str
    urn: str
    parent: str
    """A URN."""
    inputs: Mapping[str, Any]
    """Resolved, with the provider's camelCase keys; assets are whole."""
    protect: bool
    retain_on_delete: bool
    depends_on: tuple[str, ...]
    """URNs, of what it was told to wait for and of what its inputs come from."""
    custom: bool
    """False for a component."""
    waits: bool = False
    """Whether the engine calls the program before it creates the resource (a `before_create` hook)."""
    former_parents: tuple[str, ...] = ()
    """URNs, of the components that it belonged to in earlier versions (its aliases)."""


@dataclass(frozen=True, kw_only=True)
class ProgramRun:
    """What a run left behind."""

    outputs: Mapping[str, Any]
    resources: list[Declared] = field(repr=False)
    """In the order in which they were registered."""


def run_program(
    stack: Stack,
    mocks: pulumi.runtime.Mocks,
    *,
    root: Path = ROOT,
    say: Callable[[str], None] = lambda _: None,
    run_hooks: bool = False,
    existing: AbstractSet[tuple[str, str]] = frozenset(),
) -> ProgramRun:
    """Run `infra/` of the repository at `root` to its end. May be called again and again in one process.

    `say` is told what the program tells its user on the way. With `run_hooks`, the program's hooks run as in the engine:
    those that precede a creation not for what is `existing`, by type and name.

    Raises:
        ProgramError: the program refuses this config; the text is its own.
        Exception: what else the program or the mocks raised, as it was.
    """
    result: list[ProgramRun] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(asyncio.run(_run(stack, root, say, _Recorder(mocks, run_hooks=run_hooks, existing=existing))))
        except BaseException as error:  # noqa: BLE001  # handed over to the caller's thread
            failure.append(error)

    # A thread and a context of its own: Pulumi keeps its settings, config and event loop in these, and the caller's stay
    # as they are (the caller may itself be in an event loop).
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="pulumi-program")
    thread.start()
    thread.join()
    if failure:
        if isinstance(failure[0], pulumi.RunError):
            raise ProgramError(str(failure[0])) from failure[0]
        raise failure[0]
    return result[0]


async def _run(stack: Stack, root: Path, say: Callable[[str], None], monitor: "_Recorder") -> ProgramRun:
    # What depends on a resource that failed fails with it; the first failure is raised below, the echoes are noise.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    SETTINGS.outputs = set()  # pyright: ignore[reportAttributeAccessIssue]  # a failed run leaves some unfinished
    set_root_resource(None)  # pyright: ignore[reportArgumentType]  # or set_mocks would keep an earlier run's stack
    values = {key: _as_engine(value) for key, value in stack.config.items()}
    pulumi.runtime.set_all_config(values, sorted(stack.secret_keys))
    set_mocks(monitor.mocks, project=stack.project, stack=stack.name, preview=False, monitor=monitor, logger=_Told(say))
    program = root / "infra" / "__main__.py"
    # An Output inside an f-string would only warn, and the text be wrong.
    strict = "PULUMI_ERROR_OUTPUT_STRING"
    before = os.environ.get(strict)
    os.environ[strict] = "1"
    try:
        await run_pulumi_func(lambda: _discard(runpy.run_path(str(program), run_name="__main__")))
        outputs = cast("RootStack", get_root_resource()).outputs
        resolved = await pulumi.Output.from_input(outputs).future()
    finally:
        if before is None:
            del os.environ[strict]
        else:
            os.environ[strict] = before
    return ProgramRun(outputs=resolved or {}, resources=monitor.declared)


class _Recorder(MockMonitor):
    """Notes what the mocks are not told: options such as `protect`, and dependencies."""

    def __init__(self, mocks: pulumi.runtime.Mocks, *, run_hooks: bool, existing: AbstractSet[tuple[str, str]]) -> None:
        super().__init__(mocks)
        self._run_hooks = run_hooks
        self._existing = existing
        self.declared: list[Declared] = []
        self._hooks: dict[str, Any] = {}
        self._lock = threading.Lock()

    def RegisterResourceHook(self, request: Any) -> Any:  # noqa: ANN401, N802
        # As Pulumi's own mocks find the callbacks of transforms.
        for servicer in _CallbackServicer._servicers:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            hook = servicer._callbacks.get(request.callback.token)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            if hook:
                self._hooks[request.name] = hook
        return super().RegisterResourceHook(request)

    def RegisterResource(self, request: Any) -> Any:  # noqa: ANN401, N802  # the monitor's own name and types
        to_create = (request.type, request.name) not in self._existing
        for name in request.hooks.before_create if self._run_hooks and to_create else ():
            about = ResourceHookRequest(name=request.name, type=request.type, new_inputs=request.object)
            if failed := asyncio.run(self._hooks[name](about.SerializeToString())).error:
                raise RuntimeError(f"the hook {name} failed: {failed}")
        response = super().RegisterResource(request)
        if request.type == "pulumi:pulumi:Stack":
            return response
        declared = Declared(
            type=request.type,
            name=request.name,
            urn=response.urn,
            parent=request.parent,
            inputs=pulumi.runtime.rpc.deserialize_properties(request.object),
            protect=request.protect,
            retain_on_delete=request.retainOnDelete,
            depends_on=tuple(request.dependencies),
            custom=request.custom,
            waits=bool(request.hooks.before_create),
            former_parents=tuple(alias.spec.parentUrn for alias in request.aliases if alias.spec.parentUrn),
        )
        with self._lock:
            self.declared.append(declared)
        return response


class _Told(logging.Logger):
    """Where the program's `pulumi.log` goes; what the engine would show a user is passed on."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__("pulumi", logging.INFO)
        handler = logging.Handler()
        handler.emit = lambda record: say(record.getMessage())
        self.addHandler(handler)


def _as_engine(value: object) -> str:
    """The engine hands every value over as text, lists and objects as JSON; of JSON's types it makes no date."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


class _Loader(yaml.SafeLoader):
    """Refuses aliases: a value may contain itself by them, or grow beyond all bounds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise ComposerError(
                None, None, f"*{event.anchor} is an alias; write the value there instead", event.start_mark
            )
        return super().compose_node(parent, index)


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.load(path.read_bytes().decode(), _Loader)  # noqa: S506 - a safe one
    except RecursionError as error:
        raise ProgramError(f"{path} cannot be read: it is nested too deeply") from error
    except Exception as error:
        # What text after an explicit tag (`!!int x`) makes PyYAML raise is not limited to its own errors.
        raise ProgramError(f"{path} cannot be read: {one_line(str(error)) or type(error).__name__}") from error
    if not isinstance(loaded, dict):
        raise ProgramError(f"{path} has no keys with values")
    return loaded  # pyright: ignore[reportUnknownVariableType]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _discard(_: object) -> None:
    """A program's globals are no awaitable."""
