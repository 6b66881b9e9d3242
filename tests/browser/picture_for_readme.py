"""Takes the picture of the review page that the README shows.

python -m tests.browser.picture_for_readme docs/review.png
"""

import os
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

from playwright.sync_api import expect, sync_playwright

from inspection.environment import STORAGE_EMULATOR
from local.google.storage.store import ObjectStore
from tests.browser.review_desk import build_page, new_desk, open_browser
from tests.support.gate import ScriptedGate
from tests.webapp.review_line import storage_server


def main(target: Path) -> None:
    """Open the page on sample pictures, decide on four, and take the picture."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ObjectStore(Path(folder, "storage")) as store,
        storage_server(store, ScriptedGate(once=True)) as storage,
        patch.dict(os.environ, {STORAGE_EMULATOR: storage}),
        new_desk(storage, "line-prediction", build_page(Path(folder, "page"))) as desk,
        sync_playwright() as playwright,
    ):
        names = desk.put(40)
        browser = open_browser(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(desk.open())
        for name in names[:4]:
            expect(page.locator(".name").first).to_have_text(name)
            expect(page.get_by_role("button", name="ok")).to_have_attribute("aria-disabled", "false")
            page.keyboard.press("1")
        expect(page.get_by_role("img", name=names[4])).to_be_visible()
        expect(page.get_by_role("main")).to_have_attribute("data-unsent", "0")
        expect(page.locator("[data-pressed=true]")).to_have_count(0)
        target.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=target, animations="disabled")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
