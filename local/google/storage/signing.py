"""Signatures of service accounts: the IAM Credentials answer that makes them, and the check of V4 signed URLs.

https://cloud.google.com/storage/docs/authentication/signatures. The keys live in this process's memory only.
"""

import hashlib
import re
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from local.google.gate import ApiError

ALGORITHM: Final = "GOOG4-RSA-SHA256"
MAX_EXPIRES_SECONDS: Final = 7 * 24 * 3600
_CLOCK_SKEW = timedelta(minutes=15)
_CREDENTIAL = re.compile(r"(?P<email>[^/]+)/(?P<date>\d{8})/[^/]+/storage/goog4_request")
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"


class Signers:
    """The service accounts that can sign, each with a key of its own; usable from any thread."""

    def __init__(self, identities: Iterable[str] = ()) -> None:
        """`identities` are e-mail addresses; each key is made when it is first needed."""
        self._lock = threading.Lock()
        self._keys: dict[str, rsa.RSAPrivateKey | None] = dict.fromkeys(identities)

    def add(self, identity: str) -> None:
        """One more service account."""
        with self._lock:
            self._keys.setdefault(identity, None)

    def sign(self, identity: str, data: bytes) -> bytes:
        """The RSA-SHA256 signature of a service account.

        Raises:
            ApiError: 404, there is no such account.
        """
        return self._key(identity).sign(data, padding.PKCS1v15(), SHA256())

    def verify(self, identity: str, signature: bytes, data: bytes) -> bool:
        """Whether the account signed the data; an account that does not exist signed nothing."""
        try:
            self._key(identity).public_key().verify(signature, data, padding.PKCS1v15(), SHA256())
        except (InvalidSignature, ApiError):
            return False
        return True

    def _key(self, identity: str) -> rsa.RSAPrivateKey:
        with self._lock:
            if identity not in self._keys:
                raise ApiError(404, "notFound", f"Unknown service account {identity}")
            key = self._keys[identity]
            if key is None:
                key = self._keys[identity] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            return key


class SignedUrlError(ApiError):
    """What the XML API answers to a signed URL that is not valid; `reason` is its `Code`."""

    def __init__(self, status: int, reason: str, message: str, details: Mapping[str, str] | None = None) -> None:
        """`details` are further elements of the XML body."""
        super().__init__(status, reason, message)
        self.details = details or {}


def signer_of_url(
    signers: Signers, method: str, path: str, query: list[tuple[str, str]], headers: Mapping[str, str]
) -> str:
    """The e-mail of the service account that signed this request and whose rights it has.

    `path` is as sent (percent-encoded), `query` decoded and in any order.

    Raises:
        SignedUrlError: the URL has expired, was changed, or was signed by nobody who is known.
    """
    parameters = dict(query)
    try:
        credential, date, expires, signed_headers, signature = (
            parameters[f"X-Goog-{name}"] for name in ("Credential", "Date", "Expires", "SignedHeaders", "Signature")
        )
    except KeyError as error:
        message = f"The signed URL lacks the query parameter {error}"
        raise SignedUrlError(400, "AuthenticationRequired", message) from error
    account = _CREDENTIAL.fullmatch(credential)
    if parameters.get("X-Goog-Algorithm") != ALGORITHM:
        raise SignedUrlError(400, "InvalidArgument", f"X-Goog-Algorithm must be {ALGORITHM}")
    if account is None or not date.startswith(account["date"]):
        raise SignedUrlError(400, "InvalidArgument", "X-Goog-Credential must be EMAIL/DATE/auto/storage/goog4_request")
    _check_time(date, expires)
    canonical_request = "\n".join(
        (
            method,
            path,
            _canonical_query(query),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed_headers.split(";")),
            "",
            signed_headers,
            headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD"),
        )
    )
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    string_to_sign = "\n".join((ALGORITHM, date, credential.partition("/")[2], digest))
    if "host" not in signed_headers.split(";") or not signers.verify(
        account["email"], _unhex(signature), string_to_sign.encode()
    ):
        raise SignedUrlError(
            403,
            "SignatureDoesNotMatch",
            "Access denied.",
            {"StringToSign": string_to_sign, "CanonicalRequest": canonical_request},
        )
    return account["email"]


def _check_time(date: str, expires: str) -> None:
    try:
        signed_at = datetime.strptime(date, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise SignedUrlError(
            400, "InvalidArgument", f"X-Goog-Date must be like 20261121T083000Z, not {date}"
        ) from error
    if not re.fullmatch(r"[0-9]{1,6}", expires) or not 1 <= int(expires) <= MAX_EXPIRES_SECONDS:
        message = f"X-Goog-Expires must be 1 to {MAX_EXPIRES_SECONDS} seconds, not {expires}"
        raise SignedUrlError(400, "InvalidArgument", message)
    now = datetime.now(UTC)
    expired_at = signed_at + timedelta(seconds=int(expires))
    if now > expired_at:
        message = "Invalid argument."
        details = f"The provided token has expired. Request signature expired at: {expired_at:%Y-%m-%dT%H:%M:%SZ}"
        raise SignedUrlError(400, "ExpiredToken", message, {"Details": details})
    if signed_at > now + _CLOCK_SKEW:
        raise SignedUrlError(403, "AccessDenied", "Access denied.", {"Details": "X-Goog-Date lies in the future."})


def _canonical_query(query: list[tuple[str, str]]) -> str:
    encoded = (
        f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query if name != "X-Goog-Signature"
    )
    return "&".join(sorted(encoded))


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
