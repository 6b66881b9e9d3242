"""The app as App Engine starts it: `uvicorn webapp.main:app --host 0.0.0.0 --port $PORT`."""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import cast

import google.auth
import requests
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from google.api_core.exceptions import GoogleAPIError
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.cloud.storage import Client
from requests.adapters import HTTPAdapter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from inspection.environment import MisconfiguredError, ReviewEnvironment
from inspection.logs import structured_logger
from webapp import api, routes
from webapp.guard import Guard, ServesNobody, problem_response
from webapp.images import STORAGE_EMULATOR, ImageLinks
from webapp.problems import ProblemError
from webapp.reviewing import Reviewing
from webapp.sign_in import SignIn, sign_in_for

PAGE = Path(__file__).parent / "frontend" / "dist"
"""The built page."""

_PAGE_METHODS = ("GET", "HEAD")

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
"""Storage, and IAM for signing."""

_CONNECTIONS = 50
"""More than FastAPI's threads: else connections to the storage are thrown away and made anew."""

# Else the client asks for the bucket's own metadata, to describe traces that nobody collects here.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"

_log = structured_logger("review")


def api_app() -> FastAPI:
    """The routes with their errors, without what they need to work; its schema is `webapp/openapi.json`."""
    app = FastAPI(
        title="Review",
        description="A person decides on the pictures that the model was not sure of.",
        version="1",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(routes.router)
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    for error in (GoogleAPIError, GoogleAuthError, requests.RequestException):
        app.add_exception_handler(error, _storage_unavailable)
    app.add_exception_handler(Exception, _internal)
    return app


def review_app(
    settings: ReviewEnvironment, *, reviewing: Reviewing, images: ImageLinks, sign_in: SignIn, page: Path = PAGE
) -> ASGIApp:
    """The whole app: the API and the page, behind the guard."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        reviewing.close()

    app = api_app()
    app.router.lifespan_context = lifespan
    app.state.reviewing = reviewing
    app.state.images = images
    if page.is_dir():
        app.router.routes.append(_PageMount("/", PageFiles(directory=page, html=True)))
    else:
        _log.error("there is no built page in %s: only the API is served; run `npm run build` in webapp/frontend", page)
    return Guard(app, sign_in=sign_in, settings=settings, image_origin=images.origin)


def app_for(environment: Mapping[str, str]) -> ASGIApp:
    """The app that the environment describes, or one that serves nobody."""
    try:
        settings = ReviewEnvironment.from_variables(environment)
        credentials = google_credentials()
    except (MisconfiguredError, GoogleAuthError) as error:
        _log.critical("the review app is misconfigured and serves nobody: %s", error)
        return ServesNobody()
    bucket = storage_client(credentials).bucket(settings.prediction_bucket)
    return review_app(
        settings,
        reviewing=Reviewing(bucket, settings.labels),
        images=ImageLinks(bucket, credentials, settings.signer_email),
        sign_in=sign_in_for(settings),
    )


def google_credentials() -> Credentials:
    """The app's own identity, or for an emulator none.

    Raises:
        GoogleAuthError: there are no credentials.
    """
    if os.environ.get(STORAGE_EMULATOR):
        return AnonymousCredentials()
    credentials, _ = google.auth.default(scopes=_SCOPES)
    return cast("Credentials", credentials)


def storage_client(credentials: Credentials) -> Client:
    """A client for all threads; it needs no project, because it never creates a bucket."""
    session = AuthorizedSession(credentials)
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return Client(project="unused", credentials=credentials, _http=session)


class _PageMount(Mount):
    """All addresses but the API's: those answer for themselves which methods they have."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the page answers the request."""
        return (Match.NONE, {}) if scope["path"].startswith("/api/") else super().matches(scope)


class PageFiles(StaticFiles):
    """The built page. Its assets have their content's hash in the name, so only the rest can change."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file that the path names.

        Raises:
            HTTPException: 404 or 405.
        """
        if scope["method"] not in _PAGE_METHODS:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(_PAGE_METHODS)})
        return await super().get_response(path, scope)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """One file, with what the browser may do with it."""
        if scope["path"].startswith("/assets/"):
            response = super().file_response(full_path, stat_result, scope, status_code)
            response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
            return response
        # Sent whole each time: whether it has changed would be told by its time and size, and in a zip of the next
        # deployment both are what they were (the hashes in it are as long as before).
        return FileResponse(full_path, status_code, {"Cache-Control": "no-cache"})


def _problem(_: Request, error: Exception) -> Response:
    return problem_response(cast("ProblemError", error))


def _invalid(_: Request, error: Exception) -> Response:
    mistakes = [
        f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']} (it is {str(mistake['input'])[:100]!r})"
        for mistake in cast("RequestValidationError", error).errors()
    ]
    return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "; ".join(mistakes))


def _http_error(request: Request, error: Exception) -> Response:
    known = cast("HTTPException", error)
    status = HTTPStatus(known.status_code)
    code: api.Code = "not_found" if status == HTTPStatus.NOT_FOUND else "invalid"
    # FastAPI answers 400 to nothing else.
    reason = "the body is not JSON in UTF-8" if status == HTTPStatus.BAD_REQUEST else status.phrase
    answer = _answer(status, code, f"{request.method} {request.url.path}: {reason}")
    answer.headers.update(known.headers or {})
    return answer


def _storage_unavailable(request: Request, error: Exception) -> Response:
    _log.error(
        "the storage did not do what was asked: %s",
        error,
        extra={"fields": {"request": f"{request.method} {request.url.path}"}},
    )
    message = "The storage does not answer as it should. Nothing is lost; try again."
    return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", message)


def _internal(request: Request, error: Exception) -> Response:
    _log.error("unexpected", exc_info=error, extra={"fields": {"request": f"{request.method} {request.url.path}"}})
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "Something unexpected went wrong. Nothing is lost.")


def _answer(status: HTTPStatus, code: api.Code, message: str) -> Response:
    return problem_response(ProblemError(status, api.Problem(code=code, message=message)))


def __getattr__(name: str) -> ASGIApp:
    # Made when the server asks for it, not when a test or the schema's command imports this module.
    if name == "app":
        globals()["app"] = app_for(os.environ)
        return globals()["app"]
    raise AttributeError(name)
