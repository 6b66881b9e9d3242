"""App Engine's service `default`, which a project must have before it can have any other: nothing is here."""  # noqa: INP001

import os
import sys
from collections.abc import Callable, Iterable
from wsgiref.simple_server import make_server


def nothing(_environment: object, start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """Whatever is asked for."""
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"Nothing is here.\n"]


if __name__ == "__main__":
    make_server(sys.argv[1], int(os.environ["PORT"]), nothing).serve_forever()
