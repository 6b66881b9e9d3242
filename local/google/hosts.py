"""Keeps pages of other sites away from a server on this machine.

A page that a browser has open may send requests to any address, and by DNS rebinding a site can make its own name mean
127.0.0.1 and then read the answers too. The browser still says the site's name, in `Host` and `Origin`: only requests
that name this machine, with the server's own port, are answered.

Run as a script, this is functions-framework's command with that guard in front of the function. So nothing is imported here
that a function's own packages lack.
"""

import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def foreign(hosts: list[str], origins: list[str], *, port: int) -> str | None:
    """What is foreign in the `Host` and `Origin` of a request to a server on this port; None: nothing."""
    own = {f"{name}:{port}" for name in _NAMES}
    if port == 80:  # noqa: PLR2004  # which clients leave out
        own |= set(_NAMES)
    if len(hosts) != 1 or hosts[0].lower() not in own:
        return f"Host is {', '.join(hosts) or 'missing'}; allowed are {', '.join(sorted(own))}"
    page = f"http://{hosts[0]}".lower()
    return next(
        (f"Origin is {origin}; allowed is none, or {page}" for origin in origins if origin.lower() != page), None
    )


def _refusal(reason: str) -> bytes:
    """Google's error JSON."""
    message = f"{reason}: pages of other sites are refused here."
    detail = {"message": message, "domain": "global", "reason": "forbidden"}
    return json.dumps({"error": {"code": 403, "message": message, "errors": [detail]}}).encode()


class OwnHostOnly:
    """An ASGI application that answers 403 to whatever does not name this machine."""

    def __init__(self, app: "ASGIApp") -> None:
        """`app` answers everything else; its server must tell its own port (ASGI's `server`)."""
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """One request, or the server's start and stop."""
        if scope["type"] == "http":
            headers: list[tuple[bytes, bytes]] = list(scope["headers"])
            hosts, origins = (
                [value.decode("latin-1") for name, value in headers if name.lower() == wanted]
                for wanted in (b"host", b"origin")
            )
            if reason := foreign(hosts, origins, port=scope["server"][1]):
                start = {"status": 403, "headers": [(b"content-type", b"application/json")]}
                await send({"type": "http.response.start", **start})
                await send({"type": "http.response.body", "body": _refusal(reason)})
                return
        await self._app(scope, receive, send)


def own_host_only(app: Wsgi) -> Wsgi:
    """The same for a WSGI application."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if reason := foreign(*_given(environ), port=int(environ["SERVER_PORT"])):
            start_response("403 Forbidden", [("Content-Type", "application/json")])
            return [_refusal(reason)]
        return app(environ, start_response)

    return guarded


def _given(environ: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    hosts, origins = ([str(environ[key])] if key in environ else [] for key in ("HTTP_HOST", "HTTP_ORIGIN"))
    return hosts, origins


def _run_function() -> None:
    command: Any = importlib.import_module("functions_framework._cli")
    create = command.create_server

    def guarded(app: Any, debug: bool) -> Any:  # noqa: ANN401  # Flask's
        app.wsgi_app = own_host_only(app.wsgi_app)
        return create(app, debug)

    command.create_server = guarded
    command._cli()  # noqa: SLF001  # there is no other name for it


if __name__ == "__main__":
    _run_function()
