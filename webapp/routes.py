"""The routes of the API. What they do is in :mod:`webapp.reviewing`; who may ask is decided in :mod:`webapp.guard`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response, status
from fastapi.responses import RedirectResponse

from webapp import api
from webapp.guard import PAGE_HEADER
from webapp.images import ImageLinks
from webapp.picture import PictureId
from webapp.reviewing import Reviewer, Reviewing


def _reviewing(request: Request) -> Reviewing:
    return request.app.state.reviewing


def _images(request: Request) -> ImageLinks:
    return request.app.state.images


def _email(request: Request) -> str:
    return request.state.reviewer


def _reviewer(
    email: Annotated[str, Depends(_email)],
    page: Annotated[
        str,
        Header(
            alias=PAGE_HEADER,
            pattern="^[A-Za-z0-9_-]{8,64}$",
            description="A random name of the open page, kept for its session: two windows are two pages.",
        ),
    ],
) -> Reviewer:
    return Reviewer(email=email, page=page)


TheReviewing = Annotated[Reviewing, Depends(_reviewing)]
TheImages = Annotated[ImageLinks, Depends(_images)]
Email = Annotated[str, Depends(_email)]
TheReviewer = Annotated[Reviewer, Depends(_reviewer)]


def _problem(description: str) -> dict[str, Any]:
    return {"model": api.Problem, "description": description}


_EVERYWHERE: dict[int | str, dict[str, Any]] = {
    status.HTTP_400_BAD_REQUEST: _problem("The body is not JSON in UTF-8."),
    status.HTTP_401_UNAUTHORIZED: _problem("Not signed in, or the sign-in has expired."),
    status.HTTP_403_FORBIDDEN: _problem("Signed in, but not a reviewer; or the request comes from another site."),
    status.HTTP_405_METHOD_NOT_ALLOWED: _problem("The address has other methods.")
    | {"headers": {"Allow": {"description": "The methods that it has.", "schema": {"type": "string"}}}},
    status.HTTP_422_UNPROCESSABLE_CONTENT: _problem("A value is not allowed; the message names it."),
    status.HTTP_503_SERVICE_UNAVAILABLE: _problem("The storage does not answer, or the app is misconfigured."),
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {status.HTTP_404_NOT_FOUND: _problem("No such picture.")}
_CONFLICT: dict[int | str, dict[str, Any]] = {
    status.HTTP_409_CONFLICT: _problem("Another was faster, or the picture changed: what happened.")
}

router = APIRouter(prefix="/api", responses=_EVERYWHERE)


@router.get("/session", operation_id="readSession")
def read_session(email: Email, reviewing: TheReviewing) -> api.Session:
    """Who asks, the labels in the order of their keys, and how many pictures wait."""
    return api.Session(
        reviewer=email,
        labels=list(reviewing.labels),
        waiting=reviewing.waiting(),
        claim_seconds=reviewing.claim_seconds,
        undo_limit=api.UNDO_LIMIT,
    )


@router.post("/queue", operation_id="nextPictures")
def next_pictures(wanted: api.QueueRequest, reviewer: TheReviewer, reviewing: TheReviewing) -> api.Queue:
    """Claim the next free pictures for the page."""
    return reviewing.next_pictures(reviewer, wanted)


@router.get(
    "/pictures/{picture_id}/image",
    operation_id="showImage",
    status_code=status.HTTP_302_FOUND,
    response_class=RedirectResponse,
    responses=_UNKNOWN | {status.HTTP_302_FOUND: {"description": "The way to the image, good for a few minutes."}},
)
def show_image(
    picture_id: str,
    images: TheImages,
    download: Annotated[bool, Query(description="Save the file instead of showing it.")] = False,
) -> Response:
    """Redirect to the picture itself, by a link that is signed anew."""
    link, seconds = images.link(PictureId.parse(picture_id), download=download)
    # The browser may reuse the redirect, and with it the image it has, for part of the time that the link is good.
    return RedirectResponse(link, status.HTTP_302_FOUND, {"Cache-Control": f"private, max-age={seconds}"})


@router.post("/pictures/{picture_id}/decision", operation_id="decide", responses=_UNKNOWN | _CONFLICT)
def decide(
    picture_id: str, decision: api.DecisionRequest, reviewer: TheReviewer, reviewing: TheReviewing
) -> api.Decision:
    """Record a decision and file the picture. Sent twice it counts once."""
    return reviewing.decide(reviewer, PictureId.parse(picture_id), decision)


@router.post(
    "/pictures/{picture_id}/skip",
    operation_id="skip",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=_UNKNOWN | _CONFLICT,
)
def skip(picture_id: str, reviewer: TheReviewer, reviewing: TheReviewing) -> None:
    """Return a picture to the end of the queue."""
    reviewing.skip(reviewer, PictureId.parse(picture_id))


@router.post("/undo", operation_id="undo", responses=_UNKNOWN | _CONFLICT)
def undo(request: api.UndoRequest, reviewer: TheReviewer, reviewing: TheReviewing) -> api.Picture:
    """Take one of the session's last decisions back; its picture is claimed for the page again, under a new id."""
    return reviewing.undo(reviewer, request)


@router.post("/claims", operation_id="renewClaims")
def renew_claims(claims: api.ClaimsRequest, reviewer: TheReviewer, reviewing: TheReviewing) -> api.Claims:
    """Keep the pictures of the page from being given to others for another while."""
    return reviewing.renew(reviewer, claims.pictures)


@router.post(
    "/claims/release",
    operation_id="releaseClaims",
    status_code=status.HTTP_204_NO_CONTENT,
)
def release_claims(claims: api.ClaimsRequest, reviewer: TheReviewer, reviewing: TheReviewing) -> None:
    """Let others have the pictures: the page is being left."""
    reviewing.release(reviewer, claims.pictures)
