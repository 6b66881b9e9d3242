"""What every request passes before anything else: who asks, from which page, and what the browser may do with it.

It stands around the whole app, page and API alike, so that a new route cannot be left unguarded.
"""

import html
from collections.abc import Mapping
from http import HTTPStatus

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inspection.environment import ReviewEnvironment
from inspection.logs import structured_logger
from webapp import api
from webapp.problems import ProblemError
from webapp.sign_in import SignIn

PAGE_HEADER = "X-Review-Page"
"""Names one open page. A form, an image or a script of another site cannot send it."""

HEALTH_PATH = "/health"
"""Not `/healthz`: Cloud Run keeps some paths that end with z for itself."""
_SAFE_METHODS = frozenset({"GET", "HEAD"})

_log = structured_logger("review.guard")


class Guard:
    """Lets reviewers through and nobody else; sets the security headers on every answer."""

    def __init__(self, app: ASGIApp, *, sign_in: SignIn, settings: ReviewEnvironment, image_origin: str) -> None:
        self._app = app
        self._sign_in = sign_in
        self._reviewers = settings.reviewers
        self._headers = security_headers(image_origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there are no web sockets

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        app = self._app
        if scope["path"] == HEALTH_PATH:
            app = Response(status_code=HTTPStatus.NO_CONTENT)
        else:
            headers = Headers(scope=scope)
            try:
                reviewer = await anyio.to_thread.run_sync(self._reviewer, headers)
                refuse_other_sites(scope["method"], headers)
            except ProblemError as error:
                app = _refusal(error, scope, headers)
            else:
                scope.setdefault("state", {})["reviewer"] = reviewer
        await app(scope, receive, send_with_headers)

    def _reviewer(self, headers: Headers) -> str:
        email = self._sign_in.email(headers).lower()
        if email not in self._reviewers:
            _log.warning("refused: not a reviewer", extra={"fields": {"email": email}})
            message = (
                f"{email} is not a reviewer here. Ask whoever runs this line to add the address to its `reviewers`."
            )
            raise ProblemError(HTTPStatus.FORBIDDEN, api.Problem(code="not_a_reviewer", message=message))
        return email


def refuse_other_sites(method: str, headers: Mapping[str, str]) -> None:
    """Let a request change something only if it comes from this app's own page.

    Browsers say where a request comes from (`Sec-Fetch-Site`, `Origin`), and send neither our own header nor JSON for
    another site without asking first - which nothing here answers.

    Raises:
        ProblemError: it may come from another site.
    """
    if method in _SAFE_METHODS:
        return
    site = headers.get("sec-fetch-site", "same-origin")
    origin = headers.get("origin")
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if site != "same-origin":
        reason = f"Sec-Fetch-Site is {site!r}, not 'same-origin'"
    elif origin is not None and origin.lower().partition("://")[2] != headers.get("host", "").lower():
        reason = f"Origin is {origin!r}, not this app"
    elif PAGE_HEADER.lower() not in headers:
        reason = f"the header {PAGE_HEADER} is missing"
    elif content_type != "application/json":
        reason = f"Content-Type is {content_type!r}, not 'application/json'"
    else:
        return
    _log.warning("refused: %s", reason)
    message = f"This request does not come from the app's own page: {reason}."
    raise ProblemError(HTTPStatus.FORBIDDEN, api.Problem(code="other_site", message=message))


def security_headers(image_origin: str) -> dict[str, str]:
    """What the browser may do with any answer of this app."""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "font-src": "'self'",
        "connect-src": "'self'",
        "manifest-src": "'self'",
        "img-src": f"'self' {image_origin}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Referrer-Policy": "same-origin",
        "Strict-Transport-Security": "max-age=31536000",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


def problem_response(error: ProblemError) -> Response:
    """A refusal as the API answers it."""
    return JSONResponse(error.problem.model_dump(mode="json"), error.status)


def _refusal(error: ProblemError, scope: Scope, headers: Headers) -> Response:
    if scope["path"].startswith("/api/") or "text/html" not in headers.get("accept", ""):
        return problem_response(error)
    text = html.escape(error.problem.message)
    return HTMLResponse(f'<!doctype html><html lang="en"><title>Review</title><p>{text}</p></html>', error.status)


class ServesNobody:
    """The app where its environment is wrong: every request is refused, whoever asks."""

    def __init__(self) -> None:
        message = "The review app is misconfigured and serves nobody. Its log says what to change."
        self._error = ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, api.Problem(code="misconfigured", message=message))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the server's start and stop."""
        if scope["type"] == "http":
            await problem_response(self._error)(scope, receive, send)
        elif scope["type"] == "lifespan":
            for _ in ("startup", "shutdown"):
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
