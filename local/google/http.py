"""Runs an ASGI application in a thread of this process."""

import socket
import struct
import threading
from typing import Any, Final, Self

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from local.google.gate import NoAnswerError

HOST: Final = "127.0.0.1"
_GRACE_SECONDS = 5


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()
        """Set when the server answers, or has failed to start."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()


class _HangingUp:
    """Ends the connection of a request whose answer is :class:`local.google.gate.NoAnswerError`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except NoAnswerError:
            # ASGI has no word for this; uvicorn's `send` belongs to the object that has the connection.
            cycle: Any = send
            transport = cycle.__self__.transport
            if not transport.is_closing():  # the asker may have given up by now
                # Reset rather than closed: the other side gets an error even where it waits for the stream's end.
                connection = transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                transport.abort()
            while (await receive())["type"] != "http.disconnect":
                pass


class RunningServer:
    """An application that answers at :attr:`url` until :meth:`stop`; also a context manager that stops it."""

    def __init__(self, server: _Server, listener: socket.socket) -> None:
        """Start the server on a socket that already listens."""
        self._server = server
        self._listener = listener
        port: int = listener.getsockname()[1]
        self.url = f"http://{HOST}:{port}"
        self._thread = threading.Thread(target=self._run, name=f"server:{port}", daemon=True)
        self._thread.start()
        server.settled.wait()
        if not server.started:
            self.stop()
            raise RuntimeError(f"the server at {self.url} did not start; its log says why")

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._server.settled.set()

    def stop(self) -> None:
        """Finish the requests that are being answered (for a few seconds at most), then stop listening."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(app: ASGIApp, port: int = 0) -> RunningServer:
    """Run `app` on this machine only; port 0 takes any free one.

    Raises:
        OSError: the port is taken; the message names it.
        RuntimeError: the application's own startup failed.
    """
    try:
        listener = socket.create_server((HOST, port), backlog=512)
    except OSError as error:
        raise OSError(error.errno, f"port {port} of {HOST} cannot be used: {error.strerror}") from error
    # Inherited by each connection; without it an answer of two packets waits 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        _HangingUp(app),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        # Google's services name themselves; a date on every answer costs more than it tells here.
        server_header=False,
        date_header=False,
    )
    return RunningServer(_Server(config), listener)
