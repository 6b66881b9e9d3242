"""What every answer carries, what another site cannot do, and how the page is served."""

import json

import httpx2
import pytest

from tests.webapp.review_line import SITE, Line
from webapp.guard import PAGE_HEADER
from webapp.schema import SCHEMA, schema_text


def post(line: Line, path: str = "/api/queue", **changed: str | None) -> httpx2.Response:
    headers = line.page().headers | {
        "Content-Type": "application/json",
        "Origin": SITE,
        "Sec-Fetch-Site": "same-origin",
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items() if value is not None}
    for name in [name.replace("_", "-") for name, value in changed.items() if value is None]:
        headers = {key: value for key, value in headers.items() if key.lower() != name.lower()}
    return line.client.post(path, content=b'{"count": 1}', headers=headers)


def test_the_page_s_own_requests_pass(line: Line) -> None:
    assert post(line).status_code == 200
    assert post(line, Origin=None, Sec_Fetch_Site=None).status_code == 200, "a program, not a browser"
    assert post(line, Content_Type="application/json; charset=utf-8").status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "https://review.example.com.evil.example"},
        {"Origin": "https://review.example.com:444"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://["},
        {"Origin": "http://[::1"},
        {"Origin": "review.example.com"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "multipart/form-data; boundary=x"},
        {"Content_Type": None},
        {"X_Review_Page": None},
    ],
)
def test_what_another_site_can_send_changes_nothing(line: Line, changed: dict[str, str | None]) -> None:
    with line.requests() as methods:
        for path in ("/api/queue", "/api/undo", "/api/claims", "/api/claims/release", "/api/pictures/x/decision"):
            answer = post(line, path, **changed)
            assert (answer.status_code, answer.json()["code"]) == (403, "other_site")
    assert methods == []


def test_a_page_without_a_proper_name_is_refused(line: Line) -> None:
    for name in ("short", "a" * 65, "a/../../../b", "page of anna"):
        answer = post(line, X_Review_Page=name)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
        assert PAGE_HEADER in answer.json()["message"]


def test_no_other_site_is_allowed_to_ask(line: Line) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for answer in (
        line.client.options("/api/queue", headers=line.page().headers | asked),
        line.client.get("/api/session", headers=line.page().headers | asked),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_other_methods_change_nothing(line: Line, method: str) -> None:
    answer = line.client.request(method, "/api/session", headers=line.page().headers)
    assert answer.status_code == 403
    answer = line.client.request(method, "/api/session", headers=line.page().headers, json={})
    assert answer.status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/session", "GET"),
        ("HEAD", "/api/session", "GET"),
        ("GET", "/api/queue", "POST"),
        ("DELETE", "/api/claims/release", "POST"),
        ("GET", "/api/pictures/x/decision", "POST"),
        ("POST", "/api/pictures/x/image", "GET"),
        ("POST", "/", "GET, HEAD"),
        ("PUT", "/assets/index-abc123.js", "GET, HEAD"),
    ],
)
def test_a_method_that_an_address_does_not_have_is_answered_with_those_that_it_has(
    line: Line, method: str, path: str, allowed: str
) -> None:
    answer = line.client.request(method, path, headers=line.page().headers, json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert answer.json()["code"] == "invalid"


@pytest.mark.parametrize("path", ["/api/queue", "/api/undo", "/api/claims", "/api/claims/release"])
@pytest.mark.parametrize("body", [b"\xff", b'{"count": 1, "cursor": "\xe9"}', '{"count": 1}'.encode("cp500")])
def test_a_body_that_is_not_utf_8_is_refused_as_the_schema_says(line: Line, path: str, body: bytes) -> None:
    headers = line.page().headers | {"Content-Type": "application/json"}
    answer = line.client.post(path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert "UTF-8" in answer.json()["message"]


def test_the_schema_describes_both_refusals_for_every_operation() -> None:
    operations = [method for path in json.loads(schema_text())["paths"].values() for method in path.values()]
    assert len(operations) == 8
    for operation in operations:
        assert {"400", "405"} <= operation["responses"].keys()
        assert "Allow" in operation["responses"]["405"]["headers"]


@pytest.mark.parametrize("path", ["/", "/api/session", "/api/nothing", "/health"])
def test_every_answer_carries_the_security_headers(line: Line, path: str, storage_address: str) -> None:
    for headers in (line.page().headers, {}):
        answer = line.client.get(path, headers=headers)
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["img-src"] == f"'self' {storage_address}"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["strict-transport-security"].startswith("max-age=")


def test_what_the_api_answers_is_not_kept(line: Line) -> None:
    assert line.page().get("/api/session").headers["cache-control"] == "no-store"


def test_health_says_nothing(line: Line) -> None:
    answer = line.client.get("/health")
    assert (answer.status_code, answer.content) == (204, b"")


def test_the_page_is_asked_for_each_time_and_its_assets_once(line: Line) -> None:
    page = line.page()
    answer = page.get("/")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert "<title>Review</title>" in answer.text
    answer = page.get("/assets/index-abc123.js")
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert "javascript" in answer.headers["content-type"]


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt"])
def test_only_the_page_s_own_files_are_served(line: Line, path: str) -> None:
    answer = line.page().get(path)
    assert answer.status_code == 404
    assert "not part" not in answer.text


def test_an_unknown_address_of_the_api_is_a_problem_like_any_other(line: Line) -> None:
    answer = line.page().get("/api/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_something_unexpected_is_no_traceback_for_the_page(line: Line) -> None:
    def broken() -> None:
        raise RuntimeError("secret detail")

    app = getattr(line.app, "_app")  # noqa: B009
    app.state.reviewing.waiting = broken
    answer = line.page().get("/api/session")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret detail" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


def test_the_schema_that_the_page_is_made_from_is_up_to_date() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "run: python -m webapp.schema"
