"""A decision does not depend on the browser: pictures that it cannot show, or not now, are decided all the same."""

import io
from collections.abc import Callable

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.browser.pages import Open, answered, decided_count, sent, shown
from tests.browser.review_desk import Desk, metadata

pytestmark = pytest.mark.xdist_group("browser")

BROKEN, SLOW = "This picture cannot be shown here", "This picture takes long to load"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 500


def tiff() -> bytes:
    file = io.BytesIO()
    Image.new("I;16", (80, 60), 30_000).save(file, "TIFF")
    return file.getvalue()


def put(desk: Desk, name: str, data: bytes, content_type: str) -> None:
    blob = desk.bucket.blob(f"unclear/{name}")
    blob.metadata = metadata(name, 0)
    blob.upload_from_string(data, content_type=content_type)


def told(page: Page, name: str, heading: str = BROKEN) -> None:
    """Waits until the page says of this picture that it does not show it, and can be decided on."""
    expect(page.get_by_role("heading", name=heading)).to_be_visible(timeout=10_000)
    shown(page, name)


@pytest.mark.parametrize(
    ("name", "make", "content_type"),
    [
        ("weld.tiff", tiff, "image/tiff"),
        ("phone.heic", lambda: HEIC, "image/heic"),
        ("cut off.jpg", lambda: b"\xff\xd8\xff\xe0 and no more", "image/jpeg"),
        ("empty.png", lambda: b"", "image/png"),
        ("frame.raw", lambda: b"\1\2" * 500, "application/octet-stream"),
    ],
)
def test_a_picture_that_the_browser_cannot_show_is_decided_and_undone(
    desk: Desk, open_page: Open, name: str, make: Callable[[], bytes], content_type: str
) -> None:
    put(desk, name, make(), content_type)
    page = open_page()
    told(page, name)
    with answered(page):
        page.keyboard.press("2")
    assert desk.names("human_decided") == [f"defect_{name}"]
    with answered(page, "**/api/undo"):
        page.keyboard.press("u")
    told(page, name)
    with answered(page):
        page.get_by_role("button", name="ok").click()
    assert desk.names("human_decided") == [f"ok_{name}"]


def test_it_can_be_downloaded_under_its_name(desk: Desk, open_page: Open) -> None:
    put(desk, "shift 1/größe#1.tiff", tiff(), "image/tiff")
    page = open_page()
    told(page, "shift 1/größe#1.tiff")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the file").click()
    assert download.value.suggested_filename == "größe#1.tiff"
    assert download.value.path().read_bytes() == tiff()
    told(page, "shift 1/größe#1.tiff")


def test_it_can_be_skipped_and_said_by_a_screen_reader(desk: Desk, open_page: Open) -> None:
    put(desk, "a.tiff", tiff(), "image/tiff")
    page = open_page()
    told(page, "a.tiff")
    expect(page.get_by_role("status").first).to_contain_text("You can decide on it all the same")
    page.get_by_role("button", name="Skip it").click()
    told(page, "a.tiff")
    decided_count(page, 0)


def test_without_a_connection_to_the_storage_a_picture_is_decided_and_the_next_is_seen(
    desk: Desk, open_page: Open
) -> None:
    page = open_page(intercepted=True)
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    page.route("**/image", lambda route: route.abort(), times=1)
    first, second = desk.put(2)
    page.get_by_role("button", name="Look now").click()
    told(page, first)
    with answered(page):
        page.keyboard.press("1")
    shown(page, second)
    expect(page.get_by_role("img", name=second)).to_be_visible()
    assert desk.names("human_decided") == [f"ok_{first}"]


def test_a_picture_that_loads_for_ever_is_decided_and_one_that_comes_late_is_shown(desk: Desk, open_page: Open) -> None:
    page = open_page(intercepted=True)
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    held: list[Route] = []
    page.route("**/image", lambda route: held.append(route))  # noqa: PLW0108  # a plain function is asked for
    first, second = desk.put(2)
    page.get_by_role("button", name="Look now").click()
    expect(page.get_by_text("Loading the picture")).to_be_visible()
    page.keyboard.press("1")
    told(page, first, SLOW)
    decided_count(page, 0)
    with answered(page):
        page.keyboard.press("1")
    told(page, second, SLOW)
    for route in held:
        route.continue_()
    expect(page.get_by_role("img", name=second)).to_be_visible()
    expect(page.get_by_role("heading", name=SLOW)).to_have_count(0)
    shown(page, second)
    with answered(page):
        page.keyboard.press("2")
    assert desk.names("human_decided") == [f"defect_{second}", f"ok_{first}"]


def test_a_key_held_down_decides_on_nothing_that_is_not_shown(desk: Desk, open_page: Open) -> None:
    (seen,) = desk.put(1)
    put(desk, "z1.tiff", tiff(), "image/tiff")
    put(desk, "z2.tiff", tiff(), "image/tiff")
    page = open_page()
    shown(page, seen)
    for _ in range(3):
        page.keyboard.down("1")
    told(page, "z1.tiff")
    for _ in range(20):
        page.keyboard.down("1")
    page.get_by_role("button", name="ok").focus()
    page.keyboard.up("1")
    for _ in range(5):
        page.keyboard.down("Enter")  # the first is a press of its own
    page.keyboard.up("Enter")
    told(page, "z2.tiff")
    sent(page)
    assert desk.names("human_decided") == [f"ok_{seen}", "ok_z1.tiff"]
