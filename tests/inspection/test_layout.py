"""Names in the prediction bucket: within Cloud Storage's limits, and never one for two images."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inspection.labels import RESERVED_FOLDERS
from inspection.layout import (
    MAX_NAME_BYTES,
    decided_name,
    decided_names,
    folder_name,
    glob_of_copies,
    names_in,
    renamed,
    source_uri,
)
from local.google.storage.glob import matcher

FOLDERS = st.sampled_from(["ok", "defect", "größe", "x" * 64, *RESERVED_FOLDERS])
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1).filter(
    lambda name: len(name.encode()) <= MAX_NAME_BYTES
)


def long_name(start: str, filling: str, end: str) -> str:
    room = MAX_NAME_BYTES - len((start + end).encode())
    return start + (filling * MAX_NAME_BYTES).encode()[:room].decode(errors="ignore") + end


LONG_NAMES = st.builds(
    long_name,
    st.text("abß部", max_size=3),
    st.sampled_from(["x", "ß", "部", "a/", "🔩"]),
    st.sampled_from(["a.jpg", "a.png", "1.jpg", "2.jpg", "/a.tif", "", "."]),
)
GENERATIONS = st.integers(1, 2**63 - 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "ok/a.jpg"),
        ("line 1/a.jpg", "ok/line 1/a.jpg"),
        ("検査/部品?#%.png", "ok/検査/部品?#%.png"),
        ("a", "ok/a"),
    ],
)
def test_a_name_keeps_its_folders(name: str, expected: str):
    assert folder_name("ok", name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "a-7.jpg"),
        ("b.c/a.tar.gz", "b.c/a.tar-7.gz"),
        ("b.c/a", "b.c/a-7"),
        (".jpg", ".jpg-7"),
        ("a/..", "a/..-7"),
        ("folder/", "folder/-7"),
    ],
)
def test_a_taken_name_gets_the_generation_before_its_extension(name: str, expected: str):
    assert renamed(name, 7) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", "human_decided/ok_a.jpg"), ("line 1/b/a.jpg", "human_decided/line 1/b/ok_a.jpg")],
)
def test_a_decision_goes_in_front_of_the_last_part(name: str, expected: str):
    assert decided_name("ok", name) == expected


def test_the_source_is_named_whole():
    assert source_uri("inbound", "a b#1.jpg", 7) == "gs://inbound/a b#1.jpg#7"


@given(folder=FOLDERS, name=NAMES | LONG_NAMES, generation=GENERATIONS)
@example(folder="x" * 64, name="部" * 341, generation=2**63 - 1)
def test_every_name_fits_and_stays_in_its_folder(folder: str, name: str, generation: int):
    source = source_uri("inbound", name, generation)
    for stored in (*names_in(folder, name, generation, source), folder_name(folder, name)):
        assert len(stored.encode()) <= MAX_NAME_BYTES
        assert stored.startswith(f"{folder}/")
    assert len(decided_name("x" * 64, name).encode()) <= MAX_NAME_BYTES


@given(folder=FOLDERS, names=st.lists(NAMES | LONG_NAMES, min_size=2, max_size=6, unique=True))
def test_images_of_different_names_never_share_one(folder: str, names: list[str]):
    assert len({folder_name(folder, name) for name in names}) == len(names)
    assert len({decided_name("ok", name) for name in names}) == len(names)


@given(folder=FOLDERS, name=NAMES | LONG_NAMES, generations=st.lists(GENERATIONS, min_size=2, max_size=4, unique=True))
def test_images_of_one_name_have_different_ones_to_give_way_to(folder: str, name: str, generations: list[int]):
    choices = [names_in(folder, name, each, source_uri("inbound", name, each)) for each in generations]
    assert len({first for first, _, _ in choices}) == 1
    others = [stored for _, *rest in choices for stored in rest]
    assert len(set(others)) == len(others)
    assert choices[0][0] not in others


@given(name=LONG_NAMES)
def test_a_shortened_name_keeps_its_beginning_and_a_usual_extension(name: str):
    stored = folder_name("unclear", name)
    if stored != f"unclear/{name}":
        assert f"unclear/{name}".startswith(stored.rpartition("~")[0])
        if name.endswith(".jpg"):
            assert stored.endswith(".jpg")


@given(
    name=NAMES | LONG_NAMES | st.text("a.-/*?[]{},\\!~", min_size=1),
    generation=GENERATIONS,
    label=FOLDERS | st.just("𠀀" * 64),
)
@example(name="/", generation=1, label="ok")
@example(name="0.", generation=1, label="ok")
@example(name="..", generation=1, label="ok")
@example(name="a/" + "x" * 990 + "/" + "y" * 31, generation=1, label="ok")
@example(name="a." + "x" * 300, generation=1, label="ok")
def test_a_glob_finds_every_name_that_an_image_may_have(name: str, generation: int, label: str):
    source = source_uri("inbound", name, generation)
    queued = names_in("unclear", name, generation, source)
    places = {*names_in(label, name, generation, source), *queued}
    for place in queued:
        places |= set(decided_names(label, place.removeprefix("unclear/"), generation))
    glob = matcher(glob_of_copies(name, generation))
    assert [place for place in places if not glob.fullmatch(place)] == []


@pytest.mark.parametrize("name", ["ok/box/a10.jpg", "ok/a1.jpg", "ok/x/box/a1.jpg", "ok/box/a1-8.jpg", "ok/box/a1.png"])
def test_a_glob_leaves_out_other_images(name: str):
    glob = matcher(glob_of_copies("box/a1.jpg", 7))
    assert glob.fullmatch("ok/box/a1-7-0123456789abcdef.jpg")
    assert not glob.fullmatch(name)


@given(name=NAMES | LONG_NAMES, generation=GENERATIONS)
def test_a_glob_is_short_enough_for_an_address(name: str, generation: int):
    assert len(glob_of_copies(name, generation).encode()) < 2048
