"""No picture is lost, doubled or overwritten, whichever request fails, and however."""

from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from inspection import layout
from local.google.faults import Kind, Once, When
from proof.losses_images import DARK, INBOUND, MOVE, PREDICT, PREDICTION, picture
from proof.losses_matrix import matrix
from proof.losses_pipeline import PIPELINE, Scenario
from proof.losses_report import describe
from proof.losses_review import REVIEWING
from proof.losses_stage import Line, running_line


@pytest.fixture
def line(tmp_path: Path) -> Generator[Line]:
    with running_line(tmp_path) as line:
        yield line


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("scenarios", "requests"),
    [
        (
            PIPELINE,
            {
                "storage.objects.get",
                "storage.objects.list",
                "automl.models.predict",
                "aiplatform.endpoints.predict",
                "pubsub.topics.publish",
                "storage.objects.rewrite",
                "storage.objects.delete",
            },
        ),
        (
            REVIEWING,
            {
                "storage.objects.list",
                "storage.objects.get",
                "storage.objects.update",
                "storage.objects.move",
                "iam.serviceAccounts.signBlob",
            },
        ),
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


def test_a_model_that_changes_its_answer_between_two_deliveries_makes_no_second_copy(line: Line) -> None:
    sent = line.upload("part.jpg", picture(DARK, 1))
    line.gate.plan = Once(Kind.RESET, When.AFTER, identity=PREDICT, number=3)
    line.predict()  # has published, but does not know, and is asked again
    line.model.answers_otherwise = True
    line.predict()
    line.gate.plan = Once(Kind.UNAVAILABLE, When.BEFORE, identity=MOVE, number=2)
    line.move()  # has copied by the first answer, and not deleted
    first, second = line.predictions.waiting

    line.predictions.waiting[:] = [second, first]
    line.settle()

    copies = [found for found in line.found(PREDICTION) if found.metadata[layout.SOURCE] == sent.source]
    assert [copy.name for copy in copies] == ["ok/part.jpg"]
    assert line.found(INBOUND) == []
