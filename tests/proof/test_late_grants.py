"""A first `up` where new grants take effect late fails unless the program waits for each of them."""

from collections.abc import Callable
from pathlib import Path

import pulumi
import pytest

from infra.grants import settled
from local.cloud import LocalCloud
from local.deploy.processes import CannotStartError
from local.google.permissions import Binding, Permissions

pytestmark = [pytest.mark.xdist_group("first up"), pytest.mark.timeout(300)]

TAKE, WAIT = 10, 11
"""Seconds. Without its wait, a build begins in much less than the first, also on a slow machine."""
BUILDER, APP_ENGINE, STORAGE = "inspection-local-build@", "@appspot.gserviceaccount.com", "@gs-project-accounts"


def shortened(seconds: int) -> Callable[..., pulumi.Stash]:
    """The program's wait, for so many seconds."""

    def wait(name: str, grants: list[pulumi.CustomResource], *, opts: pulumi.ResourceOptions, **_: int) -> pulumi.Stash:
        return settled(name, grants, seconds=seconds, opts=opts)

    return wait


def failure(home: Path, *, grants_take_seconds: float = 0) -> str:
    """How the first `up` fails."""
    wait = {"grantWaitSeconds": WAIT if grants_take_seconds else 0}
    late = LocalCloud(home / "cloud", config=wait, grants_take_seconds=grants_take_seconds)
    with late as cloud, pytest.raises(CannotStartError) as failed:
        cloud.start(print)
    return str(failed.value)


@pytest.mark.parametrize(
    ("module", "refused"), [("build", BUILDER), ("app_engine", APP_ENGINE), ("announcement", STORAGE)]
)
def test_a_missing_wait_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, refused: str) -> None:
    monkeypatch.setattr(f"infra.{module}.settled", shortened(0))
    text = failure(tmp_path, grants_take_seconds=TAKE)
    assert refused in text
    assert "does not have" in text


def test_a_missing_grant_on_the_staging_bucket_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grant, missing = Permissions.grant, "app-engine-staged-source-reader"

    def all_but_one(permissions: Permissions, binding: Binding) -> None:
        if binding.name != missing:
            grant(permissions, binding)

    monkeypatch.setattr(Permissions, "grant", all_but_one)
    text = failure(tmp_path)
    assert APP_ENGINE in text
    assert "does not have storage.objects.get" in text
