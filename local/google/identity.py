"""Who asks: the service account whose name a request carries in front of its path.

The local cloud has no access tokens. Each part is given endpoints under `/as/<its service account's e-mail>`, so that
a request tells whose it is. A request without the prefix comes from the engineer at the machine.
"""

from typing import Final, cast
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send

NOBODY: Final = "-"
"""To whom nothing is granted: in addresses that are handed to whoever reads them, which then say nothing of who asks."""

_PREFIX = b"/as/"
_IDENTITY = "local.google.identity"
_IDENTITY_PATH = "local.identity_path"


def identity_path(identity: str | None) -> str:
    """What stands in front of every path for this identity: `/as/<e-mail>`, or nothing for None."""
    return "" if identity is None else f"/as/{quote(identity, safe='@')}"


def as_identity(url: str, identity: str | None) -> str:
    """The same address on this machine, used by this identity."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}{identity_path(identity)}{slash}{path}"


class IdentityMiddleware:
    """Takes `/as/<identity>` off the path and keeps it for :func:`identity_of` and :func:`base_url`.

    The application behind it sees the paths of the real service, in `path` and in `raw_path`. Who has been told once is not
    asked again: behind another one it does nothing, or the rest of a path could name somebody else.
    """

    def __init__(self, app: ASGIApp) -> None:
        """`app` is what answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        raw_path = scope.get("raw_path", b"")
        if scope["type"] == "http" and _IDENTITY not in scope and raw_path.startswith(_PREFIX):
            identity, slash, rest = raw_path.removeprefix(_PREFIX).partition(b"/")
            raw_path = slash + rest or b"/"
            scope = {
                **scope,
                "raw_path": raw_path,
                "path": unquote(raw_path.decode("latin-1")),
                _IDENTITY: unquote(identity.decode("latin-1")),
                _IDENTITY_PATH: (_PREFIX + identity).decode("latin-1"),
            }
        await self._app(scope, receive, send)


def identity_of(scope: Scope) -> str | None:
    """The service account that asks, or None for the engineer at the machine."""
    return cast("str | None", scope.get(_IDENTITY))


def base_url(scope: Scope) -> str:
    """Where this server is for whoever asks, without a slash at the end: an address to put into answers."""
    return server_url(scope) + str(scope.get(_IDENTITY_PATH, ""))


def server_url(scope: Scope) -> str:
    """Where this server is, whoever asks."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    return f"{scope['scheme']}://{headers.get(b'host', b'127.0.0.1').decode('latin-1')}"
