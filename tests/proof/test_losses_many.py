"""The whole line, as it is deployed, while requests fail and processes are killed. `make proof` sends 5,000 pictures."""

import pytest

from proof.losses_many import KINDS_FOR_FEW, run

pytestmark = [pytest.mark.xdist_group("losses"), pytest.mark.timeout(300)]

PICTURES = 200


def test_every_picture_is_accounted_for_though_requests_fail_and_processes_die() -> None:
    account = run(PICTURES, kinds=KINDS_FOR_FEW)

    assert account.problems == []
    assert sum(account.folders.values()) == PICTURES
    assert {kind for _, kind in account.failures} == set(KINDS_FOR_FEW)
    assert sum(account.failures.values()) > 30
    assert account.kills.total() >= 1
