"""Keeps pages of other sites away from a server on this machine.

A page that a browser has open may send requests to any address, and by DNS rebinding a site can make its own name mean
127.0.0.1 and then read the answers too. The browser still says the site's name, in `Host` and `Origin`: only requests
that name this machine, with the server's own port, are answered.
"""

from collections.abc import Iterable
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")


class OwnHostOnly:
    """Answers 403, in Google's error JSON, whatever does not name this machine."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` answers everything else; its server must tell its own port (ASGI's `server`)."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the server's start and stop."""
        app = self._app
        if scope["type"] == "http" and (reason := foreign(scope["headers"], port=scope["server"][1])):
            message = f"{reason}: pages of other sites are refused here."
            detail = {"message": message, "domain": "global", "reason": "forbidden"}
            app = JSONResponse({"error": {"code": 403, "message": message, "errors": [detail]}}, 403)
        await app(scope, receive, send)


def foreign(headers: Iterable[tuple[bytes, bytes]], *, port: int) -> str | None:
    """What is foreign in the headers of a request to a server on this port; None: nothing."""
    given = [(name.lower(), value.decode("latin-1").lower()) for name, value in headers]
    hosts = [value for name, value in given if name == b"host"]
    own = {f"{name}:{port}" for name in _NAMES}
    if port == 80:  # noqa: PLR2004  # which clients leave out
        own |= set(_NAMES)
    if len(hosts) != 1 or hosts[0] not in own:
        return f"Host is {', '.join(hosts) or 'missing'}; allowed are {', '.join(sorted(own))}"
    for name, value in given:
        if name == b"origin" and value != f"http://{hosts[0]}":
            return f"Origin is {value}; allowed is none, or http://{hosts[0]}"
    return None
