"""How the built page is served: what a browser may keep, and that a new deployment reaches it."""

import os
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from webapp.main import PageFiles

TIME_IN_ZIPS = 315_532_800
"""1980-01-01: every file of a zip that the program makes has it."""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "index-1a2b.js").write_text("one")
    return tmp_path


def deploy(page: Path, text: str) -> None:
    (page / "index.html").write_text(text)
    os.utime(page / "index.html", (TIME_IN_ZIPS, TIME_IN_ZIPS))


def test_a_browser_gets_the_page_of_the_next_deployment(page: Path) -> None:
    client = TestClient(Starlette(routes=[Mount("/", PageFiles(directory=page, html=True))]))
    deploy(page, "<script src='/assets/index-1a2b.js'>")
    first = client.get("/")
    assert first.headers["cache-control"] == "no-cache"
    deploy(page, "<script src='/assets/index-3c4d.js'>")
    kept = {"If-None-Match": first.headers["etag"], "If-Modified-Since": first.headers["last-modified"]}
    again = client.get("/", headers=kept)
    assert again.status_code == 200
    assert "index-3c4d.js" in again.text


def test_an_asset_is_kept_as_its_name_changes_with_it(page: Path) -> None:
    client = TestClient(Starlette(routes=[Mount("/", PageFiles(directory=page, html=True))]))
    asset = client.get("/assets/index-1a2b.js")
    assert asset.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert client.get("/assets/index-1a2b.js", headers={"If-None-Match": asset.headers["etag"]}).status_code == 304
