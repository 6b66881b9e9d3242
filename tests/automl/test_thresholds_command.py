import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from automl.evaluation.metrics import EvaluatedPicture, Evaluation
from tests.automl.factory import Run

COSTS = ("--escaped-defect", 200, "--false-reject", 4, "--reviewer-minute", 0.8)
STACK = """\
config:
  gcp:project: my-project # mine
  automl-inspection:labels: [ok, defect]
  automl-inspection:threshold: 0.7
  automl-inspection:thresholds:
    ok: 0.9 # an escape is dear
"""


def evaluation(good: int, defects: int, labels: tuple[str, str] = ("defect", "ok")) -> str:
    defect, ok = labels
    random_ = random.Random(5)
    pictures = [
        EvaluatedPicture(
            name=f"gs://b/{label}{i}.jpg",
            labels=(label,),
            scores={defect: (score := min(1, max(0, random_.gauss(middle, 0.15)))), ok: 1 - score},
        )
        for label, number, middle in ((ok, good, 0.15), (defect, defects, 0.85))
        for i in range(number)
    ]
    return Evaluation("m", labels, tuple(pictures)).to_json()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("Pulumi.yaml").write_text("name: automl-inspection\n")
    Path("Pulumi.dev.yaml").write_text(STACK)
    Path("evaluation.json").write_text(evaluation(400, 300))
    return tmp_path


def test_thresholds_are_printed_with_lines_to_paste(run: Run, project: Path):
    result = run("model", "thresholds", "evaluation.json", *COSTS)
    assert result.exit_code == 0, result.stderr
    assert "Expected of 1,000 pictures, 42.9 % of them defects" in result.stdout
    assert "config:\n  automl-inspection:thresholds:\n    defect: 0." in result.stdout
    assert Path("Pulumi.dev.yaml").read_text() == STACK


def test_they_are_written_into_the_stack(run: Run, project: Path):
    result = run("model", "thresholds", "evaluation.json", *COSTS, "--defect-share", 0.01, "--write", "dev")
    assert result.exit_code == 0, result.stderr
    kept, written = STACK.splitlines(), Path("Pulumi.dev.yaml").read_text().splitlines()
    assert written[:5] == kept[:5]
    assert written[5].endswith(" # an escape is dear")
    assert written[5] != kept[5]
    assert written[6].startswith("    defect: 0.")


def test_too_little_evidence_is_said_and_left_as_it_is(run: Run, project: Path):
    Path("evaluation.json").write_text(evaluation(400, 12))
    result = run("model", "thresholds", "evaluation.json", *COSTS, "--write", "dev")
    assert result.exit_code == 1
    assert "No threshold for 'defect': " in result.stdout
    assert "30 are asked for. It stays at 0.7" in result.stdout
    written = Path("Pulumi.dev.yaml").read_text()
    assert "defect: 0" not in written
    assert "ok: 0.9 #" not in written
    assert run("model", "thresholds", "evaluation.json", *COSTS, "--least-pictures", 5).exit_code == 0


def test_plots(run: Run, project: Path):
    for kind in ("html", "svg", "png"):
        assert run("model", "thresholds", "evaluation.json", *COSTS, "--plot", f"t.{kind}").exit_code == 0
    page = Path("t.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == page.count("</svg>") == 1
    # Self-contained: addresses occur as names of XML dialects alone.
    assert 'src="' not in page
    assert "<link" not in page
    assert "https://" not in page.replace("https://matplotlib.org/", "")
    with Image.open("t.png") as picture:
        # White, black, grey, and the two curves' colours.
        colours = picture.convert("RGB").getcolors(1 << 20)
        assert colours
        assert {(11, 83, 148), (180, 95, 6)} <= {colour for _, colour in colours}
    # The same figures give the same bytes.
    drawing = Path("t.svg").read_text()
    assert drawing[drawing.index("<svg") :] in page


def test_other_labels(run: Run, project: Path):
    Path("evaluation.json").write_text(evaluation(400, 300, ("scratched", "fine")))
    result = run("model", "thresholds", "evaluation.json", *COSTS)
    assert result.exit_code == 2
    assert "say which mean a defect, of scratched, fine" in " ".join(result.stderr.replace("│", " ").split())
    assert run("model", "thresholds", "evaluation.json", *COSTS, "--defect", "scratched").exit_code == 0
    result = run("model", "thresholds", "evaluation.json", *COSTS, "--defect", "scratched", "--write", "dev")
    assert result.exit_code == 1
    assert "'fine', which is none of the labels in" in result.stderr
    assert Path("Pulumi.dev.yaml").read_text() == STACK


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "--escaped-defect"),
        ((*COSTS, "--defect", "dent"), 2, "'dent'"),
        ((*COSTS, "--defect-share", 0), 2, "between 0 and 1"),
        ((*COSTS, "--plot", "t.pdf"), 2, "t.pdf"),
        ((*COSTS, "--plot", "nowhere/t.svg"), 2, "folder that exists"),
        ((*COSTS, "--reviewer-minute", "nan"), 2, "reviewer"),
        ((*COSTS, "--escaped-defect", "inf"), 2, "--escaped-defect"),
        ((*COSTS, "--escaped-defect", "nan"), 2, "--escaped-defect"),
        ((*COSTS, "--escaped-defect", "1e308"), 2, "--escaped-defect"),
        ((*COSTS, "--false-reject", "-1"), 2, "--false-reject"),
        ((*COSTS, "--false-reject", "1e13"), 2, "--false-reject"),
        ((*COSTS, "--seconds", "inf"), 2, "--seconds"),
        ((*COSTS, "--common", "nan"), 2, "--common"),
        ((*COSTS, "--defect-share", "nan"), 2, "--defect-share"),
        ((*COSTS, "--write", ""), 2, "'' is not a name"),
        ((*COSTS, "--plot", ""), 2, "--plot"),
        ((*COSTS, "--write", "prod"), 1, "stacks with a file are: dev"),
    ],
)
def test_wrong_usage(run: Run, project: Path, words: tuple[Any, ...], code: int, told: str):
    result = run("model", "thresholds", "evaluation.json", *words)
    assert result.exit_code == code
    assert told in " ".join(result.stderr.replace("│", " ").split())


def test_what_is_no_evaluation(run: Run, project: Path):
    result = run("model", "thresholds", "Pulumi.yaml", *COSTS)
    assert result.exit_code == 1
    assert "Pulumi.yaml: no JSON" in result.stderr


@pytest.mark.parametrize(("stack", "told"), [("dev", "`pulumi up`"), ("local", "start `make local` again")])
def test_what_puts_them_into_force_is_told(run: Run, project: Path, stack: str, told: str):
    Path(f"Pulumi.{stack}.yaml").write_text(STACK)
    result = run("model", "thresholds", "evaluation.json", *COSTS, "--write", stack)
    assert f"Written to {project / f'Pulumi.{stack}.yaml'}. To put it into force: {told}\n" in result.stdout
