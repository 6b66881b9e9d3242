"""The words of the API: what the page sends and what it gets. The page's types are generated from these."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_PICTURES_AT_ONCE = 20
MAX_HELD = 60
UNDO_LIMIT = 10
"""How many of a session's decisions, counted from the newest, can be undone."""

_MAX_WORD_LENGTH = 8500
"""Of a name in a word (`picture.encode`): 1,024 bytes, each of which JSON may write as `\\u0001`, in base64."""

PictureKey = Annotated[str, Field(max_length=_MAX_WORD_LENGTH, description="A picture's id, as the queue gave it.")]
Claim = Annotated[
    str,
    Field(pattern=r"^[0-9]{1,19}$", description="The claim as the queue (or the last renewal) gave it."),
]
DecisionNumber = Annotated[
    int,
    Field(
        ge=1,
        le=2**53,
        description="How many decisions this session of the page has made, this one counted; the same when sent again.",
    ),
]


Code = Literal[
    "not_signed_in",
    "not_a_reviewer",
    "other_site",
    "invalid",
    "not_found",
    "unknown_picture",
    "decided",
    "claimed",
    "changed",
    "retained",
    "undo_refused",
    "unavailable",
    "misconfigured",
    "internal",
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(_Model):
    """Why a request was refused, for a program (`code`) and for a person (`message`)."""

    code: Code
    message: str
    by: str | None = Field(default=None, description="For `decided` and `claimed`: the reviewer who was faster.")
    label: str | None = Field(default=None, description="For `decided`: the label that was given.")
    at: datetime | None = Field(default=None, description="For `decided`: when.")
    until: datetime | None = Field(default=None, description="For `claimed`: when the claim ends.")


class Waiting(_Model):
    """How many pictures wait, about: counted now and then, corrected by this app's own decisions in between."""

    count: int
    exact: bool = Field(description="False where more wait than have been counted: show `count` with a plus.")


class Session(_Model):
    """Who asks, and what the page needs to know before the first picture."""

    reviewer: str = Field(description="The reviewer's e-mail address.")
    labels: list[str] = Field(min_length=1, max_length=9, description="In the order of the keys 1 to 9.")
    waiting: Waiting
    claim_seconds: int = Field(description="A claim that is not renewed ends after this time: renew at half of it.")
    undo_limit: int = Field(description="How many decisions back an undo reaches.")


class Picture(_Model):
    """A picture that is now claimed for the page that asked."""

    id: str
    claim: str = Field(description="Hand it back with a decision, or to let go of the picture.")
    name: str = Field(description="As the camera called it.")
    label: str | None = Field(description="The model's best label.")
    score: float | None = Field(description="Of that label, 0 to 1.")
    model: str | None
    image_url: str = Field(description="An address of this app; it never expires for the page.")
    claimed_until: datetime
    skipped: bool = Field(description="Somebody has skipped it before.")


class QueueRequest(_Model):
    """Ask for the next pictures."""

    count: int = Field(ge=1, le=MAX_PICTURES_AT_ONCE)
    cursor: str | None = Field(
        default=None, max_length=_MAX_WORD_LENGTH, description="From the last answer; null starts anew."
    )
    held: list[PictureKey] = Field(
        default_factory=list[str], max_length=MAX_HELD, description="The pictures the page has: not given again."
    )


class Queue(_Model):
    """The next pictures, each claimed.

    Fewer than asked, with a cursor: ask again at once, there is more to look through. Without a cursor: nothing else
    is free now; ask again from the start after a while.
    """

    pictures: list[Picture]
    cursor: str | None
    waiting: Waiting
    passed_over: int = Field(
        description="How many free pictures were left out because the storage refuses a claim on them."
    )


class DecisionRequest(_Model):
    """A reviewer's decision on a picture."""

    label: str
    claim: Claim
    number: DecisionNumber


class Decision(_Model):
    """A decision that counts. The same answer comes when it is sent again."""

    id: str
    label: str
    decided_at: datetime
    undo: str = Field(description="Takes this decision back, through `undo`.")
    waiting: Waiting


class UndoRequest(_Model):
    """Take one of the session's last decisions back."""

    undo: Annotated[str, Field(max_length=2 * _MAX_WORD_LENGTH, description="From the decision's answer.")]
    number: DecisionNumber = Field(description="The number of the session's newest decision.")


class ClaimedPicture(_Model):
    """A picture, and the claim on it."""

    id: PictureKey
    claim: Claim


class ClaimsRequest(_Model):
    """The pictures that the page holds."""

    pictures: list[ClaimedPicture] = Field(min_length=1, max_length=MAX_HELD)


class RenewedClaim(_Model):
    """A claim that lasts longer; `claim` replaces the one before."""

    id: str
    claim: str
    claimed_until: datetime


class LostClaim(_Model):
    """A picture that the page no longer holds, and why."""

    id: str
    problem: Problem


class Claims(_Model):
    """What became of each claim."""

    renewed: list[RenewedClaim]
    lost: list[LostClaim]
