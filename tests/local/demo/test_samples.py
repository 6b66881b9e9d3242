import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from local.demo.samples import DEFECT, DEFECT_KINDS, OK, Sample, read_truth, samples, write_samples


def _pixels(sample: Sample) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    return np.asarray(Image.open(io.BytesIO(sample.jpeg)), dtype=np.float64)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    assert list(samples(3, seed=7)) == list(samples(3, seed=7))
    assert all(a.jpeg != b.jpeg for a, b in zip(samples(3, seed=7), samples(3, seed=8), strict=True))


def test_a_picture_depends_on_its_number_and_not_on_how_many_are_made():
    assert list(samples(4, seed=7))[2:] == list(samples(2, seed=7, first=3))


def test_pictures_are_300_by_300_grey_jpegs_of_a_bright_part_on_a_dark_belt():
    for sample in samples(4, seed=3):
        picture = Image.open(io.BytesIO(sample.jpeg))
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (300, 300))
        pixels = _pixels(sample)
        face, corners = pixels[190:220, 140:160], pixels[:20, :20]
        assert face.mean() > corners.mean() + 30


def test_both_labels_and_every_kind_of_defect_occur():
    made = list(samples(120, seed=5))
    labels = Counter(sample.label for sample in made)
    assert min(labels[OK], labels[DEFECT]) > 35
    assert {kind for sample in made for kind in sample.defects} == set(DEFECT_KINDS)


def test_severity_and_kinds_belong_to_defective_parts_alone_and_faint_ones_are_among_them():
    made = list(samples(120, seed=5))
    assert all((sample.severity > 0) == bool(sample.defects) == (sample.label == DEFECT) for sample in made)
    severities = [sample.severity for sample in made if sample.label == DEFECT]
    assert min(severities) < 0.3
    assert max(severities) > 0.9


def test_names_are_numbered_and_say_nothing_about_the_label():
    assert [sample.name for sample in samples(2, seed=1)] == ["casting_0001.jpeg", "casting_0002.jpeg"]


def test_more_difficulty_means_fainter_defects():
    def mean_severity(difficulty: float) -> float:
        made = samples(40, seed=2, difficulty=difficulty, defect_share=1)
        return sum(sample.severity for sample in made) / 40

    assert mean_severity(0) > mean_severity(0.5) > mean_severity(1)


@pytest.mark.parametrize("share", [0, 1])
def test_the_share_of_defects_is_what_was_asked_for(share: int):
    assert {sample.label for sample in samples(5, seed=4, defect_share=share)} == {DEFECT if share else OK}


def test_a_value_that_cannot_be_is_named():
    with pytest.raises(ValueError, match=r"difficulty is 2; allowed is 0 to 1"):
        samples(1, seed=1, difficulty=2)
    with pytest.raises(ValueError, match=r"seed -1"):
        samples(1, seed=-1)


def test_written_samples_keep_the_truth_out_of_the_folder_that_is_sent(tmp_path: Path):
    pictures = write_samples(tmp_path, 4, seed=9)
    expected = list(samples(4, seed=9))
    assert {file.name: file.read_bytes() for file in pictures.iterdir()} == {s.name: s.jpeg for s in expected}
    assert read_truth(tmp_path / "truth.csv") == {sample.name: sample.label for sample in expected}
    with (tmp_path / "truth.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["name", "label", "defects", "severity"]
    assert [row[2] for row in rows[1:]] == ["; ".join(sample.defects) for sample in expected]


def test_written_by_label_they_stand_in_the_folders_that_training_reads(tmp_path: Path):
    seen: list[tuple[int, int]] = []
    root = write_samples(tmp_path, 20, seed=9, by_label=True, progress=lambda done, count: seen.append((done, count)))
    truth = read_truth(tmp_path / "truth.csv")
    found = {file.name: file.parent for file in root.rglob("*.jpeg")}
    assert set(found) == set(truth)
    for name, folder in found.items():
        assert folder.name == {DEFECT: "def_front", OK: "ok_front"}[truth[name]]
    assert Counter(folder.parent.name for folder in found.values()) == {"train": 16, "test": 4}
    assert root == tmp_path / "casting_data"
    assert seen[-1] == (20, 20)
