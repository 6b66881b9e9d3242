"""Mutated stack config: whatever a user writes, the settings are read, or refused in words."""

import random
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from infra.stack_config import SettingsError, parse_settings
from proof.fuzz_mutations import Fuzzed, mutated, mutated_bytes

ROOT = Path(__file__).resolve().parents[1]
SECONDS_FOR_ONE = 5.0
MAX_TEXT = 50_000
"""Characters of a refusal: more is no help."""


def fuzz_settings(count: int, seed: int) -> Fuzzed:
    """`count` mutations of the example stacks' values; the same for the same seed."""
    fuzzed, rng = Fuzzed(target="stack config: its values"), random.Random(seed)
    files = [path.read_bytes() for path in sorted(ROOT.glob("Pulumi.*.yaml"))]
    originals = [_values(file) for file in files]
    with fuzzed.timed():
        while fuzzed.count < count:
            values = fuzzed.drawn(lambda: _mutated_values(rng.choice(files), rng), None, *originals)
            stack = rng.choice(["dev", "local", "production", "x" * 60, "Ä"])
            fuzzed.outcomes[
                fuzzed.one(values, partial(_read, values or {}, fuzzed, stack), limit=SECONDS_FOR_ONE) or "hung"
            ] += 1
    return fuzzed


def _values(file: bytes) -> dict[str, Any] | None:
    """As :func:`infra.stack_config.load_settings` hands them over; None if there are none to hand over."""
    try:
        config = yaml.safe_load(file)["config"]
        return {str(key).removeprefix("automl-inspection:"): value for key, value in config.items()}
    except Exception:  # noqa: BLE001 - the engine reads the file; what its parser makes of it is not tried here
        return None


def _mutated_values(file: bytes, rng: random.Random) -> dict[str, Any] | None:
    if rng.random() < 0.3:
        file = mutated_bytes(file, rng, changes=rng.choice([1, 1, 2, 4]))
    values = _values(file)
    if values is None:
        return None
    for key, value in list(values.items()):
        if rng.random() < 0.1:  # `pulumi config set` writes text
            values[key] = str(value)
    changed = mutated(values, rng, changes=rng.choice([0, 1, 1, 1, 2, 5]))
    return changed if isinstance(changed, dict) else None


def _read(values: dict[str, Any], fuzzed: Fuzzed, stack: str) -> str:
    try:
        settings = parse_settings(values, stack=stack)
        # What the program then asks for must be there too.
        _ = (settings.model, settings.routing, settings.resource_labels, settings.message_retention)
        _ = settings.keep_deleted_images_seconds
    except SettingsError as error:
        if not str(error).isprintable() and "\x1b" in str(error):
            fuzzed.find("a refusal that commands the terminal", values)
        if len(str(error)) > MAX_TEXT:
            fuzzed.find("a refusal that is too long", f"{len(str(error))} characters: {values}")
        return "refused in words"
    except Exception as error:  # noqa: BLE001 - any other is a finding
        fuzzed.find(f"unexpected {type(error).__name__}", f"{error}: {values}")
        return "crashed"
    return "read"
