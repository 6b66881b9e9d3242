"""The program runs without the engine, again and again, and what goes wrong in it reaches the caller."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pulumi
import pytest

from local.deploy.program import ProgramError, Stack, run_program
from tests.infra.google_stand_in import REQUIRED, REVIEWED, Google, stack_with

STRICT = "PULUMI_ERROR_OUTPUT_STRING"


class NoBuckets(Google):
    """A cloud that knows no bucket."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        if args.typ.endswith(":Bucket"):
            raise LookupError("no bucket here")
        return super().new_resource(args)


def program(folder: Path, text: str) -> Path:
    (folder / "infra").mkdir()
    (folder / "infra" / "__main__.py").write_text(text)
    return folder


def test_a_refused_config_is_the_programs_own_text_and_nothing_was_declared():
    google = Google()
    with pytest.raises(ProgramError) as refused:
        run_program(stack_with(threshold=2, labels=["unclear"], modelId="x", thershold=1), google)
    assert str(refused.value).startswith("the config of stack 'test' has 4 mistakes; nothing was changed:\n  - modelId")
    assert google.seen == []


@pytest.mark.parametrize(
    ("key", "value", "setter"),
    [
        ("iapClientSecret", "do-not-tell", "pulumi config set --secret iapClientSecret VALUE"),
        ("iapClientId", "GOCSPX-do-not-tell", "pulumi config set iapClientId VALUE"),
        ("gcp:credentials", "do-not-tell", "pulumi config set --secret gcp:credentials VALUE"),
        ("gcp:accessToken", "do-not-tell", "pulumi config set --secret gcp:accessToken VALUE"),
    ],
)
def test_a_secret_that_is_not_encrypted_is_refused_and_not_repeated(key: str, value: str, setter: str):
    google = Google()
    values: dict[str, Any] = {**REVIEWED, "iapClientSecret": None, key: value}
    with pytest.raises(ProgramError) as refused:
        run_program(stack_with(secret_keys=frozenset(), **values), google)
    assert f"{key} stands in Pulumi.test.yaml for everybody to read" in str(refused.value)
    assert setter in str(refused.value)
    assert "do-not-tell" not in str(refused.value)
    assert google.seen == []


def test_all_secrets_that_are_not_encrypted_are_listed_at_once_and_once_each():
    values: dict[str, Any] = {**REVIEWED, "gcp:accessToken": "do-not-tell"}
    with pytest.raises(ProgramError, match="has 2 mistakes") as refused:
        run_program(stack_with(secret_keys=frozenset(), **values), Google())
    for key in ("iapClientSecret", "gcp:accessToken"):
        assert str(refused.value).count(f"{key} stands in Pulumi.test.yaml") == 1


def test_a_run_may_follow_a_failed_one_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(STRICT, raising=False)
    with pytest.raises(ProgramError):
        run_program(stack_with(threshold=2), Google())
    first, second = run_program(stack_with(), Google()), run_program(stack_with(), Google())
    assert [resource.urn for resource in second.resources] != []
    assert {resource.urn for resource in first.resources} == {resource.urn for resource in second.resources}
    assert STRICT not in os.environ
    assert pulumi.runtime.get_root_resource() is None


def test_a_run_inside_a_running_event_loop():
    async def run() -> str:
        return run_program(stack_with(), Google()).outputs["inboundBucket"]

    # In a thread of its own: another test's browser may have a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        bucket = pool.submit(asyncio.run, run()).result()
    assert bucket == "gs://test-factory-inspection-test-inbound"


def test_what_the_cloud_refuses_reaches_the_caller():
    with pytest.raises(LookupError, match="no bucket here"):
        run_program(stack_with(), NoBuckets())


def test_an_output_in_a_text_is_an_error_and_not_a_warning(tmp_path: Path):
    text = """
import pulumi
from pulumi_gcp import pubsub
pulumi.export("said", f"{pubsub.Topic('t', name='t').id}")
"""
    with pytest.raises(Exception, match=r"Calling __str__ on an Output\[T\] is not supported"):
        run_program(stack_with(), Google(), root=program(tmp_path, text))


def test_outputs_inside_outputs_are_resolved(tmp_path: Path):
    text = "import pulumi\npulumi.export('nested', {'a': [pulumi.Output.from_input(1)]})\n"
    assert run_program(stack_with(), Google(), root=program(tmp_path, text)).outputs == {"nested": {"a": [1]}}


def test_a_project_that_was_named_anew_reads_the_examples_and_its_own_keys_first():
    values = {
        **REQUIRED,
        "automl-inspection:threshold": 0.5,
        "automl-inspection:name": "example",
        "my-line:name": "mine",
    }
    config = {key if ":" in key else f"my-line:{key}": value for key, value in values.items()}
    run = run_program(Stack(project="my-line", name="dev", config=config), Google())
    assert run.outputs["inboundBucket"] == "gs://test-factory-mine-inbound"
    (move,) = [resource for resource in run.resources if resource.name == "move-function"]
    assert move.inputs["serviceConfig"]["environmentVariables"]["THRESHOLD"] == "0.5"


def test_a_stack_without_a_file_is_told_which_there_are():
    with pytest.raises(ProgramError, match=r"no Pulumi\.staging\.yaml.*stacks here are dev, local, production"):
        Stack.read("staging")
