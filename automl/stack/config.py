"""`Pulumi.<stack>.yaml`: the thresholds in it, read and written, with everything else left as it stands."""

import io
import json
import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

from console.errors import UserError
from console.words import MAX_SHOWN, one_line
from inspection.names import PROJECT_NAME

THRESHOLDS = f"{PROJECT_NAME}:thresholds"

MAX_DEPTH = 50
"""Of lists and maps in each other; the parser needs a time that grows with its square."""

_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z_-]*")
_READ_AS_OTHER_THAN_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


class StackConfigError(UserError):
    """The stack's file cannot be used; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class StackThresholds:
    """What the stack's file says now; None or empty where it says nothing."""

    common: float | None
    by_label: Mapping[str, float]
    labels: tuple[str, ...]


def stack_file(stack: str, start: Path) -> Path:
    """The file of a stack, in the folder that holds `Pulumi.yaml`: `start` or one above it.

    Raises:
        StackConfigError: there is none.
    """
    for folder in (start, *start.parents):
        if (folder / "Pulumi.yaml").is_file():
            file = folder / f"Pulumi.{stack}.yaml"
            if file.is_file():
                return file
            stacks = sorted(path.name.split(".", 1)[1].removesuffix(".yaml") for path in folder.glob("Pulumi.*.yaml"))
            raise StackConfigError(f"there is no {file}; stacks with a file are: {', '.join(stacks) or 'none'}")
    raise StackConfigError(f"neither {start} nor a folder above it has a Pulumi.yaml: go to the project's folder")


def read(file: Path) -> StackThresholds:
    """What a stack's file says.

    Raises:
        StackConfigError: it is no such file.
    """
    config = _config(_load(file), file)
    thresholds = config.get(THRESHOLDS) or {}
    labels = config.get(f"{PROJECT_NAME}:labels") or []
    if not isinstance(thresholds, dict) or not isinstance(labels, list):
        raise StackConfigError(f"{file}: thresholds must be a map of labels, and labels a list")
    by_label: dict[Any, Any] = thresholds  # pyright: ignore[reportUnknownVariableType]
    names: list[Any] = labels  # pyright: ignore[reportUnknownVariableType]
    common = config.get(f"{PROJECT_NAME}:threshold")
    return StackThresholds(
        common=None if common is None else _number(common, file, "threshold"),
        by_label={
            str(label): _number(value, file, f"thresholds.{str(label)[:MAX_SHOWN]!r}")
            for label, value in by_label.items()
        },
        labels=tuple(str(label) for label in names),
    )


def write(file: Path, thresholds: Mapping[str, float]) -> None:
    """Set these labels' thresholds; every other byte of the file stays.

    Raises:
        StackConfigError: the file cannot be read, or has a tag where the thresholds go.
        OSError: it cannot be written.
    """
    text = text_of(file)
    wanted = {**read(file).by_label, **thresholds}
    others = _all_but_thresholds(file)
    for label, threshold in thresholds.items():
        text = _with_threshold(text, label, repr(threshold), file)
    with tempfile.TemporaryDirectory(prefix=".stack-", dir=file.parent) as scratch:
        whole = Path(scratch) / file.name
        whole.write_bytes(text.encode())
        whole.chmod(file.stat().st_mode & 0o777)
        try:
            written, kept = read(whole).by_label, _all_but_thresholds(whole)
        except StackConfigError:
            written, kept = None, None
        if written != wanted or kept != others:
            raise StackConfigError(f"{file} was left as it is; put these lines in by hand:\n{lines(thresholds)}")
        whole.replace(file)


def lines(thresholds: Mapping[str, float]) -> str:
    """The lines for a stack's file, to be pasted by hand."""
    entries = (f"    {_key_text(label)}: {threshold!r}\n" for label, threshold in thresholds.items())
    return f"config:\n  {THRESHOLDS}:\n" + "".join(entries)


def _with_threshold(text: str, label: str, threshold: str, file: Path) -> str:
    """The text with one threshold set: the parser tells where, and only there it is changed."""
    # YAML counts places in the text after its line ends are made one; "\r" counts all the same.
    root = YAML(pure=True).compose(io.StringIO(text))
    line_end = "\r\n" if "\r\n" in text else "\n"
    config = _value(root, "config")
    if not isinstance(config, MappingNode) or config.flow_style:
        raise StackConfigError(f"{file} has no `config:` with keys below it, each on its line")
    node = _value(config, THRESHOLDS)
    entry = f"{_key_text(label)}: {threshold}"
    if isinstance(node, MappingNode) and (value := _value(node, label)) is not None:
        return text[: value.start_mark.index] + threshold + text[value.end_mark.index :]
    if isinstance(node, MappingNode) and node.flow_style:
        at = node.value[-1][1].end_mark.index if node.value else node.start_mark.index + 1
        return text[:at] + (", " if node.value else "") + entry + text[at:]
    if isinstance(node, MappingNode):
        return _with_line_after(text, node, node.start_mark.column * " " + entry, line_end)
    indent = config.start_mark.column * " "
    if node is None:
        text = _with_line_after(text, config, f"{indent}{THRESHOLDS}:", line_end)
        return _with_threshold(text, label, threshold, file)
    # The key is there with nothing (`thresholds:`), as it has just been put there.
    key = next(key for key, value in config.value if value is node)
    line_stop = text.find("\n", key.end_mark.index)
    at = len(text) if line_stop < 0 else line_stop + 1
    return text[:at] + f"{indent}  {entry}{line_end}" + text[at:]


def _with_line_after(text: str, node: Node, line: str, line_end: str) -> str:
    """A line below the last one of a block; what follows on that line, as a comment, stays there."""
    while isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, MappingNode) and last[1].end_mark.index > last[1].start_mark.index else last
        if isinstance(node, tuple):  # a key with nothing
            node = node[0]
    # Text in a block (`|`) ends where the next line begins.
    stop = node.end_mark.index - 1 if text[node.end_mark.index - 1] == "\n" else text.find("\n", node.end_mark.index)
    if stop < 0:
        return text + line_end + line + line_end
    return text[: stop + 1] + line + line_end + text[stop + 1 :]


def _value(node: Node | None, key: str) -> Node | None:
    entries = node.value if isinstance(node, MappingNode) else []
    return next((value for name, value in entries if name.value == key), None)


def text_of(file: Path) -> str:
    """A stack's file as it stands, with whichever line ends it has.

    Raises:
        StackConfigError: it cannot be read.
    """
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise StackConfigError(f"{file} cannot be read: {error}") from error


def config_of(text: str, file: Path) -> dict[str, Any]:
    """The keys and values of a stack's file.

    Raises:
        StackConfigError: the text is no such file.
    """
    return _config(_parsed(text, file), file)


def _load(file: Path) -> object:
    return _parsed(text_of(file), file)


def _parsed(text: str, file: Path) -> object:
    try:
        _check_bounds(text, file)
        return YAML(typ="safe", pure=True).load(io.StringIO(text))
    except StackConfigError:
        raise
    except Exception as error:
        # What text after an explicit tag (`!!int x`) makes the parser raise is not limited to its own errors.
        raise StackConfigError(f"{file} cannot be read: {one_line(str(error)) or type(error).__name__}") from error


def _check_bounds(text: str, file: Path) -> None:
    """Aliases are refused, as by them a value may contain itself or grow without end; and what is nested too deeply."""
    depth = 0
    for event in YAML(pure=True).parse(io.StringIO(text)):
        line = event.start_mark.line + 1
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if isinstance(event, AliasEvent):
            raise StackConfigError(
                f"{file} line {line}: *{event.anchor[:MAX_SHOWN]} is an alias; write the value there instead"
            )
        if depth > MAX_DEPTH:
            raise StackConfigError(f"{file} line {line} is nested too deeply: {MAX_DEPTH} lists or maps are allowed")


def _config(data: Any, file: Path) -> dict[str, Any]:  # noqa: ANN401  # any YAML
    config = data.get("config") if isinstance(data, dict) else None  # pyright: ignore[reportUnknownMemberType]
    if not isinstance(config, dict):
        raise StackConfigError(f"{file} has no `config:` with keys below it")
    return config  # pyright: ignore[reportUnknownVariableType]


def _all_but_thresholds(file: Path) -> dict[str, Any]:
    data: Any = _load(file)
    return {**data, "config": {key: value for key, value in _config(data, file).items() if key != THRESHOLDS}}


def _number(value: object, file: Path, key: str) -> float:
    # `pulumi config set --path` writes numbers as text.
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= 1:
        raise StackConfigError(f"{file}: {PROJECT_NAME}:{key} is {repr(value)[:MAX_SHOWN]}; it is a number from 0 to 1")
    return number


def _key_text(label: str) -> str:
    """A label that YAML 1.1 or 1.2 would read as something else (`no`, `1`) is quoted."""
    plain = _PLAIN_KEY.fullmatch(label) and label.lower() not in _READ_AS_OTHER_THAN_TEXT
    return label if plain else json.dumps(label, ensure_ascii=False)
