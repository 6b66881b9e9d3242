"""The way to a picture itself: signed, short-lived, and to nothing but the queue."""

import os
from pathlib import Path
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from google.auth.credentials import AnonymousCredentials, Credentials

from inspection.environment import IAM_EMULATOR, STORAGE_EMULATOR
from tests.webapp.review_line import JPEG, SIGNER, Line
from webapp import picture as pictures
from webapp.images import ImageLinks
from webapp.picture import PictureId


@pytest.mark.parametrize("name", ["a.jpg", "shift 1/line#2/käse?%2F+.jpg", "部品.png"])
def test_the_address_leads_to_the_picture(line: Line, name: str) -> None:
    line.put(name)
    anna = line.page()
    [picture] = anna.pictures()
    answer = anna.get(picture["image_url"])
    assert answer.status_code == 302
    image = httpx2.get(answer.headers["location"])
    assert (image.status_code, image.content, image.headers["content-type"]) == (200, JPEG, "image/jpeg")


def test_a_link_is_signed_by_the_app_s_account_for_a_few_minutes(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    answer = anna.get(picture["image_url"])
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["X-Goog-Credential"][0].startswith(f"{SIGNER}/")
    assert query["X-Goog-Expires"] == ["300"]
    assert answer.headers["cache-control"] == "private, max-age=120", "shorter than the link is good"


def test_making_a_link_asks_the_storage_nothing_but_the_signature(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    with line.requests() as methods:
        anna.get(picture["image_url"])
    assert len(methods) == 1
    assert "ignBlob" in methods[0]


def test_the_page_may_show_images_from_where_the_links_lead(line: Line, storage_address: str) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    answer = anna.get(picture["image_url"])
    assert answer.headers["location"].startswith(f"{storage_address}/")
    assert f"img-src 'self' {storage_address};" in answer.headers["content-security-policy"]


def test_a_replaced_picture_is_not_shown_under_the_old_address(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    line.put("a.jpg")
    assert httpx2.get(anna.get(picture["image_url"]).headers["location"]).status_code == 404


@pytest.mark.parametrize(
    "key",
    [
        "x",
        "a.jpg",
        "!!!",
        "é",
        pictures.encode("ok/a.jpg", 1, 1),
        pictures.encode("unclear/", 1, 1),
        pictures.encode("unclear", 1, 1),
        pictures.encode("/unclear/a.jpg", 1, 1),
        pictures.encode("unclear2/a.jpg", 1, 1),
        pictures.encode("human_decided/ok_a.jpg", 1, 1),
        pictures.encode("unclear/a.jpg"),
        pictures.encode("unclear/a.jpg", 1),
        pictures.encode("unclear/a.jpg", 1, 0),
        pictures.encode("unclear/a.jpg", 0, 1),
        pictures.encode("unclear/a.jpg", -1, 1),
        pictures.encode("unclear/a.jpg", 2**63, 1),
        pictures.encode("unclear/a.jpg", "1", 1),
        pictures.encode("unclear/a\r\nb.jpg", 1, 1),
        pictures.encode("unclear/" + "a" * 1017, 1, 1),
        "WyJ1bmNsZWFyL1x1ZDgwMCIsIDEsIDFd",  # a lone surrogate
    ],
)
def test_an_id_that_names_no_picture_of_the_queue_is_unknown(line: Line, key: str) -> None:
    line.put("a.jpg", folder="ok")
    anna = line.page()
    with line.requests() as methods:
        image = anna.get(f"/api/pictures/{key}/image")
        decision = anna.decide({"id": key, "claim": "1"})
        skip = anna.skip({"id": key, "claim": "1"})
    for answer in (image, decision, skip):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_picture")
    assert methods == []


def test_dots_in_a_name_lead_nowhere_else(line: Line) -> None:
    [other] = line.put("secret.jpg", folder="ok")
    key = PictureId("unclear/../ok/secret.jpg", int(other.generation or 0), 1).key
    link = line.page().get(f"/api/pictures/{key}/image").headers["location"]
    # A browser would follow the dots: then the signature is not for that address.
    straight = link.replace("unclear/../", "")
    assert httpx2.get(straight).status_code == 403
    assert httpx2.get(link).status_code in {403, 404}


def test_a_signer_that_does_not_exist_is_a_clear_failure(line: Line) -> None:
    line.put("a.jpg")
    anna = line.page()
    [picture] = anna.pictures()
    app = getattr(line.app, "_app")  # noqa: B009
    app.state.images = ImageLinks(line.bucket, AnonymousCredentials(), "nobody@line-4711.iam.gserviceaccount.com")
    answer = anna.get(picture["image_url"])
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def test_without_a_configured_signer_the_metadata_server_s_account_signs(line: Line) -> None:
    class AppEngineCredentials(Credentials):
        """Know their account after a refresh, as Google's own do there."""

        service_account_email = "default"

        def refresh(self, request: object) -> None:  # noqa: ARG002  # Google's signature
            self.service_account_email = SIGNER
            self.token = "token"

    link, _ = ImageLinks(line.bucket, AppEngineCredentials(), None).link(PictureId("unclear/a", 1, 1))
    assert parse_qs(urlsplit(link).query)["X-Goog-Credential"][0].startswith(f"{SIGNER}/")


def test_an_emulator_of_iam_can_have_an_address_of_its_own(line: Line, storage_address: str, tmp_path: Path) -> None:
    host = storage_address.removeprefix("http://")
    with patch.dict(os.environ, {IAM_EMULATOR: host, STORAGE_EMULATOR: "http://127.0.0.1:1"}):
        links = ImageLinks(line.bucket, AnonymousCredentials(), SIGNER)
    assert links.link(PictureId("unclear/a", 1, 1))[0].startswith(f"{storage_address}/")
