"""Who asks: the e-mail address of whoever sends a request, from a source that cannot be forged."""

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from threading import Lock
from typing import Protocol

import requests
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError

from inspection.environment import ReviewEnvironment, SignInMode
from inspection.logs import structured_logger
from webapp import api
from webapp.problems import ProblemError

IAP_HEADER = "x-goog-iap-jwt-assertion"
IAP_ISSUER = "https://cloud.google.com/iap"
IAP_ALGORITHM = "ES256"
IAP_KEYS_URL = "https://www.gstatic.com/iap/verify/public_key"
APP_ENGINE_HEADER = "x-appengine-user-email"

_CLOCK_SKEW_SECONDS = 30

_KEYS_FRESH_SECONDS = 3600
_KEYS_USABLE_SECONDS = 24 * 3600
"""So long the keys that are there serve where newer ones cannot be had."""
_ASKED_AGAIN_SECONDS = 60
"""A token with an unknown key makes the app ask for the keys again, but no more often than this."""
_ASKED_AGAIN_AFTER_FAILURE_SECONDS = 30

_THIS_MACHINE = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?", re.IGNORECASE)

_log = structured_logger("review.sign_in")


class SignIn(Protocol):
    """Finds out who sends a request."""

    def email(self, headers: Mapping[str, str]) -> str:
        """The sender's e-mail address; header names are in lower case.

        Raises:
            ProblemError: nobody is signed in, or it cannot be checked now.
        """
        ...


def sign_in_for(settings: ReviewEnvironment) -> SignIn:
    """The way that the settings choose."""
    match settings.sign_in:
        case SignInMode.IAP:
            return IdentityAwareProxy(audience=settings.iap_audience or "")
        case SignInMode.APP_ENGINE:
            return AppEngineLogin()
        case SignInMode.DEVELOPMENT:
            return Development(settings.development_reviewer or "")


def fetch_iap_keys() -> dict[str, str]:
    """Google's public keys for IAP: PEM by key id."""
    response = requests.get(IAP_KEYS_URL, timeout=(5, 10))
    response.raise_for_status()
    keys = response.json()
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise ValueError(f"not an object of keys: {response.text[:100]!r}")
    return keys


class IdentityAwareProxy:
    """The header that Identity-Aware Proxy signs, verified on every request.

    IAP strips the header from what comes from outside, but a request may reach the app past IAP (when IAP is switched
    off): only the signature counts (https://cloud.google.com/iap/docs/signed-headers-howto).
    """

    def __init__(
        self,
        *,
        audience: str,
        fetch_keys: Callable[[], dict[str, str]] = fetch_iap_keys,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not audience:
            raise ValueError("without an audience a token for any other app would be taken")
        self._audience = audience
        self._fetch_keys = fetch_keys
        self._monotonic = monotonic
        self._lock = Lock()
        """Of the fields below; never held while the keys are fetched."""
        self._keys: dict[str, str] = {}
        self._fetched_at = -float("inf")
        self._ask_again_at = -float("inf")
        self._fetching: Future[None] | None = None

    def email(self, headers: Mapping[str, str]) -> str:
        """The verified e-mail address."""
        token = headers.get(IAP_HEADER)
        if not token:
            raise _not_signed_in("the request did not come through Identity-Aware Proxy")
        try:
            header = jwt.decode_header(token)
            key_id = header.get("kid")
            if header.get("alg") != IAP_ALGORITHM or not isinstance(key_id, str):
                raise _not_signed_in(f"the token is not signed with {IAP_ALGORITHM}")
            claims = jwt.decode(
                token,
                certs=self._keys_with(key_id),
                audience=self._audience,
                clock_skew_in_seconds=_CLOCK_SKEW_SECONDS,
            )
        except (GoogleAuthError, ValueError, RecursionError) as error:
            raise _not_signed_in(str(error)) from error
        if claims.get("iss") != IAP_ISSUER:
            raise _not_signed_in(f"the token was issued by {claims.get('iss')!r}")
        email = claims.get("email")
        if not isinstance(email, str) or not email:
            raise _not_signed_in("the token names no e-mail address")
        return email

    def _keys_with(self, key_id: str) -> dict[str, str]:
        """The keys, among them this one if Google has published it.

        One request fetches them when they are an hour old or lack the key; the others go on with those that are there,
        or wait for the new ones if they cannot do without.
        """
        with self._lock:
            now = self._monotonic()
            age = now - self._fetched_at
            known = key_id in self._keys and age < _KEYS_USABLE_SECONDS
            fetching = self._fetching
            mine = fetching is None and now >= self._ask_again_at and (age >= _KEYS_FRESH_SECONDS or not known)
            if mine:
                fetching = self._fetching = Future()
        if mine and fetching:
            self._fetch(fetching)
        elif fetching and not known:
            fetching.result()
        with self._lock:
            if self._monotonic() - self._fetched_at >= _KEYS_USABLE_SECONDS:
                message = "Sign-ins cannot be checked at the moment. Try again in a minute."
                raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, api.Problem(code="unavailable", message=message))
            return self._keys

    def _fetch(self, done: Future[None]) -> None:
        wait = _ASKED_AGAIN_AFTER_FAILURE_SECONDS
        keys: dict[str, str] | None = None
        try:
            keys = self._fetch_keys()
            wait = _ASKED_AGAIN_SECONDS
        except (requests.RequestException, ValueError) as error:
            _log.error("the keys of Identity-Aware Proxy cannot be read from %s: %s", IAP_KEYS_URL, error)
        finally:
            with self._lock:
                now = self._monotonic()
                if keys is not None:
                    self._keys, self._fetched_at = keys, now
                self._ask_again_at = now + wait
                self._fetching = None
            done.set_result(None)


class AppEngineLogin:
    """App Engine's own login (`login: required` of a handler).

    App Engine removes `X-Appengine-*` headers that come from outside and sets its own; the settings refuse this mode
    anywhere else.
    """

    def email(self, headers: Mapping[str, str]) -> str:
        """The e-mail address of the Google account that is signed in."""
        email = headers.get(APP_ENGINE_HEADER)
        if not email:
            raise _not_signed_in("App Engine names no signed-in account")
        return email


class Development:
    """One fixed reviewer, for a laptop. The settings refuse this mode where the app is deployed.

    Whoever asks is the reviewer, so a page of another site must not ask: by DNS rebinding it could make its own name mean
    this machine, but the browser still says that name in `Host` and `Origin`. (The port in `Host` is the one that the
    browser connected to, or that of `npm run dev` in front.)
    """

    def __init__(self, reviewer: str) -> None:
        self._reviewer = reviewer

    def email(self, headers: Mapping[str, str]) -> str:
        """The reviewer that the settings name."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not _THIS_MACHINE.fullmatch(host):
            raise _other_site(f"Host is {host!r}, not localhost or 127.0.0.1 as in development")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            raise _other_site(f"Origin is {origin!r}, not this app")
        return self._reviewer


def _other_site(reason: str) -> ProblemError:
    _log.warning("refused: %s", reason)
    message = f"This request does not come from this machine: {reason}."
    return ProblemError(HTTPStatus.FORBIDDEN, api.Problem(code="other_site", message=message))


def _not_signed_in(reason: str) -> ProblemError:
    _log.warning("refused: %s", reason)
    message = "You are not signed in, or the sign-in has expired. Load the page again to sign in."
    return ProblemError(HTTPStatus.UNAUTHORIZED, api.Problem(code="not_signed_in", message=message))
