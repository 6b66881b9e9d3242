"""An open review page, and what a test waits for on it."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from playwright.sync_api import Page, expect

from tests.browser.review_desk import LABELS

Open = Callable[..., Page]
DECISION = "**/decision"


# One browser, and one build of the page.
def shown(page: Page, name: str) -> None:
    """Waits until this picture is on the screen and can be decided on."""
    expect(page.locator(".name").first).to_have_text(name)
    expect(page.get_by_role("button", name=LABELS[0])).to_have_attribute("aria-disabled", "false")


@contextmanager
def answered(page: Page, path: str = DECISION) -> Generator[None]:
    """The block, and the server's answer to what it does."""
    with page.expect_response(path) as response:
        yield
    assert response.value.ok


def decided_count(page: Page, count: int) -> None:
    expect(page.get_by_test_id("decided")).to_have_text(str(count))


def sent(page: Page) -> None:
    """Waits until nothing is left to be sent."""
    expect(page.get_by_role("main")).to_have_attribute("data-unsent", "0")
