"""No image is lost while the line is created, and the proof notices a line that opens its door too early."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from local.deploy.program import ROOT
from proof.first_up import HELD, SCENARIOS, TRIES, Scenario, run, table
from tests.infra.google_stand_in import copy_checkout

pytestmark = [pytest.mark.xdist_group("first up"), pytest.mark.timeout(300)]

LAST = "pulumi.ResourceOptions(depends_on=[services, push, move, predictions, predict, images])"
"""What the inbound bucket and its notification wait for."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_image_that_is_accepted_during_a_first_up_lands_at_once_or_by_redrive(scenario: Scenario) -> None:
    outcome = run(scenario)

    assert outcome.problems == []
    assert outcome.refused >= TRIES, "the camera uploads while the functions are built"
    assert outcome.unannounced >= HELD, "and before the notification exists"
    assert outcome.at_once >= outcome.accepted - outcome.unannounced - 1
    assert outcome.at_once + outcome.by_redrive == outcome.accepted


def test_the_old_order_is_noticed(tmp_path: Path) -> None:
    early = copy_checkout(tmp_path / "checkout")
    for file in ("Pulumi.yaml", "Pulumi.local.yaml"):
        shutil.copy(ROOT / file, early / file)
    program = early / "infra" / "__main__.py"
    assert program.read_text().count(LAST) == 1, "the program reads otherwise by now"
    program.write_text(program.read_text().replace(LAST, "usable"))
    slow, *_ = SCENARIOS

    outcome = run(slow, root=early, seconds_without_a_landing=10)

    assert "was uploaded to a line that announced it, and did not land" in outcome.problems[0]
    assert len(outcome.problems) > HELD
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(table([outcome]))
    assert str(len(outcome.problems)) in console.export_text()
