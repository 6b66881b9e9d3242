"""Signed URLs as the real client makes them: good, expired, changed; and signing without a key file."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from xml.etree import ElementTree as ET

import pytest
import requests
from google.auth import credentials as auth
from google.cloud import storage

from tests.local.conftest import SIGNER, LocalStorage, existing
from tests.support.gate import ScriptedGate, refuse

STRANGER = "stranger@factory.iam.gserviceaccount.com"
NAME = "unclear/Prüfstück #1 100%?.jpg"


class ServiceAccount(auth.AnonymousCredentials, auth.Signing):
    """A deployed part's credentials: asks the IAM Credentials API for each signature."""

    def __init__(self, url: str, email: str) -> None:
        super().__init__()
        self._url = url
        self._email = email

    def sign_bytes(self, message: bytes) -> bytes:
        payload = {"payload": base64.b64encode(message).decode()}
        url = f"{self._url}/as/{self._email}/v1/projects/-/serviceAccounts/{self._email}:signBlob?alt=json"
        answer = requests.post(url, json=payload, timeout=10)
        answer.raise_for_status()
        return base64.b64decode(answer.json()["signedBlob"])

    @property
    def signer_email(self) -> str:
        return self._email

    @property
    def signer(self) -> "ServiceAccount":
        return self


@pytest.fixture
def signed(bucket: storage.Bucket, local_storage: LocalStorage):
    """A function that makes a signed URL for an object that exists."""
    bucket.blob(NAME).upload_from_string(b"picture", content_type="image/jpeg")

    def sign(email: str = SIGNER, endpoint: str = "", name: str = NAME, **how: Any) -> str:  # noqa: ANN401  # as the client takes it
        how.setdefault("expiration", timedelta(minutes=1))
        return bucket.blob(name).generate_signed_url(
            version="v4",
            api_access_endpoint=local_storage.url + endpoint,
            credentials=ServiceAccount(local_storage.url, email),
            **how,
        )

    return sign


def error(answer: requests.Response) -> tuple[int, str | None]:
    assert answer.headers["content-type"].startswith("application/xml")
    return answer.status_code, ET.fromstring(answer.content).findtext("Code")


def test_a_good_url_downloads_with_the_signers_rights(
    signed: Callable[..., str], gate: ScriptedGate, bucket: storage.Bucket
):
    url = signed()
    gate.clear()
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"picture")
    assert answer.headers["content-type"] == "image/jpeg"
    assert gate.counts() == {(SIGNER, "storage.objects.get"): 1}
    assert requests.get(url, headers={"range": "bytes=1-3"}, timeout=10).content == b"ict"
    gate.before["storage.objects.get"] = refuse(403, "forbidden")
    assert error(requests.get(url, timeout=10)) == (403, "AccessDenied")


def test_a_url_under_an_identity_is_signed_like_any_other(signed: Callable[..., str]):
    assert requests.get(signed(endpoint=f"/as/{SIGNER}"), timeout=10).content == b"picture"


def test_a_url_can_set_the_answers_headers(signed: Callable[..., str]):
    url = signed(response_disposition='attachment; filename="部品.jpg"', response_type="image/png")
    answer = requests.get(url, timeout=10)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].encode("latin-1").decode() == 'attachment; filename="部品.jpg"'
    assert error(requests.get(signed(response_type="a\nb: c"), timeout=10)) == (400, "InvalidArgument")


def test_a_url_can_be_for_one_generation(signed: Callable[..., str], bucket: storage.Bucket):
    url = signed(generation=existing(bucket, NAME).generation)
    assert requests.get(url, timeout=10).content == b"picture"
    bucket.blob(NAME).upload_from_string(b"another")
    assert error(requests.get(url, timeout=10)) == (404, "NoSuchKey")


def test_an_expired_url_is_refused(signed: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    then = datetime.now(UTC) - timedelta(minutes=2)
    stamps = f"{then:%Y%m%dT%H%M%SZ}", f"{then:%Y%m%d}"
    monkeypatch.setattr("google.cloud.storage._signing.get_v4_now_dtstamps", lambda: stamps)
    assert error(requests.get(signed(), timeout=10)) == (400, "ExpiredToken")
    assert requests.get(signed(expiration=timedelta(minutes=5)), timeout=10).content == b"picture"


def test_a_url_from_the_future_is_refused(signed: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    then = datetime.now(UTC) + timedelta(hours=1)
    stamps = f"{then:%Y%m%dT%H%M%SZ}", f"{then:%Y%m%d}"
    monkeypatch.setattr("google.cloud.storage._signing.get_v4_now_dtstamps", lambda: stamps)
    assert error(requests.get(signed(), timeout=10)) == (403, "AccessDenied")


def changed(url: str, parameter: str, value: str | None) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if value is None:
        del query[parameter]
    else:
        query[parameter] = value
    return urlunsplit(parts._replace(query=urlencode(query)))


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("X-Goog-Expires", "600", (403, "SignatureDoesNotMatch")),
        ("X-Goog-Expires", "604801", (400, "InvalidArgument")),
        ("X-Goog-Expires", "9" * 5000, (400, "InvalidArgument")),
        ("X-Goog-Signature", "00" * 256, (403, "SignatureDoesNotMatch")),
        ("X-Goog-Signature", "no hex", (403, "SignatureDoesNotMatch")),
        ("X-Goog-SignedHeaders", "", (403, "SignatureDoesNotMatch")),
        ("X-Goog-Algorithm", "none", (400, "InvalidArgument")),
        ("X-Goog-Credential", "nobody", (400, "InvalidArgument")),
        ("X-Goog-Date", "yesterday", (400, "InvalidArgument")),
        ("generation", "1", (403, "SignatureDoesNotMatch")),
        ("X-Goog-Signature", None, (400, "AuthenticationRequired")),
    ],
)
def test_a_changed_url_is_refused(
    parameter: str, value: str | None, expected: tuple[int, str], signed: Callable[..., str]
):
    url = signed()
    assert requests.get(changed(url, "X-Goog-Algorithm", "GOOG4-RSA-SHA256"), timeout=10).ok
    assert error(requests.get(changed(url, parameter, value), timeout=10)) == expected


def test_a_signature_holds_for_its_object_and_method_alone(signed: Callable[..., str], bucket: storage.Bucket):
    bucket.blob("secret.jpg").upload_from_string(b"secret")
    ours, other = urlsplit(signed()), urlsplit(signed(name="secret.jpg"))
    url = urlunsplit(ours._replace(path=other.path))
    assert error(requests.get(url, timeout=10)) == (403, "SignatureDoesNotMatch")
    assert error(requests.get(signed(method="PUT"), timeout=10)) == (403, "SignatureDoesNotMatch")
    assert error(requests.get(f"{ours.scheme}://{ours.netloc}{ours.path}", timeout=10))[0] == 400


def test_an_account_that_does_not_exist_signs_nothing(signed: Callable[..., str], local_storage: LocalStorage):
    url = f"{local_storage.url}/v1/projects/-/serviceAccounts/{STRANGER}:signBlob"
    assert requests.post(url, json={"payload": ""}, timeout=10).status_code == 404
    assert requests.post(url, json={"payload": "%"}, timeout=10).status_code == 400
    signed_url = signed()
    credential = dict(parse_qsl(urlsplit(signed_url).query))["X-Goog-Credential"]
    forged = changed(signed_url, "X-Goog-Credential", credential.replace(SIGNER, STRANGER))
    assert error(requests.get(forged, timeout=10)) == (403, "SignatureDoesNotMatch")
