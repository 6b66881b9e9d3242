"""The review app from the zip that would be deployed, as its declared identity: the page, a decision, a picture's link."""

import re
from collections.abc import Generator
from datetime import UTC, datetime
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from google.cloud import storage
from rich.console import Console

from inspection import layout
from local.cloud import LocalCloud
from local.demo.run import run_demo
from local.demo.samples import samples
from local.google.identity import identity_path

pytestmark = pytest.mark.xdist_group("cloud")

REVIEWER = "reviewer@example.com"
SERVICE = "inspection-local-review"
PAGE = {"X-Review-Page": "page-of-the-test"}
NAME = "line 1/Prüfling #7.jpeg"


@pytest.fixture(scope="module")
def app(cloud: LocalCloud) -> Generator[httpx.Client]:
    assert cloud.review_url is not None
    with httpx.Client(base_url=cloud.review_url) as client:
        yield client


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    (sample,) = samples(1, seed=41)
    return sample.jpeg


@pytest.fixture
def unclear(cloud: LocalCloud, app: httpx.Client, jpeg: bytes) -> Generator[dict[str, Any]]:
    """A picture as the move function leaves one, claimed; the pictures of other tests are given back."""
    blob = cloud.storage_client().bucket(cloud.prediction_bucket).blob(f"unclear/{NAME}")
    blob.metadata = {
        layout.PREDICTION_LABEL: "defect",
        layout.PREDICTION_SCORE: "0.51",
        layout.MODEL: "projects/p/locations/l/models/m",
        layout.SOURCE: layout.source_uri(cloud.inbound_bucket, NAME, 1),
    }
    blob.upload_from_string(jpeg, content_type="image/jpeg", if_generation_match=0)
    mine: dict[str, Any] | None = None
    others: list[dict[str, Any]] = []
    cursor = None
    while mine is None:
        wanted = {"count": 20, "cursor": cursor, "held": [picture["id"] for picture in others]}
        queue = answer(app.post("/api/queue", json=wanted, headers=PAGE))
        for picture in queue["pictures"]:
            if picture["name"] == NAME:
                mine = picture
            else:
                others.append(picture)
        cursor = queue["cursor"]
        assert mine or cursor, f"{NAME} is not in the queue, but {[picture['name'] for picture in others]}"
    if others:
        claims = [{"id": picture["id"], "claim": picture["claim"]} for picture in others]
        app.post("/api/claims/release", json={"pictures": claims}, headers=PAGE).raise_for_status()
    yield mine
    for left in list(cloud.storage_client().list_blobs(cloud.prediction_bucket)):
        if (left.metadata or {}).get(layout.SOURCE) == blob.metadata[layout.SOURCE]:
            left.delete()


def answer(response: httpx.Response) -> dict[str, Any]:
    assert response.is_success, response.text
    return response.json()


def test_the_page_and_all_that_it_loads_are_served(app: httpx.Client) -> None:
    page = app.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assets = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert any(asset.endswith(".js") for asset in assets)
    assert any(asset.endswith(".css") for asset in assets)
    for asset in assets:
        assert app.get(asset).status_code == 200, asset


def test_the_session_is_what_the_stack_says(app: httpx.Client) -> None:
    session = answer(app.get("/api/session"))
    assert session["reviewer"] == REVIEWER
    assert session["labels"] == ["ok", "defect"]


def test_a_decision_is_filed_with_who_and_when(
    cloud: LocalCloud, app: httpx.Client, unclear: dict[str, Any], jpeg: bytes
) -> None:
    before = datetime.now(UTC)
    decision = {"label": "defect", "claim": unclear["claim"], "number": 1}
    answer(app.post(f"/api/pictures/{unclear['id']}/decision", json=decision, headers=PAGE))

    bucket = cloud.storage_client().bucket(cloud.prediction_bucket)
    filed: storage.Blob | None = bucket.get_blob("human_decided/line 1/defect_Prüfling #7.jpeg")
    assert filed is not None
    assert filed.download_as_bytes() == jpeg
    metadata = filed.metadata or {}
    assert metadata[layout.DECISION] == "defect"
    assert metadata[layout.DECIDED_BY] == REVIEWER
    assert before <= datetime.fromisoformat(metadata[layout.DECIDED_AT]) <= datetime.now(UTC)
    assert metadata[layout.PREDICTION_SCORE] == "0.51", "what the model said stays"
    assert not bucket.blob(f"unclear/{NAME}").exists()


def test_a_pictures_link_leads_to_a_signed_one_that_is_good_for_this_picture_alone(
    cloud: LocalCloud, app: httpx.Client, unclear: dict[str, Any], jpeg: bytes
) -> None:
    redirect = app.get(unclear["image_url"])
    assert redirect.status_code == 302
    link = redirect.headers["location"]
    assert link.startswith(f"{cloud.storage_url}/{cloud.prediction_bucket}/unclear/"), "without anybody's identity"

    shown = httpx.get(link)
    assert shown.status_code == 200
    assert shown.content == jpeg
    assert urlsplit(cloud.storage_url).netloc in app.get("/").headers["content-security-policy"]
    assert httpx.get(link.replace("unclear/", "ok/")).status_code == 403


def test_what_the_app_is_may_not_look_where_pictures_arrive(cloud: LocalCloud, app: httpx.Client) -> None:
    account = f"{SERVICE}@{cloud.project}.iam.gserviceaccount.com"
    assert cloud.programs()[SERVICE].env["SIGNER_EMAIL"] == account
    api = f"{cloud.storage_url}{identity_path(account)}/storage/v1/b"
    assert httpx.get(f"{api}/{cloud.prediction_bucket}/o").status_code == 200
    assert httpx.get(f"{api}/{cloud.inbound_bucket}/o").status_code == 403


def test_a_request_of_another_site_changes_nothing(app: httpx.Client) -> None:
    queue = {"count": 1, "cursor": None, "held": []}
    forged = app.post("/api/queue", json=queue, headers={**PAGE, "Origin": "https://evil.example"})
    assert forged.status_code == 403


def test_the_default_service_has_nothing(cloud: LocalCloud) -> None:
    default = cloud.programs()["default"]
    assert httpx.get(f"http://127.0.0.1:{default.port}/").status_code == 404


def test_the_demo_decides_on_an_unclear_picture_and_says_where_it_went(cloud: LocalCloud) -> None:
    said = StringIO()
    # Some samples are hard on purpose: among so many the model is unsure of one at least.
    assert run_demo(cloud, Console(file=said, width=80), images=None, count=40, seed=7)
    match = re.search(rf"{REVIEWER} looked at (.+) and decided 'ok': it is now gs://([^/]+)/(.+)", said.getvalue())
    assert match is not None, said.getvalue()
    name, bucket, place = match.groups()
    assert bucket == cloud.prediction_bucket
    assert place == layout.decided_name("ok", name)
    filed = cloud.storage_client().bucket(bucket).get_blob(place)
    assert filed is not None
    assert (filed.metadata or {})[layout.DECIDED_BY] == REVIEWER
