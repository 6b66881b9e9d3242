"""A picture of the queue: its id, and what its object's metadata says."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from inspection import layout
from inspection.labels import HUMAN_DECIDED, UNCLEAR
from webapp.problems import unknown_picture

# What only the review app writes; the keys of a decision that others read are in inspection.layout.
CLAIMED_BY = "claimed-by"
CLAIMED_UNTIL = "claimed-until"
CLAIMED_ON = "claimed-on"
"""The open page that holds the picture: one reviewer may have two windows."""
SKIPPED_AT = "skipped-at"
DECIDED_ON = "decided-on"
"""`<page>/<number>`: the session that decided, and which of its decisions it was."""
DECIDED_FROM = "decided-from"
"""`unclear/<name>#<generation>`: which picture the decision was about. It stays when the decision is taken back."""

NO_CLAIM: Mapping[str, str | None] = {CLAIMED_BY: None, CLAIMED_UNTIL: None, CLAIMED_ON: None}
NO_DECISION: Mapping[str, str | None] = {
    layout.DECISION: None,
    layout.DECIDED_BY: None,
    layout.DECIDED_AT: None,
    DECIDED_ON: None,
}


@dataclass(frozen=True)
class PictureId:
    """One generation of an object under `unclear/`.

    The page's id is all this in base64url: nothing has to be remembered, and no key has to be shared between
    instances. It is no secret and no permission: each use checks again that it names a picture of the queue.
    """

    name: str
    generation: int
    source_generation: int
    """Of the image as the camera delivered it: what tells the picture from others of its name for ever."""

    def __str__(self) -> str:
        return f"{self.name}#{self.generation}"

    @property
    def key(self) -> str:
        """The id as the page knows it."""
        return encode(self.name, self.generation, self.source_generation)

    @classmethod
    def parse(cls, key: str) -> "PictureId":
        """Read the page's id.

        Raises:
            ProblemError: it names no picture under `unclear/`.
        """
        match decode(key):
            case [str(name), int(generation), int(source)] if (
                is_queued(name) and _is_generation(generation) and _is_generation(source)
            ):
                return cls(name, generation, source)
            case _:
                raise unknown_picture()


def is_queued(name: str) -> bool:
    """Whether an object of this name is a picture of the queue, and not a folder's placeholder or elsewhere."""
    return _is_object_name(name) and name.startswith(f"{UNCLEAR}/") and not name.endswith("/")


def is_filed(name: str) -> bool:
    """Whether an object of this name is a picture with a decision."""
    return _is_object_name(name) and name.startswith(f"{HUMAN_DECIDED}/") and not name.endswith("/")


def _is_object_name(name: str) -> bool:
    # What Cloud Storage allows (https://cloud.google.com/storage/docs/objects#naming).
    return not {"\r", "\n"} & set(name) and len(name.encode()) <= layout.MAX_NAME_BYTES


def _is_generation(number: int) -> bool:
    return not isinstance(number, bool) and 0 < number < 2**63


def encode(*parts: str | int) -> str:
    """Text and numbers as one word for a URL."""
    return base64.urlsafe_b64encode(json.dumps(parts, ensure_ascii=False).encode()).rstrip(b"=").decode()


def decode(word: str) -> list[Any] | None:
    """What :func:`encode` was given, or None for any other text."""
    try:
        padded = word.encode("ascii") + b"=" * (-len(word) % 4)
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        json.dumps(parts, ensure_ascii=False).encode()
    except (ValueError, binascii.Error, RecursionError):  # UnicodeError, lone surrogates too, is a ValueError
        return None
    return parts if isinstance(parts, list) else None  # pyright: ignore[reportUnknownVariableType]


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Who has a picture at the moment, and until when."""

    by: str
    page: str
    until: datetime


@dataclass(frozen=True, kw_only=True)
class StoredPicture:
    """An object as the storage described it, at one metageneration."""

    name: str
    generation: int
    metageneration: int
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def id(self) -> PictureId:
        """Its id, while it is in the queue."""
        # What no camera has sent, but a person has put there, has no source.
        source = self.metadata.get(layout.SOURCE, "").rpartition("#")[2]
        known = source.isascii() and source.isdigit() and 0 < int(source) < 2**63
        return PictureId(self.name, self.generation, int(source) if known else self.generation)

    @property
    def camera_name(self) -> str:
        """What the camera called it, from `source` (`gs://bucket/name#generation`)."""
        source = self.metadata.get(layout.SOURCE, "")
        path, _, _ = source.removeprefix("gs://").rpartition("#")
        _, _, name = path.partition("/")
        return name or self.name.partition("/")[2]

    @property
    def score(self) -> float | None:
        """Of the model's best label."""
        try:
            return float(self.metadata[layout.PREDICTION_SCORE])
        except (KeyError, ValueError):
            return None

    @property
    def decision(self) -> str | None:
        """The label that a person gave.

        A decision beside another's claim does not count: it was recorded by a page that did not hold the picture, and
        that is taken back as soon as it shows. Until then, or where the instance died in between, the claim stands.
        """
        holder = self.metadata.get(CLAIMED_BY, self.decided_by), self.metadata.get(CLAIMED_ON, self.decided_on[0])
        return self.metadata.get(layout.DECISION) if holder == (self.decided_by, self.decided_on[0]) else None

    @property
    def decided_by(self) -> str:
        """The e-mail address of that person."""
        return self.metadata.get(layout.DECIDED_BY, "somebody")

    @property
    def decided_at(self) -> datetime | None:
        """When."""
        return _time(self.metadata.get(layout.DECIDED_AT))

    @property
    def decided_on(self) -> tuple[str, int]:
        """The page that decided and the number of its decision; ("", 0) where that is not known."""
        page, _, number = self.metadata.get(DECIDED_ON, "").rpartition("/")
        return (page, int(number)) if number.isascii() and number.isdigit() else ("", 0)

    def hold(self, now: datetime, claim_time: timedelta) -> Hold | None:
        """Who has the picture now.

        A decision that has been recorded, but whose picture has not been moved, holds it like a claim: its reviewer
        can finish it by sending it again, and after that time anybody can decide anew.
        """
        if self.decision is not None and self.decided_at is not None:
            until = self.decided_at + claim_time
            hold = Hold(by=self.decided_by, page=self.decided_on[0], until=until)
        else:
            until = _time(self.metadata.get(CLAIMED_UNTIL))
            if until is None:
                return None
            hold = Hold(
                by=self.metadata.get(CLAIMED_BY, "somebody"), page=self.metadata.get(CLAIMED_ON, ""), until=until
            )
        return hold if hold.until > now else None


def _time(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
