import io
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from local.demo.samples import DEFECT, OK, Sample, samples
from local.google.models.classifier import TrainedModel, ready_model, train
from local.google.models.features import UnreadablePictureError, features

pytestmark = pytest.mark.xdist_group("models")  # one worker trains, once for each file


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return train((sample.jpeg, sample.label) for sample in samples(140, seed=50, difficulty=0.3))


@pytest.fixture(scope="module")
def answers(trained: TrainedModel) -> list[tuple[Sample, dict[str, float]]]:
    return [(sample, trained.scores(sample.jpeg)) for sample in samples(100, seed=51, difficulty=0.3)]


def _painted(colour: str, number: int) -> bytes:
    picture = Image.new("RGB", (80, 60), colour)
    picture.paste("white", (number, number, number + 20, number + 10))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_scores_are_probabilities_of_all_labels_best_first(answers: list[tuple[Sample, dict[str, float]]]):
    for _, scores in answers:
        assert set(scores) == {OK, DEFECT}
        assert sum(scores.values()) == pytest.approx(1)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_pictures_it_never_saw_are_mostly_told_apart(answers: list[tuple[Sample, dict[str, float]]]):
    right = [max(scores, key=scores.__getitem__) == sample.label for sample, scores in answers]
    assert sum(right) / len(right) > 0.8


def test_a_sure_answer_is_right_more_often_than_an_unsure_one_and_there_are_both(
    answers: list[tuple[Sample, dict[str, float]]],
):
    sure = [scores[sample.label] > 0.5 for sample, scores in answers if max(scores.values()) >= 0.8]
    unsure = [scores[sample.label] > 0.5 for sample, scores in answers if max(scores.values()) < 0.8]
    assert min(len(sure), len(unsure)) >= 10
    assert sum(sure) / len(sure) > 0.9 > sum(unsure) / len(unsure)


def test_scores_mean_what_they_say(answers: list[tuple[Sample, dict[str, float]]]):
    expected = sum(max(scores.values()) for _, scores in answers) / len(answers)
    right = sum(scores[sample.label] > 0.5 for sample, scores in answers) / len(answers)
    assert abs(expected - right) < 0.1
    brier = sum((1 - scores[sample.label]) ** 2 for sample, scores in answers) / len(answers)
    assert brier < 0.13  # 0.25 is what a coin gets


def test_many_threads_get_the_answers_that_one_gets(
    trained: TrainedModel, answers: list[tuple[Sample, dict[str, float]]]
):
    with ThreadPoolExecutor(8) as threads:
        again = list(threads.map(trained.scores, (sample.jpeg for sample, _ in answers[:24])))
    assert again == [scores for _, scores in answers[:24]]


def test_many_threads_leave_the_warnings_of_the_process_as_they_are(
    answers: list[tuple[Sample, dict[str, float]]], trained: TrainedModel
):
    interval = sys.getswitchinterval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        sys.setswitchinterval(1e-5)
        try:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(trained.scores, [answers[0][0].jpeg] * 40))
        finally:
            sys.setswitchinterval(interval)
        assert warnings.filters == before


def test_a_saved_model_answers_as_before(trained: TrainedModel, tmp_path: Path):
    trained.save(tmp_path / "new" / "model.joblib")
    loaded = TrainedModel.load(tmp_path / "new" / "model.joblib")
    picture = next(samples(1, seed=3)).jpeg
    assert loaded.scores(picture) == trained.scores(picture)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["model.joblib"]


def test_any_set_of_labels_in_any_format_can_be_learned():
    colours = ("red", "green", "blue")
    model = train((_painted(colour, number), colour) for colour in colours for number in range(6))
    assert model.labels == ("blue", "green", "red")
    for colour in colours:
        assert next(iter(model.scores(_painted(colour, 9)))) == colour


def test_the_size_and_orientation_tag_of_a_picture_do_not_matter():
    large = Image.open(io.BytesIO(next(samples(1, seed=3)).jpeg)).resize((900, 900))
    turned = large.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera says: turn it clockwise
    upright, tagged = io.BytesIO(), io.BytesIO()
    large.save(upright, "PNG")
    turned.save(tagged, "PNG", exif=exif)
    assert features(upright.getvalue()).tolist() == features(tagged.getvalue()).tolist()


@pytest.mark.parametrize("colour", ["black", "white"])
def test_a_picture_without_any_part_on_it_is_answered_too(trained: TrainedModel, colour: str):
    file = io.BytesIO()
    Image.new("L", (40, 30), colour).save(file, "PNG")
    assert sum(trained.scores(file.getvalue()).values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "data", [b"", b"no picture", next(samples(1, seed=3)).jpeg[:4000]], ids=["empty", "text", "cut"]
)
def test_what_is_no_picture_is_refused(trained: TrainedModel, data: bytes):
    with pytest.raises(UnreadablePictureError, match="cannot be read as an image"):
        trained.scores(data)


def test_training_needs_two_labels_and_enough_pictures_of_each():
    with pytest.raises(ValueError, match=r"two or more are needed, the pictures have \['red'\]"):
        train((_painted("red", number), "red") for number in range(5))
    with pytest.raises(ValueError, match="blue: each label needs 3 pictures"):
        train([(_painted("red", n), "red") for n in range(5)] + [(_painted("blue", 1), "blue")])


def test_the_ready_model_is_trained_once_and_then_read(tmp_path: Path):
    seen: list[tuple[int, int]] = []
    first = ready_model(tmp_path, pictures=24, progress=lambda done, count: seen.append((done, count)))
    assert seen[-1] == (24, 24)
    seen.clear()
    second = ready_model(tmp_path, pictures=24, progress=lambda done, count: seen.append((done, count)))
    assert not seen
    picture = next(samples(1, seed=3)).jpeg
    assert first.scores(picture) == second.scores(picture)
    assert set(first.labels) == {OK, DEFECT}


def test_a_change_of_what_decides_the_result_trains_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ready_model(tmp_path, pictures=24)
    changed = tmp_path / "samples.py"
    changed.write_text("# other samples")
    monkeypatch.setattr("local.demo.samples.__file__", str(changed))
    seen: list[int] = []
    ready_model(tmp_path, pictures=24, progress=lambda done, _count: seen.append(done))
    assert seen
