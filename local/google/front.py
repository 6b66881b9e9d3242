"""What stands in front of every started function, as Cloud Run does: it asks IAM who may call, then hands the call on.

A push of this cloud's own Pub/Sub names the identity of its declared `oidcToken` (:meth:`Front.push`), any other caller has it in front
of its path (:mod:`local.google.identity`); the token itself is Google's to make and to check. Absent as well: ingress settings, as
everything here comes from the same machine.
"""

import http.client
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.google.gate import ApiError, Call, Gate, NoAnswerError
from local.google.http import HOST
from local.google.identity import identity_of
from local.google.permissions import ANONYMOUS, INVOKE, SIGN_PUSH, Need, Permissions, account_name
from local.google.pubsub.push import HEADERS, Push, send_by_http

# No bucket has a name of two characters, so that this takes no object's address.
_PREFIX: Final = "/fn/"
_SECONDS_FOR_AN_INSTANCE: Final = 10
"""https://cloud.google.com/run/docs/about-instance-autoscaling#max-requests-pending"""
_NOT_PASSED_ON: Final = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True, kw_only=True)
class _Service:
    resource: str
    port: int
    seconds: float


class Front:
    """The public addresses of the functions."""

    def __init__(self, gate: Gate, permissions: Permissions, *, pubsub_agent: str) -> None:
        """`pubsub_agent` is the account that makes the tokens of pushes."""
        self._gate = gate
        self._permissions = permissions
        self._pubsub_agent = pubsub_agent
        self._services: dict[str, _Service] = {}
        self._closed = threading.Event()
        self.url = ""
        """Where :meth:`routes` are served; needed before :meth:`open`."""

    def open(self, name: str, *, resource: str, port: int, seconds: float) -> str:
        """The public address of a function that listens on `port` and may take so many seconds for an answer."""
        self._services[name] = _Service(resource=resource, port=port, seconds=seconds)
        return f"{self.url}{_PREFIX}{name}"

    def close(self) -> None:
        """No longer wait for functions to start; to be called before they are ended, for good."""
        self._closed.set()

    def routes(self) -> list[Route]:
        """For an application behind :class:`local.google.identity.IdentityMiddleware`."""
        return [Route(f"{_PREFIX}{{service}}", self._answer, methods=["GET", "POST"])]

    def push(self, push: Push) -> int:
        """Deliver a push in this process, or by HTTP where its endpoint is not of this cloud; returns the answer's status.

        Raises:
            OSError: no connection to another endpoint, or no answer in time.
            HTTPException: the answer of another endpoint is not HTTP.
        """
        name = push.endpoint.removeprefix(f"{self.url}{_PREFIX}")
        if name == push.endpoint:
            return send_by_http(push)
        if (service := self._services.get(name)) is None:
            return HTTPStatus.NOT_FOUND
        return self._call(service, push.identity, "POST", HEADERS, push.body).status_code

    async def _answer(self, request: Request) -> Response:
        service = self._services.get(request.path_params["service"])
        if service is None:
            return Response("Page not found", HTTPStatus.NOT_FOUND)
        body = await request.body()
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_PASSED_ON}
        return await run_in_threadpool(self._call, service, identity_of(request.scope), request.method, headers, body)

    def _call(
        self, service: _Service, identity: str | None, method: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        call = Call(identity=identity or ANONYMOUS, method=INVOKE, resource=service.resource)
        try:
            if identity is not None:
                self._permissions.require(
                    self._pubsub_agent, Need(permission=SIGN_PUSH, resource=account_name(identity))
                )
            self._gate.enter(call)
            response = _forward(service, method, headers, body, self._closed)
            self._gate.leave(call)
        except ApiError as error:
            return Response(error.message, error.status)
        except NoAnswerError:
            # Google's own front stands between, and answers whatever becomes of the instance behind it.
            return Response("the connection to the instance ended", HTTPStatus.SERVICE_UNAVAILABLE)
        return response


def _forward(
    service: _Service, method: str, headers: Mapping[str, str], body: bytes, closed: threading.Event
) -> Response:
    connection = http.client.HTTPConnection(HOST, service.port, timeout=service.seconds)
    try:
        _connect(connection, closed)
        connection.request(method, "/", body, dict(headers))
        answer = connection.getresponse()
        return Response(answer.read(), answer.status, media_type=answer.headers.get("content-type"))
    except TimeoutError:
        return Response("upstream request timeout", HTTPStatus.GATEWAY_TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        # As Cloud Run says when an instance ends in the middle of a request.
        return Response(f"the connection to the instance had an error: {error}", HTTPStatus.SERVICE_UNAVAILABLE)
    finally:
        connection.close()


def _connect(connection: http.client.HTTPConnection, closed: threading.Event) -> None:
    """Wait while an instance starts, as a request does in Cloud Run."""
    deadline = time.monotonic() + _SECONDS_FOR_AN_INSTANCE
    while True:
        try:
            connection.connect()
        except ConnectionRefusedError:
            if time.monotonic() > deadline or closed.wait(0.05):
                raise
        else:
            return
