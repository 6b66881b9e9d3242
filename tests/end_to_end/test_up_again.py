"""A second `up` of the local cloud, on what the first one created; and a first one that fails."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from rich.console import Console

from local.cloud import LocalCloud
from local.demo.run import wait_for_landing
from local.demo.samples import samples
from local.deploy.processes import CannotStartError
from local.google.gate import ApiError

pytestmark = pytest.mark.xdist_group("cloud")


def test_a_second_up_changes_nothing(cloud: LocalCloud) -> None:
    programs, bindings, outputs = dict(cloud.programs()), cloud.permissions.bindings, cloud.outputs

    cloud.up(print)

    assert cloud.programs() == programs
    assert cloud.permissions.bindings == bindings
    assert cloud.outputs == outputs
    name, jpeg = "after a second up.jpeg", next(iter(samples(1, seed=3))).jpeg
    cloud.storage_client().bucket(cloud.inbound_bucket).blob(name).upload_from_string(jpeg, content_type="image/jpeg")
    assert name in wait_for_landing(cloud, {name}, Console(quiet=True))


def test_what_exists_is_not_updated(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = cloud._program  # pyright: ignore[reportPrivateUsage]
    other = replace(stack, config={**stack.config, f"{stack.project}:threshold": 0.99})
    monkeypatch.setattr(cloud, "_program", other)
    with pytest.raises(CannotStartError, match="move-function has changed"):
        cloud.up(print)


def test_what_was_created_before_a_build_failed_stays_and_the_next_up_goes_on(tmp_path: Path) -> None:
    built: list[str] = []

    def build(name: str) -> None:
        built.append(name.rpartition("-")[2])
        if built[-1] == "move" and built.count("move") == 1:
            raise ApiError(400, "failedPrecondition", "Build failed with status: FAILURE.")

    with LocalCloud(tmp_path / "cloud", before_build=build) as cloud:
        with pytest.raises(CannotStartError, match="Build failed with status: FAILURE"):
            cloud.start(print)
        first = {name: program.process for name, program in cloud.programs().items()}
        names = {bucket.name for bucket in cloud.storage_client().list_buckets()}
        assert not any(name.endswith("-inbound") for name in names), "the door is closed"
        assert any(name.endswith("-sources") for name in names)
        assert not any(name.endswith("-move") for name in first)

        cloud.up(print)

        assert {name: cloud.programs()[name].process for name in first} == first
        assert any(name.endswith("-move") for name in cloud.programs())
        assert built.count("move") == 2
        assert built.count("predict") == 1


def test_a_function_that_does_not_listen_is_not_created(cloud: LocalCloud) -> None:
    runner, before = cloud._runner, dict(cloud.programs())  # pyright: ignore[reportPrivateUsage]
    (move,) = [program for name, program in before.items() if name.endswith("-move")]
    archive = _zip(
        {"main.py": "raise SystemExit('no')", "requirements.txt": (move.folder / "requirements.txt").read_text()}
    )
    service = {"serviceAccountEmail": "a@b.c", "environmentVariables": {}}

    with pytest.raises(CannotStartError, match="broken ended at its start"):
        runner.start_function("broken", archive=archive, entry_point="move", service=service)

    assert cloud.programs() == before


def _zip(files: dict[str, str]) -> bytes:
    with BytesIO() as buffer:
        with ZipFile(buffer, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return buffer.getvalue()
