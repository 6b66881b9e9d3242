import csv
import io
import json
import os
from pathlib import Path

import pytest

from automl.dataset.catalogue import Catalogue, Findings, Picture, Report
from automl.dataset.sources import Folders
from automl.dataset.split import Set, Shares
from tests.automl.factory import Run, draw, put
from tests.support.storage import Cloud

GOLDEN = Path(__file__).parent / "golden"
CASTING_LABELS = ("--label", "Defect=def_front", "--label", "Ok=ok_front")


def golden(name: str) -> str:
    return (GOLDEN / name).read_text(encoding="utf-8")


def lines(file: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline="")))


def test_defective_parts_from_a_folder(cloud: Cloud, run: Run, casting_data: Path):
    parts = cloud.bucket("bucket")
    result = run(
        "dataset", "prepare", casting_data, *CASTING_LABELS, "--upload-to", "gs://bucket/casting_data", "--out",
        "gs://bucket/casting.csv",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert parts.blob("casting.csv").download_as_text() == golden("casting.csv")
    picture = cloud.blob(parts, "casting_data/train/def_front/cast_def_0_0.png")
    assert picture.download_as_bytes() == (casting_data / "train/def_front/cast_def_0_0.png").read_bytes()
    assert picture.content_type == "image/png"
    assert len(cloud.names(parts, "casting_data/")) == 30
    # Fifteen pictures of each label; three of each are the test set's, by folder.
    assert [row.split("│")[4:6] for row in result.stdout.splitlines() if "Defect" in row or "Ok" in row] == [
        ["    3 ", "  15 "],
        ["    3 ", "  15 "],
    ]


def test_defective_parts_for_vertex(cloud: Cloud, run: Run, casting_data: Path, tmp_path: Path):
    cloud.bucket("bucket")
    out = tmp_path / "casting.jsonl"
    result = run(
        "dataset", "prepare", casting_data, *CASTING_LABELS, "--upload-to", "gs://bucket/casting_data/",
        "--format", "vertex-jsonl", "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert out.read_text() == golden("casting.jsonl")


def test_mods_and_rockers_from_a_bucket(cloud: Cloud, run: Run, tmp_path: Path):
    bucket = cloud.bucket("bucket")
    for i in range(10):
        put(bucket, f"mods/vespa_{i}.jpg", f"mods{i}")
        put(bucket, f"rockers/triton_{i}.jpg", f"rockers{i}")
    put(bucket, "rockers/also_a_mod.jpg", "mods3")
    out = tmp_path / "vehicles.csv"
    words = ("dataset", "prepare", "gs://bucket", "--multi-label", "--unassigned", "--out", out)
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    assert out.read_text() == golden("vehicles.csv")
    assert cloud.uploads() == 21  # the test's own: nothing is uploaded again

    result = run(*words, "--format", "vertex-jsonl")
    assert result.exit_code == 0, result.stderr
    assert json.loads(out.read_text().splitlines()[3]) == {
        "imageGcsUri": "gs://bucket/mods/vespa_3.jpg",
        "classificationAnnotations": [{"displayName": "mods"}, {"displayName": "rockers"}],
    }


def test_names_of_any_kind(cloud: Cloud, run: Run, tmp_path: Path):
    cloud.bucket("bucket")
    names = ["1, 2.png", 'say "7".png', "Prüfling größer.png", "検査 #1?.png", "50 %.png", " .png", "a;b'c.png"]
    for folder in ("ok", "defect"):
        for name in [*names, *(f"{i}.png" for i in range(4))]:
            draw(tmp_path / "parts" / folder / "Ofen, 1" / name, f"{folder}{name}")
    out = tmp_path / "out.csv"
    result = run("dataset", "prepare", tmp_path / "parts", "--upload-to", "gs://bucket", "--out", out)
    assert result.exit_code == 0, result.stderr
    uris = {line[1] for line in lines(out)}
    assert uris == {f"gs://bucket/{name}" for name in cloud.names(cloud.client.bucket("bucket"))}
    assert {f"gs://bucket/defect/Ofen, 1/{name}" for name in names} <= uris
    assert {line[2] for line in lines(out)} == {"ok", "defect"}


def test_added_pictures_move_no_other_and_are_all_that_is_sent(cloud: Cloud, run: Run, tmp_path: Path):
    cloud.bucket("bucket")
    parts, out = tmp_path / "parts", tmp_path / "out.csv"
    words = ("dataset", "prepare", parts, "--upload-to", "gs://bucket", "--out", out, "--validation", 0.3)
    for label in ("ok", "defect"):
        for i in range(20):
            draw(parts / label / f"{label}_{i}.png", f"{label}{i}")
    assert run(*words).exit_code == 0
    before = {tuple(line) for line in lines(out)}
    assert {line[0] for line in before} == {"TRAIN", "VALIDATION", "TEST"}
    cloud.gate.clear()

    for i in range(100, 110):
        draw(parts / "ok" / f"ok_{i}.png", f"ok{i}")
    assert run(*words).exit_code == 0
    assert before < {tuple(line) for line in lines(out)}
    assert len(lines(out)) == 50
    # The ten new ones, and those that were under way when it learned that the first is there.
    assert cloud.uploads() <= 10 + 8


def test_a_picture_with_a_corrected_label_keeps_its_set(cloud: Cloud, run: Run, tmp_path: Path):
    cloud.bucket("bucket")
    parts, out = tmp_path / "parts", tmp_path / "out.csv"
    words = ("dataset", "prepare", parts, "--upload-to", "gs://bucket", "--out", out, "--validation", 0.3)
    for label in ("ok", "defect"):
        for i in range(20):
            draw(parts / label / f"{label}_{i}.png", f"{label}{i}")
    assert run(*words).exit_code == 0
    wrong = [line for line in lines(out) if line[0] != "TRAIN" and line[2] == "ok"]
    assert wrong
    for _, uri, _ in wrong:
        name = uri.rpartition("/")[2]
        (parts / "ok" / name).rename(parts / "defect" / name)
    assert run(*words).exit_code == 0
    corrected = [[used_for, uri.replace("/ok/", "/defect/"), "defect"] for used_for, uri, _ in wrong]
    assert all(line in lines(out) for line in corrected)


def test_everything_wrong_is_listed_at_once(cloud: Cloud, run: Run, tmp_path: Path):
    bucket = cloud.bucket("bucket")
    parts, out = tmp_path / "parts", tmp_path / "out.csv"
    for i in range(10):
        draw(parts / "train" / "ok" / f"{i}.png", f"ok{i}")
        draw(parts / "train" / "defect" / f"{i}.png", f"defect{i}")
    draw(parts / "train" / "defect" / "ok_3_again.png", "ok3")
    draw(parts / "test" / "ok" / "old_4.png", "ok4")
    draw(parts / "train" / "unclear" / "1.png", "unclear")
    draw(parts / "train" / "ok" / "line\nbreak.png", "break")
    draw(parts / "elsewhere" / "1.png", "elsewhere")
    draw(parts / "lost.png", "lost")
    (parts / "train" / "ok" / "notes.txt").write_text("all is well")
    (parts / "train" / "ok" / "empty.jpg").touch()
    (parts / "train" / "ok" / ".DS_Store").write_text("not looked at")
    result = run("dataset", "prepare", parts, "--upload-to", "gs://bucket", "--out", out)
    assert result.exit_code == 1
    problems = result.stderr[result.stderr.index("Problem") :]
    for told in (
        "not an image",
        "train/ok/notes.txt",
        "train/ok/empty.jpg",
        r"'train/ok/line\nbreak.png' (a line break)",
        "the same picture under two labels",
        "train/defect/ok_3_again.png = train/ok/3.png (defect, ok)",
        "the same picture in two sets",
        "test/ok/old_4.png = train/ok/4.png",
        "in no folder that could be its label",
        "lost.png",
        "in none of the folders test, train, training, val, validation, though others are",
        "elsewhere/1.png",
        "a label that is not allowed",
        "'unclear'",
        "fewer than 10 pictures of a label",
        "elsewhere: 1",
        "unclear: 1",
    ):
        assert told in problems
    assert "DS_Store" not in result.stderr
    assert not out.exists()
    assert not cloud.names(bucket)


def test_what_is_no_file_in_a_folder_is_told(cloud: Cloud, run: Run, casting_data: Path, tmp_path: Path):
    bucket = cloud.bucket("bucket")
    draw(tmp_path / "elsewhere" / "1.png", "elsewhere")
    (casting_data / "train" / "ok_front" / "more").symlink_to(tmp_path / "elsewhere")
    (casting_data / "train" / "ok_front" / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(casting_data / "train" / "def_front" / "pipe.png")
    result = run("dataset", "prepare", casting_data, "--upload-to", "gs://bucket", "--out", tmp_path / "out.csv")
    assert result.exit_code == 1
    assert "Problem: neither a file nor a folder" in result.stderr
    for name in ("train/ok_front/more", "train/ok_front/gone.png", "train/def_front/pipe.png"):
        assert f"  {name}\n" in result.stderr
    assert not cloud.names(bucket)


def test_a_bucket_is_checked_by_its_listing(cloud: Cloud, run: Run, tmp_path: Path):
    bucket = cloud.bucket("bucket")
    for i in range(10):
        put(bucket, f"parts/ok/{i}.jpg", f"ok{i}")
        put(bucket, f"parts/defect/{i}.jpg", f"defect{i}")
    put(bucket, "partsother/ok/1.jpg", "of another prefix")
    put(bucket, "parts/defect/again.jpg", "ok3")
    bucket.blob("parts/ok/notes.txt").upload_from_string("all is well", content_type="text/plain")
    bucket.blob("parts/ok/typeless.png").upload_from_string(b"1", content_type="application/octet-stream")
    bucket.blob("parts/ok/empty.png").upload_from_string(b"", content_type="image/png")
    bucket.blob("parts/ok/").upload_from_string(b"", content_type="text/plain")
    cloud.gate.clear()
    result = run("dataset", "prepare", "gs://bucket/parts", "--out", tmp_path / "out.csv")
    assert result.exit_code == 1
    problems = result.stderr[result.stderr.index("Problem") :]
    assert [line.strip() for line in problems.splitlines()[:-1]] == [
        "Problem: not an image that a model can be trained on (JPEG, GIF, PNG, WEBP, BMP, TIFF, ICO)",
        "ok/empty.png (empty)",
        "ok/notes.txt (text/plain)",
        "Problem: the same picture under two labels: keep the right one (or say --multi-label)",
        "defect/again.jpg = ok/3.jpg (defect, ok)",
    ]
    assert {method for _, method in cloud.gate.counts()} == {"storage.objects.list"}


def test_copies_with_one_label_are_taken_once(cloud: Cloud, run: Run, tmp_path: Path):
    bucket = cloud.bucket("bucket")
    parts, out = tmp_path / "parts", tmp_path / "out.csv"
    for i in range(10):
        draw(parts / "ok" / f"{i}.png", f"ok{i}")
        draw(parts / "defect" / f"{i}.png", f"defect{i}")
    draw(parts / "ok" / "7 (copy).png", "ok7")
    result = run("dataset", "prepare", parts, "--upload-to", "gs://bucket", "--out", out)
    assert result.exit_code == 0
    assert "ok/7 (copy).png = ok/7.png" in result.stderr
    assert len(lines(out)) == len(cloud.names(bucket)) == 20


def test_folders_that_no_label_names_are_left_out_and_told(cloud: Cloud, run: Run, casting_data: Path):
    cloud.bucket("bucket")
    draw(casting_data / "train" / "blurred" / "1.png", "blurred")
    out = casting_data.parent / "out.csv"
    words = ("dataset", "prepare", casting_data, "--upload-to", "gs://bucket", "--out", out)
    result = run(*words, *CASTING_LABELS)
    assert result.exit_code == 0
    assert "Warning: left out: in no folder that --label names\n  train/blurred/1.png" in result.stderr
    result = run(*words, *CASTING_LABELS, "--label", "Scratch=scratched")
    assert result.exit_code == 1
    assert "fewer than 10 pictures of a label\n  Scratch: 0" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere", "--upload-to", "gs://bucket", "--out", "o.csv"), "no folder"),
        (("", "--upload-to", "gs://bucket", "--out", "o.csv"), "'' is no folder"),
        ((".", "--upload-to", "", "--out", "o.csv"), "'' is no bucket"),
        ((".", "--upload-to", "gs://bucket", "--out", ""), "'' is not a file"),
        ((".", "--out", "o.csv"), "say where they go"),
        ((".", "--upload-to", "b", "--out", "o.csv"), "is no bucket"),
        (("gs://bucket", "--upload-to", "gs://other", "--out", "o.csv"), "in a bucket already"),
        (("gs://", "--out", "o.csv"), "is no bucket"),
        (("gs://bucket", "--out", "nowhere/o.csv"), "not a file in a folder that exists"),
        (("gs://bucket", "--out", "gs://bucket"), "names no object"),
        (("gs://bucket", "--out", "o.csv", "--label", "Defect"), "is not LABEL=FOLDER"),
        (("gs://bucket", "--out", "o.csv", "--label", "a=x", "--label", "b=x"), "cannot be both"),
        (("gs://bucket", "--out", "o.csv", "--label", "a\udcff=x"), "not in UTF-8"),
        (("gs://bucket", "--out", "gs://bucket/\udcff.csv"), "is no bucket"),
        (("gs://..", "--out", "o.csv"), "is no bucket"),
        (("gs://bucket", "--out", "o.csv", "--validation", "0.6", "--test", "0.5"), "leave something for training"),
        (("gs://bucket", "--out", "o.csv", "--test", "2"), "less than or equal to 1"),
    ],
)
def test_wrong_usage(run: Run, words: tuple[str, ...], told: str):
    result = run("dataset", "prepare", *words)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("source", ["gs://not-there", "."])
def test_a_bucket_that_is_not_there(cloud: Cloud, run: Run, casting_data: Path, source: str):
    words = ("--upload-to", "gs://not-there") if source == "." else ()
    result = run(
        "dataset", "prepare", casting_data if source == "." else source, *words, "--out", casting_data / "out.csv"
    )
    assert result.exit_code == 1
    assert "gs://not-there" in result.stderr
    assert "check the bucket's name" in result.stderr
    assert not (casting_data / "out.csv").exists()


def judged(*labels_and_counts: tuple[str, int], shares: Shares | None = None) -> Report:
    report = Report()
    with Catalogue() as catalogue:
        catalogue.add(
            Picture(name=f"{label}/{i}", label=label, key=str(i), content=f"{label}/{i}")
            for label, count in labels_and_counts
            for i in range(count)
        )
        catalogue.check(report, shares, multi_label=False)
    return report


def kinds(found: Findings) -> list[str]:
    return [finding.what for finding in found]


def test_what_is_too_uneven_or_too_small_is_told():
    report = judged(("common", 1001), ("rare", 10))
    assert any("100 to 1" in kind for kind in kinds(report.warnings))
    assert not report.problems
    assert not judged(("common", 1000), ("rare", 10)).warnings
    assert [finding.examples for finding in report.hints] == [["rare: 10"]]
    report = judged(("ok", 10), ("defect", 10), shares=Shares(validation=0.0001, test=0))
    assert [finding.examples for finding in report.warnings] == [
        ["defect: none for validation", "ok: none for validation"]
    ]
    assert any("only one label" in kind for kind in kinds(judged(("ok", 20)).problems))
    assert any("more than 9 labels" in kind for kind in kinds(judged(*((f"l{i}", 10) for i in range(10))).problems))
    assert kinds(judged().problems) == ["there is no picture"]


def test_a_million_of_one_kind_of_finding_is_counted_and_not_kept():
    report = Report()
    for i in range(1_000_000):
        report.problems.add("bad", str(i))
    (finding,) = report.problems
    assert (finding.count, len(finding.examples)) == (1_000_000, 50)


def test_sets_by_folder_and_by_share():
    report = Report()
    pictures = [
        Picture(name=f"{s}/{label}/{i}", label=label, key=f"{i}", content=f"{s}{label}{i}", folder_set=s)
        for s in (Set.TRAINING, Set.TEST)
        for label in ("ok", "defect")
        for i in range(200)
    ]
    with Catalogue() as catalogue:
        catalogue.add(pictures)
        catalogue.check(report, Shares(validation=0.15, test=0.1), multi_label=False)
    for counts in report.counts.values():
        assert counts[Set.TEST] == 200
        assert 10 < counts[Set.VALIDATION] < 60
        assert counts.total() == 400


def test_what_folders_mean():
    def meaning(name: str, labels: dict[str, str]) -> tuple[str, str, Set | None] | None:
        placed = Folders(labels).placed(name)
        return placed and (placed.label, placed.key, placed.folder_set)

    assert meaning("ok/1.jpg", {}) == ("ok", "1.jpg", None)
    assert meaning("ok/2020/1.jpg", {}) == ("ok", "2020/1.jpg", None)
    assert meaning("casting/Train/ok/1.jpg", {}) == ("ok", "1.jpg", Set.TRAINING)
    assert meaning("ok/val/1.jpg", {}) == ("ok", "1.jpg", Set.VALIDATION)
    assert meaning("test/1.jpg", {}) is None
    assert meaning("1.jpg", {}) is None
    assert meaning("a/test/def_front/x/1.jpg", {"def_front": "Defect"}) == ("Defect", "x/1.jpg", Set.TEST)
    assert meaning("line1/bad/1.jpg", {"line1/bad": "Defect"}) == ("Defect", "1.jpg", None)
    assert meaning("line2/bad/1.jpg", {"line1/bad": "Defect"}) is None
    assert meaning("gro\u0308\u00dfe/1.jpg", {"gr\u00f6\u00dfe": "Big"}) == ("Big", "1.jpg", None)
    # A label may be called like a set, where it is said to be one.
    assert meaning("test/1.jpg", {"test": "Tested"}) == ("Tested", "1.jpg", None)
