"""The review page in a real Chromium, on the real review app, on the local storage server."""

import os
from collections.abc import Generator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from inspection.environment import STORAGE_EMULATOR
from local.google.storage.store import ObjectStore
from tests.browser.pages import Open
from tests.browser.review_desk import ANNA, LABELS, Desk, MissingError, build_page, new_desk, open_browser
from tests.support.gate import ScriptedGate
from tests.webapp.review_line import storage_server

_numbers = count(1)


@pytest.fixture(scope="session")
def browser() -> Generator[Browser]:
    with sync_playwright() as playwright:
        try:
            browser = open_browser(playwright)
        except MissingError as missing:
            pytest.skip(str(missing))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def built_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build_page(tmp_path_factory.mktemp("page"))
    except MissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def page_storage(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    folder = tmp_path_factory.mktemp("storage")
    with ObjectStore(folder) as store, storage_server(store, ScriptedGate(once=True)) as address:
        yield address


@pytest.fixture
def desk(page_storage: str, built_page: Path) -> Generator[Desk]:
    with (
        patch.dict(os.environ, {STORAGE_EMULATOR: page_storage}),
        new_desk(page_storage, f"reviewed-{next(_numbers)}", built_page) as desk,
    ):
        yield desk


@pytest.fixture
def open_page(browser: Browser, desk: Desk) -> Generator[Open]:
    """Opens the page in a browser of its own, as another reviewer on another machine would; nothing may go wrong in it."""
    trouble: list[str] = []
    with ExitStack() as contexts:

        def open_one(
            reviewer: str = ANNA,
            *,
            labels: tuple[str, ...] = LABELS,
            intercepted: bool = False,
            **options: Any,  # noqa: ANN401  # Playwright's own
        ) -> Page:
            context = contexts.enter_context(browser.new_context(**options))
            context.set_default_timeout(10_000)
            page = context.new_page()
            if intercepted:
                # The first route makes Chromium intercept; on a page that is loaded already it may miss the next request.
                page.route("**/nothing", lambda route: route.continue_())
            page.on("pageerror", lambda error: trouble.append(str(error)))
            page.on("console", lambda message: trouble.append(message.text) if "Security" in message.text else None)
            page.goto(desk.open(reviewer, labels))
            return page

        yield open_one
    assert trouble == []
