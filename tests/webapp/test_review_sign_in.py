"""Who may: every token that is not Identity-Aware Proxy's own, and everybody who is not a reviewer, is refused."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import Event
from unittest.mock import MagicMock

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth import jwt
from google.auth.crypt import RSASigner

from tests.webapp.review_line import ANNA, AUDIENCE, BERT, Clock, IapKey, Line
from webapp.problems import ProblemError
from webapp.sign_in import IAP_HEADER, AppEngineLogin, Development, IdentityAwareProxy

EVERY_GET = ["/", "/index.html", "/assets/x.js", "/api/session", "/api/pictures/x/image", "/nowhere", "/openapi.json"]
EVERY_POST = [
    "/api/queue",
    "/api/undo",
    "/api/claims",
    "/api/claims/release",
    "/api/pictures/x/decision",
    "/api/pictures/x/skip",
]


def test_a_reviewer_comes_in_however_the_address_is_written(line: Line) -> None:
    answer = line.page("Anna@Example.com").get("/api/session")
    assert answer.status_code == 200
    assert answer.json()["reviewer"] == ANNA


def test_without_a_token_nothing_is_served(line: Line) -> None:
    page = line.page()
    del page.headers[IAP_HEADER]
    with line.requests() as methods:
        answers = [*map(page.get, EVERY_GET), *(page.post(path, {}) for path in EVERY_POST)]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(401, "not_signed_in")}
    assert methods == []


def test_who_is_not_a_reviewer_gets_nothing(line: Line) -> None:
    page = line.page("carl@example.com")
    answers = [*map(page.get, EVERY_GET), *(page.post(path, {}) for path in EVERY_POST)]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(403, "not_a_reviewer")}
    assert all("carl@example.com" in answer.text for answer in answers)


def test_a_browser_that_is_refused_shows_a_sentence(line: Line) -> None:
    page = line.page("<b>carl@example.com")
    page.headers["Accept"] = "text/html,*/*"
    answer = page.get("/")
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")
    assert "&lt;b&gt;carl@example.com is not a reviewer here" in answer.text


def _unsigned(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _nested() -> str:
    return base64.urlsafe_b64encode(b'{"a":' * 9_999 + b"1" + b"}" * 9_999).rstrip(b"=").decode()


def _claims() -> dict[str, object]:
    now = int(time.time())
    return {"iss": "https://cloud.google.com/iap", "aud": AUDIENCE, "iat": now, "exp": now + 60, "email": ANNA}


def _by_another_algorithm(iap: IapKey) -> str:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return jwt.encode(RSASigner.from_string(pem, iap.key_id), _claims()).decode()


def _with_public_key_as_secret(iap: IapKey) -> str:
    text = f"{_unsigned({'alg': 'HS256', 'kid': iap.key_id})}.{_unsigned(_claims())}"
    signature = hmac.digest(iap.public_pem.encode(), text.encode(), hashlib.sha256)
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _changed_after_signing(iap: IapKey) -> str:
    header, _, signature = iap.token("carl@example.com").split(".")
    return f"{header}.{_unsigned(_claims())}.{signature}"


def _now() -> int:
    """When a test runs, which may be long after this module was read."""
    return int(time.time())


BAD_TOKENS: dict[str, Callable[[IapKey], str]] = {
    "signed with another key": lambda iap: IapKey(iap.key_id).token(ANNA),
    "signed with a key nobody knows": lambda _: IapKey("key-2").token(ANNA),
    "without the key's id": lambda iap: iap.token(ANNA, header={"kid": None}),
    "with a key's id that is no text": lambda iap: iap.token(ANNA, header={"kid": ["key-1"]}),
    "expired": lambda iap: iap.token(ANNA, iat=_now() - 700, exp=_now() - 100),
    "not valid yet": lambda iap: iap.token(ANNA, iat=_now() + 600, exp=_now() + 1200),
    "without an end": lambda iap: iap.token(ANNA, exp=None),
    "for another audience": lambda iap: iap.token(ANNA, aud="/projects/123/apps/another"),
    "for several audiences": lambda iap: iap.token(ANNA, aud=[AUDIENCE]),
    "without an audience": lambda iap: iap.token(ANNA, aud=None),
    "by another issuer": lambda iap: iap.token(ANNA, iss="https://accounts.google.com"),
    "without an issuer": lambda iap: iap.token(ANNA, iss=None),
    "without an address": lambda iap: iap.token(None),
    "with an address that is no text": lambda iap: iap.token([ANNA]),
    "not signed": lambda iap: f"{_unsigned({'alg': 'none', 'kid': iap.key_id})}.{_unsigned(_claims())}.",
    "signed by another algorithm": _by_another_algorithm,
    "signed with the public key as a secret": _with_public_key_as_secret,
    "changed after it was signed": _changed_after_signing,
    "cut off": lambda iap: iap.token(ANNA)[:-10],
    "no token": lambda _: "x",
    "empty parts": lambda _: "..",
    "no JSON": lambda _: "eA.eA.eA",
    "a header nested too deeply": lambda _: f"{_nested()}.{_unsigned(_claims())}.eA",
    "claims nested too deeply": lambda iap: f"{iap.token(ANNA).partition('.')[0]}.{_nested()}.eA",
    "a header that is a list": lambda _: f"{_unsigned([])}.{_unsigned(_claims())}.eA",
}


@pytest.mark.parametrize("forge", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_a_token_that_is_not_iap_s_is_refused(line: Line, iap: IapKey, forge: Callable[[IapKey], str]) -> None:
    page = line.page()
    page.headers[IAP_HEADER] = forge(iap)
    answer = page.get("/api/session")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")


def test_app_engine_s_header_does_not_help_with_iap(line: Line) -> None:
    page = line.page()
    del page.headers[IAP_HEADER]
    page.headers |= {"X-Appengine-User-Email": ANNA, "X-Goog-Authenticated-User-Email": ANNA}
    assert page.get("/api/session").status_code == 401


class Keys:
    """What Google publishes."""

    def __init__(self, *keys: IapKey) -> None:
        self.keys = keys
        self.asked = 0
        self.down = False

    def __call__(self) -> dict[str, str]:
        self.asked += 1
        if self.down:
            raise requests.ConnectionError("no network")
        return {key.key_id: key.public_pem for key in self.keys}


def test_the_keys_are_read_once_for_many_requests_and_again_for_a_new_key() -> None:
    old, new, clock = IapKey("old"), IapKey("new"), Clock()
    keys = Keys(old)
    proxy = IdentityAwareProxy(audience=AUDIENCE, fetch_keys=keys, monotonic=clock.monotonic)
    for _ in range(5):
        assert proxy.email({IAP_HEADER: old.token(ANNA)}) == ANNA
    assert keys.asked == 1
    keys.keys = (new,)
    clock.pass_by(minutes=2)
    assert proxy.email({IAP_HEADER: new.token(BERT)}) == BERT
    with pytest.raises(ProblemError):
        proxy.email({IAP_HEADER: old.token(ANNA)})


def test_tokens_with_made_up_keys_do_not_make_the_app_ask_each_time() -> None:
    keys, clock = Keys(IapKey("real")), Clock()
    proxy = IdentityAwareProxy(audience=AUDIENCE, fetch_keys=keys, monotonic=clock.monotonic)
    for number in range(5):
        with pytest.raises(ProblemError):
            proxy.email({IAP_HEADER: IapKey(f"made up {number}").token(ANNA)})
    assert keys.asked == 1


def test_a_withdrawn_key_is_good_for_an_hour_at_most() -> None:
    key, clock = IapKey(), Clock()
    keys = Keys(key)
    proxy = IdentityAwareProxy(audience=AUDIENCE, fetch_keys=keys, monotonic=clock.monotonic)
    proxy.email({IAP_HEADER: key.token(ANNA)})
    keys.keys = ()
    clock.pass_by(hours=1)
    with pytest.raises(ProblemError):
        proxy.email({IAP_HEADER: key.token(ANNA)})


def test_where_the_keys_cannot_be_read_nobody_comes_in() -> None:
    keys, key, clock = Keys(), IapKey(), Clock()
    keys.down = True
    proxy = IdentityAwareProxy(audience=AUDIENCE, fetch_keys=keys, monotonic=clock.monotonic)
    with pytest.raises(ProblemError) as refusal:
        proxy.email({IAP_HEADER: key.token(ANNA)})
    assert refusal.value.status == 503
    keys.keys, keys.down = (key,), False
    clock.pass_by(seconds=30)
    assert proxy.email({IAP_HEADER: key.token(ANNA)}) == ANNA


def test_keys_that_cannot_be_renewed_serve_for_a_day_and_are_asked_for_now_and_then() -> None:
    key, clock = IapKey(), Clock()
    keys = Keys(key)
    proxy = IdentityAwareProxy(audience=AUDIENCE, fetch_keys=keys, monotonic=clock.monotonic)
    assert proxy.email({IAP_HEADER: key.token(ANNA)}) == ANNA
    keys.down = True
    clock.pass_by(hours=1)
    for _ in range(5):
        assert proxy.email({IAP_HEADER: key.token(ANNA)}) == ANNA
    assert keys.asked == 2, "once in vain"
    clock.pass_by(seconds=30)
    assert proxy.email({IAP_HEADER: key.token(ANNA)}) == ANNA
    assert keys.asked == 3
    clock.pass_by(hours=22, minutes=59)
    assert proxy.email({IAP_HEADER: key.token(ANNA)}) == ANNA
    clock.pass_by(minutes=1)
    for _ in range(5):
        with pytest.raises(ProblemError) as refusal:
            proxy.email({IAP_HEADER: key.token(ANNA)})
        assert refusal.value.status == 503
    keys.down = False
    clock.pass_by(seconds=30)
    assert proxy.email({IAP_HEADER: key.token(ANNA)}) == ANNA


def test_a_key_server_that_does_not_answer_keeps_nobody_waiting_whose_key_is_known() -> None:
    key, clock = IapKey(), Clock()
    asked, answer = Event(), Event()
    first = True

    def keys() -> dict[str, str]:
        nonlocal first
        if not first:
            asked.set()
            assert answer.wait(10)
        first = False
        return {key.key_id: key.public_pem}

    proxy = IdentityAwareProxy(audience=AUDIENCE, fetch_keys=keys, monotonic=clock.monotonic)
    assert proxy.email({IAP_HEADER: key.token(ANNA)}) == ANNA
    clock.pass_by(hours=1)
    with ThreadPoolExecutor() as pool:
        try:
            fetching = pool.submit(proxy.email, {IAP_HEADER: key.token(ANNA)})
            assert asked.wait(10)
            assert proxy.email({IAP_HEADER: key.token(BERT)}) == BERT
            assert not fetching.done()
        finally:
            answer.set()
        assert fetching.result(10) == ANNA


def test_the_first_requests_of_an_instance_share_one_fetch() -> None:
    key = IapKey()
    keys, waits = Keys(key), Event()

    def slowly() -> dict[str, str]:
        waits.wait(0.2)
        return keys()

    proxy = IdentityAwareProxy(audience=AUDIENCE, fetch_keys=slowly)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(proxy.email, [{IAP_HEADER: key.token(ANNA)}] * 8)) == {ANNA}
    assert keys.asked == 1


@pytest.mark.parametrize("answer", ["[]", '"key"', '{"key-1": 1}', "<html>"])
def test_what_is_not_a_set_of_keys_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    response = requests.Response()
    response.status_code, response.raw = 200, BytesIO(answer.encode())
    monkeypatch.setattr(requests, "get", MagicMock(return_value=response))
    with pytest.raises(ProblemError) as refusal:
        IdentityAwareProxy(audience=AUDIENCE).email({IAP_HEADER: IapKey().token(ANNA)})
    assert refusal.value.status == 503


def test_no_audience_is_no_proxy() -> None:
    with pytest.raises(ValueError, match="audience"):
        IdentityAwareProxy(audience="")


def test_app_engine_s_login() -> None:
    assert AppEngineLogin().email({"x-appengine-user-email": ANNA}) == ANNA
    for headers in ({}, {"x-appengine-user-email": ""}, {"x-goog-authenticated-user-email": ANNA}):
        with pytest.raises(ProblemError):
            AppEngineLogin().email(headers)


def test_the_development_identity_is_the_configured_one() -> None:
    assert Development(ANNA).email({}) == ANNA
