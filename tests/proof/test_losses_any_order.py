"""Uploads, replacements, deliveries, failures, decisions and undo in any order, against a model of what must be true."""

from pathlib import Path

import pytest

from proof.losses_machine import explore
from proof.losses_stage import running_line

pytestmark = pytest.mark.xdist_group("losses")


def test_nothing_is_lost_in_whatever_order_things_happen(tmp_path: Path) -> None:
    with running_line(tmp_path) as line:
        done = explore(line, sequences=40, steps=40, derandomize=True)

    for what in (
        "upload",
        "push to predict",
        "push to move",
        "message doubled",
        "decision answered 200",
        "undo answered 200",
        "skip answered 204",
    ):
        assert done[what] > 0, f"{what} never happened: {done}"
    assert sum(number for what, number in done.items() if what.startswith("failure")) > 50
