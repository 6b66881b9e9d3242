"""No picture is lost, doubled or overwritten, whichever request fails, and however."""

from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from local.faults import Kind, When
from tests.proof.losses import PIPELINE, REVIEWING, Scenario, describe, matrix
from tests.proof.losses_stage import Line, running_line


@pytest.fixture
def line(tmp_path: Path) -> Generator[Line]:
    with running_line(tmp_path) as line:
        yield line


@pytest.mark.parametrize(
    ("scenarios", "requests"),
    [
        (
            PIPELINE,
            {
                "storage.objects.get",
                "automl.models.predict",
                "aiplatform.endpoints.predict",
                "pubsub.topics.publish",
                "storage.objects.rewrite",
                "storage.objects.delete",
            },
        ),
        (REVIEWING, {"storage.objects.list", "storage.objects.get", "storage.objects.update", "storage.objects.move"}),
    ],
    ids=["predict and move", "the review app"],
)
def test_whichever_request_fails_no_picture_is_lost_doubled_or_overwritten(
    line: Line, scenarios: Sequence[Scenario], requests: set[str]
) -> None:
    cells = list(matrix(line, scenarios))

    assert [describe(cell) for cell in cells if cell.problems] == []
    assert {cell.step.method for cell in cells} == requests
    tried = Counter((cell.kind, cell.when) for cell in cells)
    assert set(tried) == {(kind, when) for kind in Kind for when in When} - {(Kind.LATE, When.AFTER)}
