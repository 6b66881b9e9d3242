"""Listings: order, prefixes, pages and offsets, against a model in a few lines of Python."""

import re
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import storage
from hypothesis import given, settings
from hypothesis import strategies as st

from local.google.storage.index import successor
from local.google.storage.store import ObjectStore

NAMES = st.text(alphabet="ab/é\ud7ff\ue000\U0010ffff", min_size=1, max_size=6)
Listed = tuple[list[str], list[str]]


def by_model(names: set[str], prefix: str, delimiter: str, start: str, end: str | None, trailing: bool) -> Listed:
    """Filter by name, then group what has the delimiter after the prefix."""
    items: list[str] = []
    prefixes: set[str] = set()
    for name in sorted(names, key=str.encode):
        encoded = name.encode()
        if not name.startswith(prefix) or encoded < start.encode() or (end is not None and encoded >= end.encode()):
            continue
        cut = name.find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            items.append(name)
            continue
        prefixes.add(name[: cut + len(delimiter)])
        if trailing and name.endswith(delimiter) and cut == len(name) - len(delimiter):
            items.append(name)
    return items, sorted(prefixes, key=str.encode)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with ObjectStore(tmp_path_factory.mktemp("listing")) as store:
        yield store


@settings(max_examples=60, deadline=None)
@given(
    names=st.sets(NAMES, max_size=12),
    prefix=st.text(alphabet="ab/é", max_size=3),
    delimiter=st.sampled_from(["", "/", "b", "//"]),
    start=st.text(alphabet="ab/é\ue000", max_size=3),
    end=st.none() | NAMES,
    trailing=st.booleans(),
    limit=st.integers(1, 5),
)
def test_pages_put_together_are_what_the_model_lists(
    store: ObjectStore,
    names: set[str],
    prefix: str,
    delimiter: str,
    start: str,
    end: str | None,
    trailing: bool,
    limit: int,
):
    store.create_bucket("listed", {})
    try:
        for name in names:
            store.insert("listed", name, store.new_content(), {})
        items: list[str] = []
        prefixes: list[str] = []
        position: str | None = start
        while position is not None:
            page = store.list(
                "listed",
                prefix=prefix,
                delimiter=delimiter,
                start=position,
                end=end,
                include_trailing_delimiter=trailing,
                limit=limit,
            )
            # A folder that is also an object counts twice and is never torn apart.
            assert len(page.objects) + len(page.prefixes) <= limit + trailing
            assert page.next_start is None or page.objects or page.prefixes
            items += [stored.name for stored in page.objects]
            prefixes += page.prefixes
            position = page.next_start
        assert (items, prefixes) == by_model(names, prefix, delimiter, start, end, trailing)
    finally:
        for name in names:
            store.delete("listed", name)
        store.delete_bucket("listed")


@given(prefix=NAMES, other=NAMES)
def test_the_successor_of_a_prefix_comes_right_after_all_that_begin_with_it(prefix: str, other: str):
    after = successor(prefix)
    begins = other.startswith(prefix)
    inside = other >= prefix and (after is None or other < after)
    assert begins == inside


@pytest.fixture(scope="module")
def folders(client: storage.Client, bucket_names: Callable[[], str]) -> storage.Bucket:
    bucket = client.create_bucket(bucket_names())
    for name in ("a.jpg", "ok/", "ok/1.jpg", "ok/2.jpg", "unclear/1.jpg", "unclear/deep/2.jpg", "z.jpg", "ä.jpg"):
        bucket.blob(name).upload_from_string(b"")
    return bucket


def names(blobs: Iterable[storage.Blob]) -> list[str]:
    return [blob.name or "" for blob in blobs]


def test_the_client_sees_folders_and_pages(folders: storage.Bucket):
    top = folders.list_blobs(delimiter="/")
    assert names(top) == ["a.jpg", "z.jpg", "ä.jpg"]
    assert top.prefixes == {"ok/", "unclear/"}
    assert names(folders.list_blobs(prefix="unclear/", delimiter="/")) == ["unclear/1.jpg"]
    assert names(folders.list_blobs(prefix="", delimiter="/", include_trailing_delimiter=True)) == [
        "a.jpg",
        "ok/",
        "z.jpg",
        "ä.jpg",
    ]
    assert names(folders.list_blobs(start_offset="ok/2.jpg", end_offset="z.jpg")) == [
        "ok/2.jpg",
        "unclear/1.jpg",
        "unclear/deep/2.jpg",
    ]
    assert names(folders.list_blobs(max_results=2)) == ["a.jpg", "ok/"]
    pages = [names(page) for page in folders.list_blobs(page_size=3).pages]
    assert [len(page) for page in pages] == [3, 3, 2]


def test_a_page_token_goes_on_where_the_page_ended(folders: storage.Bucket):
    first = folders.list_blobs(page_size=3)
    next(first.pages)
    rest = folders.list_blobs(page_token=first.next_page_token)
    assert names(rest)[0] == "ok/2.jpg"


def test_a_partial_listing_has_what_was_asked_for_and_nothing_else(folders: storage.Bucket):
    [blob] = folders.list_blobs(prefix="a", fields="items(name,size),nextPageToken")
    assert (blob.name, blob.size, blob.generation) == ("a.jpg", 0, None)


def test_what_cannot_be_listed_is_refused_with_a_reason(client: storage.Client, folders: storage.Bucket):
    with pytest.raises(NotFound):
        list(client.list_blobs("no-such-bucket"))
    with pytest.raises(BadRequest, match="matchGlob"):
        list(folders.list_blobs(match_glob="*.jpg", delimiter="b"))
    with pytest.raises(BadRequest, match="pageToken"):
        list(folders.list_blobs(page_token="é"))
    with pytest.raises(BadRequest, match="field selection"):
        list(folders.list_blobs(fields="items(name"))


@pytest.mark.parametrize(
    ("glob", "matching"),
    [
        ("*.jpg", ["a.jpg", "z.jpg", "ä.jpg"]),
        ("**.jpg", ["a.jpg", "ok/1.jpg", "ok/2.jpg", "unclear/1.jpg", "unclear/deep/2.jpg", "z.jpg", "ä.jpg"]),
        ("**/1.jpg", ["ok/1.jpg", "unclear/1.jpg"]),
        ("**/{a,1,2}.jpg", ["a.jpg", "ok/1.jpg", "ok/2.jpg", "unclear/1.jpg", "unclear/deep/2.jpg"]),
        ("unclear/**/2.jpg", ["unclear/deep/2.jpg"]),
        ("unclear/**/1.jpg", ["unclear/1.jpg"]),
        ("*/?.jpg", ["ok/1.jpg", "ok/2.jpg", "unclear/1.jpg"]),
        ("{ok,unclear}/1.jpg", ["ok/1.jpg", "unclear/1.jpg"]),
        ("{o*/[2-9],u{n,m}clear/[!2]}.jpg", ["ok/2.jpg", "unclear/1.jpg"]),
        ("[az].jpg", ["a.jpg", "z.jpg"]),
        ("\\a.jpg", ["a.jpg"]),
        ("ok/", ["ok/"]),
        ("ok?1.jpg", []),
        ("ok[/]1.jpg", []),
        ("1.jpg", []),
        ("ajpg", []),
    ],
)
def test_a_glob_leaves_what_it_matches_whole(folders: storage.Bucket, glob: str, matching: list[str]):
    assert names(folders.list_blobs(match_glob=glob)) == matching


def test_a_glob_takes_escaped_characters_as_they_stand(client: storage.Client, bucket_names: Callable[[], str]):
    bucket = client.create_bucket(bucket_names())
    odd = "a,b*[c]{d}?\\e]f}.jpg"
    for name in (odd, "a,bx[c]{d}?\\e]f}.jpg"):
        bucket.blob(name).upload_from_string(b"")
    glob = "".join(f"\\{character}" if character in "*[]{}?\\," else character for character in odd)
    assert names(bucket.list_blobs(match_glob=glob)) == [odd]
    assert names(bucket.list_blobs(match_glob=f"{{{glob},x}}")) == [odd]


def test_prefixes_are_matched_as_they_are_shown(folders: storage.Bucket):
    """First the names are cut at the delimiter, then compared (https://github.com/fsouza/fake-gcs-server/pull/2328)."""
    listing = folders.list_blobs(match_glob="*/", delimiter="/")
    assert names(listing) == []
    assert listing.prefixes == {"ok/", "unclear/"}
    listing = folders.list_blobs(match_glob="**.jpg", delimiter="/")
    assert names(listing) == ["a.jpg", "z.jpg", "ä.jpg"]
    assert listing.prefixes == set()


@pytest.mark.parametrize(
    ("glob", "said"),
    [
        ("a[b", "character class has no closing ']'"),
        ("a]b", "without any previous opening '['"),
        ("a[]b", "must have at least one character"),
        ("a[!]b", "must have at least one character"),
        ("{a,b", "has no closing '}'"),
        ("a}", "has no previous opening '{'"),
        ("[z-a]", "range"),
    ],
)
def test_a_glob_that_is_none_is_refused(folders: storage.Bucket, glob: str, said: str):
    with pytest.raises(BadRequest, match=re.escape(said)):
        list(folders.list_blobs(match_glob=glob))


def test_a_page_of_a_glob_may_be_empty_and_not_the_last(store: ObjectStore):
    store.create_bucket("globbed", {})
    for name in ("a1", "a2", "b1", "b2", "b3"):
        store.insert("globbed", name, store.new_content(), {})
    pages: list[list[str]] = []
    position: str | None = ""
    while position is not None:
        page = store.list("globbed", start=position, matching=re.compile("b."), look_at=2)
        pages.append([stored.name for stored in page.objects])
        position = page.next_start
    assert pages == [[], ["b1", "b2"], ["b3"]]


def test_buckets_are_listed_by_prefix(client: storage.Client):
    for name in ("listing-b", "listing-a", "other-a"):
        client.create_bucket(name)
    assert [bucket.name for bucket in client.list_buckets(prefix="listing-")] == ["listing-a", "listing-b"]
    assert [bucket.name for bucket in client.list_buckets(prefix="listing-", page_size=1)] == ["listing-a", "listing-b"]


@pytest.mark.parametrize("objects", [1_000, 20_000])
def test_a_page_touches_only_what_is_on_it(objects: int, tmp_path: Path):
    """Counted in steps of SQLite's machine, which do not depend on how busy this one is."""
    with ObjectStore(tmp_path) as store:
        store.create_bucket("large", {})
        # Straight into the index: only its size matters here.
        index: sqlite3.Connection = store._index.connection  # pyright: ignore[reportPrivateUsage]
        index.execute("BEGIN")
        index.executemany(
            "INSERT INTO objects VALUES ('large', ?, 1, 1, '', 0, '', '', NULL, 0, 0, '{}')",
            ((f"{folder}/{number:06d}",) for folder in ("ok", "unclear") for number in range(objects // 2)),
        )
        index.execute("COMMIT")
        steps = 0

        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        index.set_progress_handler(step, 10)
        top = store.list("large", delimiter="/")
        page = store.list("large", prefix="unclear/", delimiter="/", start="unclear/000300", limit=20)
        index.set_progress_handler(None, 0)
        assert top.prefixes == ["ok/", "unclear/"]
        assert page.objects[0].name == "unclear/000300"
        assert page.next_start is not None
        assert steps < 200
