"""Mutated stack config: whatever a user writes, the settings are read, or refused in words."""

import random
from pathlib import Path
from typing import Any

import yaml

from infra.settings import SettingsError, parse_settings
from tests.proof.fuzz_mutations import Fuzzed, mutated, mutated_bytes

ROOT = Path(__file__).resolve().parents[2]
SECONDS_FOR_ONE = 5.0
MAX_TEXT = 50_000
"""Characters of a refusal: more is no help."""


def fuzz_settings(count: int, seed: int) -> Fuzzed:
    """`count` mutations of the example stacks' files; the same for the same seed."""
    fuzzed, rng = Fuzzed(target="stack config"), random.Random(seed)
    files = [path.read_bytes() for path in sorted(ROOT.glob("Pulumi.*.yaml"))]
    with fuzzed.timed():
        for _ in range(count):
            values = _mutated_values(rng.choice(files), rng)
            if values is None:
                fuzzed.count += 1
                fuzzed.outcomes["no YAML object: the engine refuses it"] += 1
                continue
            with fuzzed.one(values, limit=SECONDS_FOR_ONE):
                fuzzed.outcomes[_read(values, fuzzed, rng.choice(["dev", "local", "production", "x" * 60, "Ä"]))] += 1
    return fuzzed


def _mutated_values(file: bytes, rng: random.Random) -> dict[str, Any] | None:
    """As :func:`infra.settings.load_settings` hands them over."""
    if rng.random() < 0.3:
        file = mutated_bytes(file, rng, changes=rng.choice([1, 1, 2, 4]))
    try:
        config = yaml.safe_load(file)["config"]
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(config, dict):
        return None
    values = {str(key).removeprefix("automl-inspection:"): value for key, value in config.items()}
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
