"""Mutated bytes of a stack's files, at the readers that do without Pulumi's engine.

One is the local cloud's; the other is of `inspection model`, which also writes.
"""

import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from automl.stack import config as stack_config
from automl.stack import model as stack_model
from local.deploy.program import ProgramError, Stack
from proof.fuzz_mutations import Fuzzed, mutated_bytes
from proof.fuzz_settings import MAX_TEXT, ROOT

SECONDS_FOR_ONE = 10.0
_STACK = "fuzzed"
_ODD = (
    b"&a [*a]", b"&a {b: *a}", b"*a", b"&a", b"!!int x", b"!!int ''", b"!!bool x", b"!!float ''", b"!!timestamp x", b"!!set {a}",
    b"!!binary =", b"!!omap [a]", b"!!python/name:os.system", b"!x y", b"0001-00-00", b"2026-11-21", b"9" * 5000, b"0b", b"0x",
    b".inf", b"-.nan", b"1_0", b"12:30:45", b"<<: [1]", b"? [a, b]\n  : c", b"? {a: b}\n  : c", b"|\n    text", b">-\n", b"---\n",
    b"...\n", b"%YAML 9.9\n", b"\t", b"\r", b"\0", b"\x07", b"\x1b[2J", b'"\\e[2J"', b'"\\ud800"', b'"\\x"', b"\xff\xfe",
    b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"[" * 200, b"[" * 20_000, b"{a: " * 300, b"- " * 300, b"'", b'"', b"#", b": ", b"a" * 70_000,
    b"~", b"null", b"yes", b"config:", b"\n  automl-inspection:modelId: x", b"\n  automl-inspection:thresholds:\n    ok: 0.9",
    b"\n  automl-inspection:thresholds: {ok: 1e400, no: 0.5}", b"\n  automl-inspection:thresholds: [0.5]",
)  # fmt: skip
"""What YAML can mean by a few bytes."""


def fuzz_stack_files(count: int, seed: int) -> list[Fuzzed]:
    """`count` mutations of the example stacks' files at each reader; the same for the same seed."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            _fuzz("stack files: as the local cloud reads them", _at_the_local_cloud, Path(folder), count, seed),
            _fuzz("stack files: as models are written there", _at_the_commands, Path(folder), count, seed),
        ]


def _fuzz(target: str, door: Callable[[Path, Fuzzed], str], root: Path, count: int, seed: int) -> Fuzzed:
    fuzzed, rng = Fuzzed(target=target), random.Random(seed)
    project = (ROOT / "Pulumi.yaml").read_bytes()
    stacks = [path.read_bytes() for path in sorted(ROOT.glob("Pulumi.*.yaml"))]
    with fuzzed.timed():
        for _ in range(count):
            # One in ten is about the project's file.
            which, originals = ("Pulumi.yaml", [project]) if rng.random() < 0.1 else (f"Pulumi.{_STACK}.yaml", stacks)
            (root / "Pulumi.yaml").write_bytes(project)
            (root / f"Pulumi.{_STACK}.yaml").write_bytes(rng.choice(stacks))
            file = fuzzed.drawn(partial(_mutated_file, originals, rng), *originals)
            (root / which).write_bytes(file)
            outcome = fuzzed.one(f"{which}: {file!r}", partial(door, root, fuzzed), limit=SECONDS_FOR_ONE)
            fuzzed.outcomes[outcome or "hung"] += 1
    return fuzzed


def _mutated_file(files: list[bytes], rng: random.Random) -> bytes:
    file = rng.choice(files)
    if rng.random() < 0.6:
        for _ in range(rng.choice([1, 1, 2, 4])):
            file = _with_odd_value(file, rng)
    if rng.random() < 0.5:
        file = mutated_bytes(file, rng, changes=rng.choice([1, 1, 2, 4]))
    return file


def _with_odd_value(file: bytes, rng: random.Random) -> bytes:
    """Something odd after a colon, in place of what stands there or before it, or anywhere."""
    odd = rng.choice(_ODD)
    colons = [at for at in range(len(file) - 1) if file[at : at + 2] == b": "]
    if not colons or rng.random() < 0.2:
        at = rng.randrange(len(file) + 1)
        return file[:at] + odd + file[at:]
    at = rng.choice(colons) + 2
    end = file.find(b"\n", at)
    return file[:at] + odd + (b" " + file[at:] if rng.random() < 0.2 else file[end if end > 0 else len(file) :])


def _at_the_local_cloud(root: Path, fuzzed: Fuzzed) -> str:
    about = (root / f"Pulumi.{_STACK}.yaml").read_bytes()
    try:
        stack = Stack.read(_STACK, root=root)
        _ = (stack.text("gcp:project"), stack.text(f"{stack.project}:modelId", "automl-inspection:modelId"))
    except ProgramError as error:
        _check_words(str(error), fuzzed, about)
        return "refused in words"
    except Exception as error:  # noqa: BLE001 - any other is a finding
        fuzzed.find(f"unexpected {type(error).__name__}", f"{error}: {about!r}")
        return "crashed"
    return "read"


def _at_the_commands(root: Path, fuzzed: Fuzzed) -> str:
    outcomes: list[str] = []
    for write in (_write_thresholds, _write_model):
        file = stack_config.stack_file(_STACK, root)
        before = file.read_bytes()
        try:
            write(file, fuzzed)
        except stack_config.StackConfigError as error:
            _check_words(str(error), fuzzed, before)
            if file.read_bytes() != before:
                fuzzed.find("refused, and written all the same", before)
            outcomes.append("refused in words")
        except Exception as error:  # noqa: BLE001 - any other is a finding
            fuzzed.find(f"unexpected {type(error).__name__}", f"{error}: {before!r}")
            outcomes.append("crashed")
        else:
            outcomes.append("written")
    return outcomes[0] if len(set(outcomes)) == 1 else "one of both written"


def _write_thresholds(file: Path, fuzzed: Fuzzed) -> None:
    wanted = {"ok": 0.9, "no": 0.25}
    before = stack_config.read(file)
    stack_config.write(file, wanted)
    after = stack_config.read(file)
    if after.by_label != {**before.by_label, **wanted} or (after.common, after.labels) != (
        before.common,
        before.labels,
    ):
        fuzzed.find("written other than it was meant", file.read_bytes())


def _write_model(file: Path, fuzzed: Fuzzed) -> None:
    stack_model.check_model_id(file)
    stack_model.write_model_id(file, "ICN7")
    if stack_config.config_of(stack_config.text_of(file), file)[stack_model.MODEL_ID] != "ICN7":
        fuzzed.find("written other than it was meant", file.read_bytes())


def _check_words(told: str, fuzzed: Fuzzed, about: bytes) -> None:
    if not told.replace("\n", " ").isprintable():
        fuzzed.find("a refusal that commands the terminal", f"{told!r}: {about!r}")
    if len(told) > MAX_TEXT:
        fuzzed.find("a refusal that is too long", f"{len(told)} characters: {about!r}")
