"""One decision through the review app's API, as its page makes it."""

import secrets
from dataclasses import dataclass
from typing import Any

import requests

SECONDS_TO_ANSWER = 30


class ReviewError(Exception):
    """The review app did not do what it was asked; the text has its answer."""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What was decided, by whom."""

    name: str
    """As the camera called it."""
    label: str
    reviewer: str


def decide_next(url: str) -> Decided | None:
    """Give the next unclear picture the first label; None if no picture is unclear.

    Raises:
        ReviewError: the app refuses, or does not answer.
    """
    try:
        with requests.Session() as session:
            session.headers["X-Review-Page"] = secrets.token_urlsafe(12)
            return _decide_next(session, f"{url}/api")
    except requests.RequestException as error:
        answer = error.response.text if error.response is not None else "no answer"
        message = f"the review app at {url} did not decide: {error} ({answer})"
        raise ReviewError(message) from error


def _decide_next(session: requests.Session, api: str) -> Decided | None:
    about = _answer(session.get(f"{api}/session", timeout=SECONDS_TO_ANSWER))
    queue: dict[str, Any] = {"cursor": None, "pictures": []}
    while not queue["pictures"]:
        wanted = {"count": 1, "cursor": queue["cursor"], "held": []}
        queue = _answer(session.post(f"{api}/queue", json=wanted, timeout=SECONDS_TO_ANSWER))
        if not queue["pictures"] and queue["cursor"] is None:
            return None
    (picture,) = queue["pictures"]
    decision = {"label": about["labels"][0], "claim": picture["claim"], "number": 1}
    url = f"{api}/pictures/{picture['id']}/decision"
    decided = _answer(session.post(url, json=decision, timeout=SECONDS_TO_ANSWER))
    return Decided(name=picture["name"], label=decided["label"], reviewer=about["reviewer"])


def _answer(response: requests.Response) -> dict[str, Any]:
    response.raise_for_status()
    return response.json()
