"""A model of one's own: what is trained, that it is the same again, and what is refused."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from automl.own.features import session
from automl.own.images import UnusableImagesError
from automl.own.symmetry import Symmetry, turned
from automl.own.training import Options, Trained, train, train_only_good
from automl.own.weights import UnexpectedWeightsError, read_checked, read_weights
from imaging.pixels import pixels
from inspection.model_file import MAX_FILE_BYTES, Kind, ModelCard, NotAModelFileError

SIZE = 128
MARK = (60, 180)
"""Where a defect is: pixels of 256, from the left and from the top."""


def part(number: int, *, spots: tuple[str, ...] = ()) -> bytes:
    """A grey plate, with a dark or a red spot at :data:`MARK`."""
    noise = np.random.default_rng(number).normal(150, 12, (256, 256, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(noise)
    for shift, colour in enumerate(spots):
        x, y = MARK[0] + 90 * shift, MARK[1]
        ImageDraw.Draw(image).ellipse((x - 14, y - 14, x + 14, y + 14), fill=colour)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def answers(trained: Trained, jpeg: bytes) -> tuple[dict[str, float], np.ndarray]:
    given, heat = session(trained.file, 1).run(
        ["probabilities", "heat_map"], {"image": pixels(jpeg, trained.card.size)[None]}
    )
    return dict(zip(trained.card.labels, np.asarray(given)[0].tolist(), strict=True)), np.asarray(heat)[0]


def options(*, multi_label: bool = False) -> Options:
    return Options(size=SIZE, symmetry=Symmetry.NONE, seed=1, multi_label=multi_label)


def nothing() -> None:
    pass


def plates(count: int = 12) -> tuple[list[bytes], list[tuple[str, ...]]]:
    good = [part(number) for number in range(count)]
    bad = [part(100 + number, spots=("black",)) for number in range(count)]
    return good + bad, [("ok",)] * count + [("defect",)] * count


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(*plates(), options(), tmp_path_factory.mktemp("cache"), nothing)


def test_it_tells_labels_apart_and_says_where_it_saw_them(trained: Trained):
    scores, heat = answers(trained, part(900, spots=("black",)))
    assert scores["defect"] > 0.8
    assert sum(scores.values()) == pytest.approx(1)
    row, column = np.unravel_index(heat[trained.card.labels.index("defect")].argmax(), heat.shape[1:])
    assert abs(column - MARK[0] / 64) < 1.5
    assert abs(row - MARK[1] / 64) < 1.5
    scores, _ = answers(trained, part(901))
    assert scores["ok"] > 0.8


def test_the_file_says_what_it_is(trained: Trained):
    metadata = session(trained.file, 1).get_modelmeta().custom_metadata_map
    card = ModelCard.from_metadata(metadata)
    assert card == trained.card
    assert (card.labels, card.kind, card.size) == (("defect", "ok"), Kind.SINGLE_LABEL, SIZE)
    assert card.figures["images"] == 24
    assert len(trained.file) < MAX_FILE_BYTES


def test_the_same_images_and_seed_give_the_same_file_also_after_an_interruption(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done: list[None] = []

    def interrupt() -> None:
        done.append(None)
        if len(done) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr("automl.own.training.today", lambda: trained.card.trained_on)
    with pytest.raises(KeyboardInterrupt):
        train(*plates(), options(), tmp_path, interrupt)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(kept) == 5
    again = train(*plates(), options(), tmp_path, nothing)
    assert again.file == trained.file
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_an_image_may_have_several_labels(tmp_path: Path):
    kinds: list[tuple[str, ...]] = [(), ("black",), ("red",), ("black", "red")]
    jpegs = [part(20 * at + number, spots=kind) for at, kind in enumerate(kinds) for number in range(10)]
    labels = [kind for kind in kinds for _ in range(10)]
    both = train(jpegs, labels, options(multi_label=True), tmp_path, nothing)
    assert both.card.kind is Kind.MULTI_LABEL
    scores, _ = answers(both, part(900, spots=("black", "red")))
    assert min(scores.values()) > 0.5
    scores, _ = answers(both, part(901))
    assert max(scores.values()) < 0.5


def test_good_parts_alone_are_enough(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("automl.own.only_good._MEMORY", 200)
    good = [part(number) for number in range(20)]
    learned = train_only_good(good, options(), nothing, "defect")
    assert learned.card.labels == ("defect", "ok")
    scores, heat = answers(learned, part(900, spots=("black",)))
    assert scores["defect"] > 0.9
    row, column = np.unravel_index(heat[0].argmax(), heat.shape[1:])
    assert abs(column - MARK[0] / 64) < 1.5
    assert abs(row - MARK[1] / 64) < 1.5
    assert train_only_good(good, options(), nothing, "defect").file == learned.file


def test_one_label_and_several_labels_are_refused_where_they_cannot_be(tmp_path: Path):
    with pytest.raises(UnusableImagesError, match="only the label ok"):
        train([part(1)], [("ok",)], options(), tmp_path, nothing)
    with pytest.raises(UnusableImagesError, match="say --multi-label"):
        train([part(1), part(2)], [("ok",), ("ok", "dirty")], options(), tmp_path, nothing)


def test_eight_turns_are_eight_different_ones():
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert len({turned(picture, turn).tobytes() for turn in range(8)}) == 8
    assert turned(picture, 0).tobytes() == picture.tobytes()


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


@pytest.mark.parametrize("state", [_Evil(), OrderedDict(a=_Evil()), OrderedDict(a=Path())])
def test_weights_that_name_anything_else_are_refused(state: object, capsys: pytest.CaptureFixture[str]):
    file = io.BytesIO(b"".join(map(pickle.dumps, (0x1950A86A20F9469CFC6C, 1001, {}, state, []))))
    with pytest.raises(UnexpectedWeightsError, match="the weights name "):
        read_weights(file)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", pickle.dumps(1), b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."])
def test_another_file_of_weights_is_refused(data: bytes):
    with pytest.raises(UnexpectedWeightsError):
        read_weights(io.BytesIO(data))
    with pytest.raises(UnexpectedWeightsError, match="SHA-256"):
        read_checked(data, "0" * 64)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "not a model that"),
        ({"inspection.model": "{"}, "cannot be read"),
        ({"inspection.model": '{"version": 2}'}, "newer program"),
        ({"inspection.model": '{"version": 1, "labels": 3}'}, "cannot be read"),
    ],
)
def test_metadata_of_another_file_is_refused(metadata: dict[str, str], reason: str):
    with pytest.raises(NotAModelFileError, match=reason):
        ModelCard.from_metadata(metadata)
