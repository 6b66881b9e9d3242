"""A reviewer at the page: keys, undo, colleagues, a bad connection, in a real browser against the real app."""

import re

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser.pages import DECISION, Open, answered, decided_count, sent, shown
from tests.browser.review_desk import ANNA, BERT, Desk

# One browser, and one build of the page.
pytestmark = pytest.mark.xdist_group("browser")


# Keys


def test_a_key_decides_and_the_next_picture_is_there(desk: Desk, open_page: Open) -> None:
    first, second, third = desk.put(3)
    page = open_page()
    shown(page, first)
    with answered(page):
        page.keyboard.press("2")
    shown(page, second)
    with answered(page):
        page.keyboard.press("3")
    shown(page, third)
    assert desk.names("human_decided") == [f"blow hole_{second}", f"defect_{first}"]
    decided_count(page, 2)
    expect(page.get_by_test_id("waiting")).to_have_text("1")


def test_undo_brings_a_picture_back_to_be_decided_anew(desk: Desk, open_page: Open) -> None:
    first, second, _ = desk.put(3)
    page = open_page()
    shown(page, first)
    with answered(page):
        page.keyboard.press("1")
    shown(page, second)
    with answered(page, "**/api/undo"):
        page.keyboard.press("u")
    shown(page, first)
    assert desk.names("human_decided") == []
    decided_count(page, 0)
    with answered(page):
        page.keyboard.press("2")
    assert desk.names("human_decided") == [f"defect_{first}"]


def test_undo_reaches_over_a_reload(desk: Desk, open_page: Open) -> None:
    first, second = desk.put(2)
    page = open_page()
    shown(page, first)
    with answered(page):
        page.keyboard.press("1")
    page.reload()
    shown(page, second)
    with answered(page, "**/api/undo"):
        page.keyboard.press("u")
    shown(page, first)


def test_a_skipped_picture_comes_again_at_the_end(desk: Desk, open_page: Open) -> None:
    first, second, third = desk.put(3)
    page = open_page()
    shown(page, first)
    page.keyboard.press("s")
    for name in (second, third, first):
        shown(page, name)
        with answered(page):
            page.keyboard.press("1")
    assert len(desk.names("human_decided")) == 3


def test_a_key_held_down_on_sixty_pictures_makes_sixty_decisions(desk: Desk, open_page: Open) -> None:
    names = desk.put(60)
    page = open_page()
    shown(page, names[0])
    empty = page.get_by_role("heading", name="Nothing waits for you")
    while not empty.is_visible():
        page.keyboard.down("1")
    for _ in range(5):
        page.keyboard.down("1")
    page.keyboard.up("1")
    decided_count(page, 60)
    sent(page)
    assert desk.names("human_decided") == [f"ok_{name}" for name in names]


def test_zoom_brightness_and_contrast_stay_as_set(desk: Desk, open_page: Open) -> None:
    first, second, _ = desk.put(3)
    page = open_page()
    shown(page, first)
    lens = page.locator(".lens")
    for key in ("+", "b", "b", "Shift+C", "ArrowLeft"):
        page.keyboard.press(key)
    style = "transform: translate(10%, 0%) scale(1.25); filter: brightness(1.2) contrast(0.9);"
    expect(lens).to_have_attribute("style", style)
    page.keyboard.press("1")
    shown(page, second)
    expect(lens).to_have_attribute("style", style)
    sent(page)
    page.reload()
    shown(page, second)
    expect(lens).to_have_attribute("style", style)
    page.keyboard.press("0")
    page.keyboard.press("r")
    expect(lens).to_have_attribute("style", "transform: translate(0%, 0%) scale(1); filter: brightness(1) contrast(1);")


def test_the_wheel_zooms_and_a_drag_moves_the_picture(desk: Desk, open_page: Open) -> None:
    (first,) = desk.put(1)
    page = open_page()
    shown(page, first)
    page.mouse.move(300, 300)
    page.mouse.wheel(0, -600)
    lens = page.locator(".lens")
    expect(lens).to_have_attribute("style", re.compile(r"scale\(2\.4"))
    before = lens.get_attribute("style")
    page.mouse.down()
    page.mouse.move(360, 320)
    page.mouse.up()
    assert lens.get_attribute("style") != before


# Colleagues


def test_two_reviewers_never_see_the_same_picture(desk: Desk, open_page: Open) -> None:
    names = desk.put(30)
    anna = open_page(ANNA)
    shown(anna, names[0])
    bert = open_page(BERT)
    shown(bert, names[12])


def test_two_windows_of_one_reviewer_are_two_pages(desk: Desk, open_page: Open) -> None:
    names = desk.put(30)
    page = open_page()
    shown(page, names[0])
    second = page.context.new_page()
    second.goto(page.url)
    shown(second, names[12])
    with answered(second):
        second.keyboard.press("1")
    with answered(page):
        page.keyboard.press("2")
    assert desk.names("human_decided") == [f"defect_{names[0]}", f"ok_{names[12]}"]


def test_a_decision_that_came_too_late_is_told(desk: Desk, open_page: Open) -> None:
    first, second = desk.put(2)
    anna = open_page(ANNA)
    shown(anna, first)
    desk.clock.pass_by(minutes=5)
    bert = open_page(BERT)
    shown(bert, first)
    with answered(bert):
        bert.keyboard.press("2")
    shown(anna, first)
    anna.keyboard.press("1")
    message = anna.get_by_text(f"{first}: {BERT} was faster and decided “defect”. Your “ok” was not counted.")
    expect(message.last).to_be_visible()
    decided_count(anna, 0)
    shown(anna, second)
    anna.keyboard.press("Escape")
    expect(anna.locator(".message")).to_have_count(0)
    assert desk.names("human_decided") == [f"defect_{first}"]


def test_a_claim_that_ran_out_is_renewed_before_anything_is_decided(desk: Desk, open_page: Open) -> None:
    first, second = desk.put(2)
    page = open_page(intercepted=True)
    shown(page, first)
    held: list[Route] = []
    page.route("**/api/claims", lambda route: held.append(route))  # noqa: PLW0108  # a plain function is asked for
    page.evaluate("const now = Date.now; Date.now = () => now() + 300_000")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("heading", name="Your hold on this picture has run out")).to_be_visible()
    page.keyboard.press("1")
    decided_count(page, 0)
    held[0].continue_()
    shown(page, first)
    with answered(page):
        page.keyboard.press("1")
    shown(page, second)


def test_a_claim_that_another_took_over_is_told(desk: Desk, open_page: Open) -> None:
    first, second = desk.put(2)
    anna = open_page(ANNA)
    shown(anna, first)
    desk.clock.pass_by(minutes=5)
    shown(open_page(BERT), first)
    anna.evaluate("const now = Date.now; Date.now = () => now() + 300_000")
    anna.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(anna.locator(".message")).to_contain_text(f"{first}: {BERT} has this picture now.")
    expect(anna.get_by_role("heading", name="Your colleagues have the rest")).to_be_visible()
    assert second in desk.names("unclear")


# A bad connection


def test_without_a_connection_decisions_are_kept_and_sent_later(desk: Desk, open_page: Open) -> None:
    names = desk.put(8)
    page = open_page()
    shown(page, names[0])
    expect(page.locator(".lens img[data-pixels]")).to_have_count(8)
    page.context.set_offline(True)
    for number in range(3):
        shown(page, names[number])
        page.keyboard.press("1")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("No connection. 3 decisions are kept on this machine.")
    decided_count(page, 3)
    assert desk.names("human_decided") == []
    page.context.set_offline(False)
    expect(alert).to_have_count(0)
    sent(page)
    assert desk.names("human_decided") == [f"ok_{name}" for name in names[:3]]


def test_decisions_that_were_not_sent_survive_a_reload(desk: Desk, open_page: Open) -> None:
    names = desk.put(4)
    page = open_page(intercepted=True)
    page.route(DECISION, lambda route: route.abort())
    for name, key in zip(names[:2], "12", strict=True):
        shown(page, name)
        page.keyboard.press(key)
    expect(page.get_by_role("alert")).to_contain_text("2 decisions are kept on this machine.")
    page.unroute(DECISION)
    page.reload()
    shown(page, names[2])
    sent(page)
    assert desk.names("human_decided") == [f"defect_{names[1]}", f"ok_{names[0]}"]
    decided_count(page, 2)


def test_decisions_of_a_closed_window_are_sent_by_the_next(desk: Desk, open_page: Open) -> None:
    names = desk.put(4)
    page = open_page(intercepted=True)
    page.route(DECISION, lambda route: route.abort())
    shown(page, names[0])
    page.keyboard.press("2")
    expect(page.get_by_role("alert")).to_be_visible()
    other = page.context.new_page()
    page.close()
    other.goto(page.url)
    shown(other, names[1])
    sent(other)
    assert desk.names("human_decided") == [f"defect_{names[0]}"]


def test_an_answer_that_was_lost_does_not_count_twice(desk: Desk, open_page: Open) -> None:
    names = desk.put(3)
    page = open_page(intercepted=True)
    shown(page, names[0])

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route(DECISION, lose, times=1)
    page.keyboard.press("1")
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_role("button", name="Try now").click()
    sent(page)
    expect(page.locator(".message")).to_have_count(0)
    decided_count(page, 1)
    assert desk.names("human_decided") == [f"ok_{names[0]}"]


def test_whoever_is_signed_out_is_told_and_loses_nothing(desk: Desk, open_page: Open) -> None:
    names = desk.put(3)
    page = open_page(intercepted=True)
    shown(page, names[0])
    problem = {"code": "not_signed_in", "message": "Your sign-in has expired."}
    page.route(DECISION, lambda route: route.fulfill(status=401, json=problem))
    page.keyboard.press("1")
    expect(page.get_by_role("heading", name="You are not signed in for this")).to_be_visible()
    expect(page.get_by_text("Your sign-in has expired.")).to_be_visible()
    page.unroute(DECISION)
    page.get_by_role("button", name="Reload the page").click()
    shown(page, names[1])
    sent(page)
    assert desk.names("human_decided") == [f"ok_{names[0]}"]


def test_a_picture_that_does_not_load_can_be_tried_again(desk: Desk, open_page: Open) -> None:
    page = open_page(intercepted=True)
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    (name,) = desk.put(1)
    page.route("**/image", lambda route: route.abort())
    page.get_by_role("button", name="Look now").click()
    expect(page.get_by_role("heading", name="This picture cannot be shown here")).to_be_visible()
    page.unroute("**/image")
    page.get_by_role("button", name="Try again").click()
    shown(page, name)


def test_a_picture_that_was_removed_makes_room_for_the_next(desk: Desk, open_page: Open) -> None:
    first, second = desk.put(2)
    page = open_page()
    shown(page, first)
    desk.bucket.blob(f"unclear/{first}").delete()
    page.keyboard.press("1")
    expect(page.locator(".message")).to_contain_text("There is no such picture.")
    shown(page, second)


def test_an_empty_queue_says_so_and_looks_again(desk: Desk, open_page: Open) -> None:
    page = open_page()
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    (name,) = desk.put(1)
    page.get_by_role("button", name="Look now").click()
    shown(page, name)


def test_an_app_that_does_not_answer_is_asked_again(desk: Desk, open_page: Open, browser: Browser) -> None:
    (name,) = desk.put(1)
    problem = {"code": "unavailable", "message": "The storage does not answer as it should."}
    page = open_page(intercepted=True)
    shown(page, name)
    page.route("**/api/session", lambda route: route.fulfill(status=503, json=problem))
    page.reload()
    expect(page.get_by_role("heading", name="The review app does not answer")).to_be_visible()
    expect(page.get_by_text("The storage does not answer as it should.")).to_be_visible()
    page.unroute("**/api/session")
    page.get_by_role("button", name="Try now").click()
    shown(page, name)
