import csv
import io
import math
from collections.abc import Iterable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from automl.dataset.catalogue import Catalogue, Picture, Report
from automl.dataset.import_file import Format, Row, write
from automl.dataset.split import Set, Shares, place

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
SHARES = st.builds(Shares, validation=st.floats(0, 0.49), test=st.floats(0, 0.49))


def sets_of(label_of: Mapping[str, str], shares: Shares) -> dict[str, Set | None]:
    """What a data set with these names and labels says about each name."""
    report = Report()
    with Catalogue() as catalogue:
        catalogue.add(Picture(name=name, label=label, key=name, content=name) for name, label in label_of.items())
        catalogue.check(report, shares, multi_label=False)
        rows = list(catalogue.rows(""))
    assert [row.uri for row in rows] == sorted(label_of, key=str.encode)  # each name once, in one set
    assert report.pictures == len(label_of)
    return {row.uri: row.set for row in rows}


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(NAMES, st.sampled_from(["defect", "ok"])), st.data(), SHARES)
def test_added_pictures_move_no_other(label_of: dict[str, str], data: st.DataObject, shares: Shares):
    few = data.draw(st.sets(st.sampled_from(sorted(label_of)))) if label_of else set()
    before = sets_of({name: label_of[name] for name in few}, shares)
    after = sets_of(label_of, shares)
    assert before == {name: after[name] for name in few}


@given(st.lists(NAMES, unique=True), st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.19))
def test_a_larger_share_takes_from_training_alone(names: list[str], validation: float, test: float, more: float):
    small = Shares(validation=validation, test=test)
    for large in (Shares(validation=validation + more, test=test), Shares(validation=validation, test=test + more)):
        for name in names:
            assert small.set_at(place(name)) in {large.set_at(place(name)), Set.TRAINING}


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=8), SHARES)
def test_every_label_has_its_share_within_chance(prefix: str, shares: Shares):
    for pictures, label in ((1500, "common"), (150, "rare")):
        _within_chance((f"{prefix}/{label}/{i}.jpg" for i in range(pictures)), pictures, shares)


def _within_chance(names: Iterable[str], pictures: int, shares: Shares) -> None:
    sets = [shares.set_at(place(name)) for name in names]
    for used_for, share in ((Set.VALIDATION, shares.validation), (Set.TEST, shares.test)):
        # Six and a half standard deviations, and three pictures for shares near 0: never by chance.
        allowed = 6.5 * math.sqrt(pictures * share * (1 - share)) + 3
        assert abs(sets.count(used_for) - pictures * share) <= allowed


@given(st.text())
def test_a_place_is_a_place(name: str):
    assert 0 <= place(name) < 1


def test_a_name_copied_from_a_mac_keeps_its_place():
    assert place("gu\u00df/pr\u00fcfling.jpg") == place("gu\u00df/pru\u0308fling.jpg")


def test_places_are_the_same_in_every_version():
    # What these say is in users' import files; another hash would move their pictures between sets.
    assert [round(place(name), 6) for name in ("1.jpg", "cast_def_0_7.jpeg", "gr\u00f6\u00dfe.png")] == [
        0.297951,
        0.914419,
        0.677547,
    ]


# No object's name has a carriage return.
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")), NAMES)))
def test_any_name_survives_the_csv(names_and_labels: list[tuple[str, str]]):
    file = io.StringIO()
    write(
        (Row(uri=f"gs://b/{name}", labels=(label,), set=Set.TEST) for name, label in names_and_labels),
        file,
        form=Format.AUTOML_CSV,
        multi_label=False,
    )
    lines = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert lines == [["TEST", f"gs://b/{name}", label] for name, label in names_and_labels]
