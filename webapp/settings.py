"""What the app is told by its environment, checked whole before it serves anybody."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from inspection.labels import LABEL_RULE, MAX_LABELS, is_label
from inspection.layout import MAX_E_MAIL_BYTES


class SignInMode(StrEnum):
    """Who says who asks."""

    IAP = "iap"
    APP_ENGINE = "appengine"
    DEVELOPMENT = "development"


_DEPLOYED_VARIABLES = re.compile(r"GAE_\w+|K_SERVICE|K_REVISION")
"""What App Engine and Cloud Run set where the app really runs."""

_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_IAP_AUDIENCE = re.compile(r"/projects/\d+/(?:apps/[a-z0-9.:-]+|global/backendServices/\d+)")


class MisconfiguredError(Exception):
    """The environment is wrong; the text lists every mistake with what is allowed. The app then serves nobody."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Variable names are those of the fields, in capitals."""

    prediction_bucket: str
    labels: tuple[str, ...]
    reviewers: frozenset[str]
    """E-mail addresses in lower case."""
    sign_in: SignInMode
    iap_audience: str | None = None
    development_reviewer: str | None = None
    signer_email: str | None = None
    """The service account that signs picture links; without it, the one that the metadata server names."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the app's settings.

    Raises:
        MisconfiguredError: a variable is missing or has a value that cannot be.
    """
    mistakes: list[str] = []

    def read(variable: str, rule: str, pattern: re.Pattern[str]) -> str:
        value = environment.get(variable, "")
        if not pattern.fullmatch(value):
            mistakes.append(f"{variable} is {value!r}; it must be {rule}")
        return value

    bucket = read("PREDICTION_BUCKET", "a bucket's name", _BUCKET)
    labels = _texts(environment, "LABELS")
    if not 1 <= len(labels) <= MAX_LABELS or len(set(labels)) < len(labels) or not all(map(is_label, labels)):
        mistakes.append(
            f"LABELS is {environment.get('LABELS', '')!r}; it must be a JSON list of 1 to {MAX_LABELS} different "
            f"labels, each {LABEL_RULE}"
        )
    reviewers = _texts(environment, "REVIEWERS")
    if not reviewers or not all(map(_is_e_mail, reviewers)):
        mistakes.append(
            f"REVIEWERS is {environment.get('REVIEWERS', '')!r}; it must be a JSON list of e-mail addresses, at least one, "
            f"each of {MAX_E_MAIL_BYTES} bytes at most"
        )
    mode = read("SIGN_IN", " or ".join(SignInMode), re.compile("|".join(SignInMode)))
    audience = developer = None
    if mode == SignInMode.IAP:
        audience = read("IAP_AUDIENCE", "/projects/NUMBER/apps/PROJECT_ID", _IAP_AUDIENCE)
    if mode == SignInMode.DEVELOPMENT:
        developer = read("DEVELOPMENT_REVIEWER", "an e-mail address", _EMAIL)
    mistakes += _misplaced(mode, environment)
    signer = environment.get("SIGNER_EMAIL") or None
    if signer is not None:
        read("SIGNER_EMAIL", "a service account's e-mail address, or not set", _EMAIL)
    if mistakes:
        raise MisconfiguredError("; ".join(mistakes))
    return Settings(
        prediction_bucket=bucket,
        labels=labels,
        reviewers=frozenset(reviewer.lower() for reviewer in reviewers),
        sign_in=SignInMode(mode),
        iap_audience=audience,
        development_reviewer=developer,
        signer_email=signer,
    )


def _is_e_mail(text: str) -> bool:
    # In lower case it may be longer; that is how it is kept, and each decision has room for it.
    return _EMAIL.fullmatch(text) is not None and len(text.lower().encode()) <= MAX_E_MAIL_BYTES


def _misplaced(mode: str, environment: Mapping[str, str]) -> list[str]:
    """What is wrong with this mode in this place."""
    if mode == SignInMode.APP_ENGINE and environment.get("GAE_ENV") != "standard":
        place = f"GAE_ENV is {environment.get('GAE_ENV', '')!r}, not 'standard'"
        return [f"SIGN_IN is 'appengine', but this is not App Engine ({place}): anybody could send its headers here"]
    deployed = ", ".join(sorted(filter(_DEPLOYED_VARIABLES.fullmatch, environment)))
    if mode == SignInMode.DEVELOPMENT and deployed:
        return [f"SIGN_IN is 'development', but the app is deployed ({deployed} set); use 'iap' or 'appengine'"]
    return []


def _texts(environment: Mapping[str, str], variable: str) -> tuple[str, ...]:
    """A JSON list of texts; anything else is the same as an empty one, which is a mistake everywhere."""
    try:
        values = json.loads(environment.get(variable, ""))
    except (ValueError, RecursionError):
        return ()
    if not isinstance(values, list):
        return ()
    texts = tuple(value for value in values if isinstance(value, str))  # pyright: ignore[reportUnknownVariableType]
    return texts if len(texts) == len(values) else ()  # pyright: ignore[reportUnknownArgumentType]
