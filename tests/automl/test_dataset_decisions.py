import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import storage

from inspection.layout import decided_name, source_uri
from tests.automl.factory import Run, put
from tests.support.storage import Cloud


def lines(file: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline="")))


@pytest.fixture
def decided(cloud: Cloud) -> storage.Bucket:
    """A prediction bucket with ten decisions for each label, one a day in November."""
    bucket = cloud.bucket("predictions")
    for day in range(1, 11):
        for label in ("ok", "defect"):
            name = f"line 1/{label}-{day}.jpg"
            put(
                bucket,
                decided_name(label, name),
                f"{label}{day}",
                decision=label,
                decided_by="reviewer@factory.example",
                decided_at=f"2026-11-{day:02}T08:00:00+00:00",
                source=source_uri("inbound", name, day),
            )
    put(bucket, "unclear/line 1/waiting.jpg", "waiting")
    return bucket


def test_decisions_become_labels(run: Run, decided: storage.Bucket, tmp_path: Path):
    out = tmp_path / "decisions.csv"
    result = run("dataset", "decisions", "gs://predictions", "--out", out, "--unassigned")
    assert result.exit_code == 0, result.stderr
    names = sorted(
        f"human_decided/line 1/{label}_{label}-{day}.jpg" for label in ("ok", "defect") for day in range(1, 11)
    )
    assert lines(out) == [[f"gs://predictions/{name}", "ok" if "/ok_" in name else "defect"] for name in names]


def test_the_label_is_the_metadata_and_never_the_name(run: Run, decided: storage.Bucket, tmp_path: Path):
    out = tmp_path / "decisions.csv"
    put(
        decided, "human_decided/ok_ok_ok.jpg", "tricky", decision="defect", source=source_uri("inbound", "ok_ok.jpg", 1)
    )
    assert run("dataset", "decisions", "gs://predictions/", "--out", out, "--unassigned").exit_code == 0
    assert ["gs://predictions/human_decided/ok_ok_ok.jpg", "defect"] in lines(out)


def test_what_has_no_decision_is_listed_and_left_out(run: Run, decided: storage.Bucket, tmp_path: Path):
    out = tmp_path / "decisions.csv"
    put(decided, "human_decided/by_hand.jpg", "by hand")
    put(decided, "human_decided/ok_lost.jpg", "lost", decision="ok")
    put(decided, "human_decided/ok_7.jpg", "undated", decision="ok", source="gs://inbound/7.jpg#1", decided_at="today")
    result = run("dataset", "decisions", "gs://predictions", "--out", out)
    assert result.exit_code == 0
    assert "human_decided/by_hand.jpg (no decision, source)\n  human_decided/ok_lost.jpg (no source)" in result.stderr
    assert len(lines(out)) == 21
    result = run("dataset", "decisions", "gs://predictions", "--out", out, "--since", "2026-01-01")
    assert "human_decided/ok_7.jpg (decided-at is 'today', no time)" in result.stderr
    assert len(lines(out)) == 20


@pytest.fixture
def in_tokyo() -> Iterator[None]:
    """The machine's own zone must not count."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("since", "days"),
    [
        ("2026-11-05", 6),
        ("2026-11-05T08:00:00Z", 6),
        ("2026-11-05T08:00:01", 5),
        ("2026-11-05T10:00:00+02:00", 6),
    ],
)
@pytest.mark.usefixtures("in_tokyo")
def test_since(run: Run, decided: storage.Bucket, tmp_path: Path, since: str, days: int):
    out = tmp_path / "decisions.csv"
    words = ("dataset", "decisions", "gs://predictions", "--since", since, "--out", out)
    assert run(*words).exit_code == 1  # too few to train on alone
    assert not out.exists()
    result = run(*words, "--adding")
    assert result.exit_code == 0
    assert "Warning: fewer than 10 pictures of a label" in result.stderr
    assert len(lines(out)) == 2 * days


def test_a_picture_decided_twice_and_differently_is_refused(run: Run, decided: storage.Bucket, tmp_path: Path):
    put(decided, "human_decided/defect_again.jpg", "ok3", decision="defect", source="gs://inbound/again.jpg#1")
    result = run("dataset", "decisions", "gs://predictions", "--out", tmp_path / "decisions.csv")
    assert result.exit_code == 1
    assert "human_decided/defect_again.jpg = human_decided/line 1/ok_ok-3.jpg (defect, ok)" in result.stderr


def test_the_set_follows_from_the_source(run: Run, decided: storage.Bucket, tmp_path: Path):
    """A decision that was changed from `ok` to `defect` renames the object, and leaves the picture in its set."""
    out = tmp_path / "decisions.csv"
    words = ("dataset", "decisions", "gs://predictions", "--out", out, "--validation", 0.3, "--test", 0.3, "--adding")
    assert run(*words).exit_code == 0
    before = {line[1]: line[0] for line in lines(out)}
    assert len(set(before.values())) == 3
    for day in range(1, 6):
        name = f"line 1/ok-{day}.jpg"
        old = decided.get_blob(decided_name("ok", name))
        assert old is not None
        changed = decided.rename_blob(old, decided_name("defect", name))
        changed.metadata = {**(changed.metadata or {}), "decision": "defect"}
        changed.patch()
    assert run(*words).exit_code == 0
    after = {line[1]: line[0] for line in lines(out)}
    assert before == {uri.replace("defect_ok-", "ok_ok-"): used_for for uri, used_for in after.items()}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("predictions",), "is no bucket"),
        (("gs://predictions/human_decided",), "names more than a bucket"),
        (("gs://predictions", "--since", "yesterday"), "'yesterday' is no time"),
    ],
)
def test_wrong_usage(run: Run, words: tuple[str, ...], told: str):
    result = run("dataset", "decisions", *words, "--out", "out.csv")
    assert result.exit_code == 2
    assert told in result.stderr
