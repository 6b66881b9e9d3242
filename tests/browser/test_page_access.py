"""The review page without a mouse, without sight, and on a phone."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import Open, answered, decided_count, shown
from tests.browser.review_desk import FRONTEND, LABELS, Desk

# One browser, and one build of the page.
pytestmark = pytest.mark.xdist_group("browser")


# For everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 360])
def test_axe_finds_nothing(desk: Desk, open_page: Open, scheme: str, width: int) -> None:
    first, second = desk.put(2)
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 740}, bypass_csp=True)
    page.add_script_tag(path=FRONTEND / "node_modules" / "axe-core" / "axe.min.js")
    shown(page, first)
    assert violations(page) == []
    page.get_by_role("button", name="Zoom, brightness and contrast").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    desk.bucket.blob(f"unclear/{first}").delete()
    page.keyboard.press("1")
    expect(page.locator(".message")).to_be_visible()
    shown(page, second)
    assert violations(page) == []
    page.context.set_offline(True)
    page.keyboard.press("1")
    expect(page.get_by_role("alert")).to_be_visible()
    assert violations(page) == []


def violations(page: Page) -> list[str]:
    found: list[str] = page.evaluate(
        """async () => (await axe.run()).violations.map(
            ({id, help, nodes}) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" | ")}`)"""
    )
    return found


@pytest.mark.parametrize("labels", [LABELS, tuple(f"label number {number}" for number in range(1, 10))])
def test_a_phone_shows_everything_in_its_width_with_large_targets(
    desk: Desk, open_page: Open, labels: tuple[str, ...]
) -> None:
    first, second = desk.put(2)
    page = open_page(labels=labels, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    expect(page.locator(".name").first).to_have_text(first)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.documentElement.scrollHeight") == 740
    buttons = page.locator("main button:visible")
    sizes = [box for button in buttons.all() if (box := button.bounding_box())]
    assert len(sizes) == len(labels) + 4
    assert all(size["width"] >= 48 and size["height"] >= 48 for size in sizes), sizes
    with answered(page):
        page.get_by_role("button", name=labels[0]).tap()
    expect(page.locator(".name").first).to_have_text(second)


def test_the_keyboard_alone_reaches_every_button_and_shows_where_it_is(desk: Desk, open_page: Open) -> None:
    first, second = desk.put(2)
    page = open_page()
    shown(page, first)
    reached: list[str] = []
    for _ in range(2 + len(LABELS) + 2):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    names = ["Zoom", "Help", *LABELS, "Undo", "Skip"]
    assert [name in text for name, text in zip(names, reached, strict=True)] == [True] * len(names), reached
    page.get_by_role("button", name="ok").focus()
    with answered(page):
        page.keyboard.press("Enter")
    shown(page, second)


def test_a_screen_reader_hears_what_was_decided_and_what_is_next(desk: Desk, open_page: Open) -> None:
    first, second = desk.put(2)
    page = open_page()
    heard = page.get_by_role("status").first
    expect(heard).to_have_text(f"Next: ok, 50 %, {first}.")
    shown(page, first)
    page.keyboard.press("2")
    expect(heard).to_have_text(f"defect. Next: defect, 57 %, {second}.")
    expect(page.get_by_role("img", name=f"{second}, for the model most likely defect")).to_be_visible()


def test_the_help_names_every_label_and_keeps_keys_from_deciding(desk: Desk, open_page: Open) -> None:
    (first,) = desk.put(1)
    page = open_page()
    shown(page, first)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    for label in LABELS:
        expect(dialog.get_by_text(label, exact=True)).to_be_visible()
    page.keyboard.press("1")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    decided_count(page, 0)
