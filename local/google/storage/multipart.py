"""Reads an upload of the type multipart/related as it arrives: a JSON resource, then the content.

The Python client ends lines by CR LF, `gcloud storage` by a bare LF; the first line tells which.
`gcloud storage` also puts the boundary into single quotes, which are no part of it.
"""

import json
import re
from collections.abc import Callable
from email.message import Message
from typing import Any

from local.google.storage.records import invalid

_MAX_HEAD = 1 << 20
_PART = re.compile(rb"--(?P<boundary>[^\r\n]+)[ \t]*(?P<newline>\r?\n)", re.DOTALL)


class MultipartReader:
    """Feed it the body in blocks of any size; it passes the content's bytes on to `sink`."""

    def __init__(self, content_type: str, sink: Callable[[bytes], None]) -> None:
        """`content_type` is the request's, with its boundary.

        Raises:
            StorageError: 400, there is no boundary.
        """
        header = Message()
        header["content-type"] = content_type
        boundary = header.get_boundary()
        if not boundary:
            raise invalid(f"A multipart upload needs a boundary in its Content-Type, not {content_type!r}")
        if boundary[0] == boundary[-1] == "'":
            boundary = boundary[1:-1]
        self._boundary = boundary.encode("latin-1")
        self._sink = sink
        self._pending = b""
        self._newline = b""
        self.resource: dict[str, Any] = {}
        """The first part."""
        self.content_type: str | None = None
        """Of the second part."""

    def feed(self, block: bytes) -> None:
        """The next bytes of the body.

        Raises:
            StorageError: 400, this is no multipart upload.
        """
        self._pending += block
        if not self._newline and not self._read_head():
            if len(self._pending) > _MAX_HEAD:
                raise invalid("The first part of the multipart upload is too long.")
            return
        # What may be the beginning of the end is kept back.
        keep = len(self._boundary) + 16
        if len(self._pending) > keep:
            self._sink(self._pending[:-keep])
            self._pending = self._pending[-keep:]

    def finish(self) -> None:
        """The body is complete.

        Raises:
            StorageError: 400, it ends before its closing boundary.
        """
        content, end, _ = self._pending.rpartition(self._newline + b"--" + self._boundary + b"--")
        if not self._newline or not end:
            raise invalid("The multipart upload ends before its closing boundary.")
        self._sink(content)

    def _read_head(self) -> bool:
        """Whether both heads and the resource have arrived; they are then taken off what is pending."""
        first = _PART.search(self._pending)
        if first is None:
            return False
        newline = first["newline"]
        delimiter = b"--" + self._boundary
        if first["boundary"].rstrip() != self._boundary:
            raise invalid("The multipart upload does not begin with its boundary.")
        resource_start = self._pending.find(newline * 2, first.end() - len(newline))
        resource_end = self._pending.find(newline + delimiter, resource_start + len(newline))
        head_end = self._pending.find(newline * 2, resource_end + len(newline))
        if min(resource_start, resource_end, head_end) < 0:
            return False
        try:
            resource = json.loads(self._pending[resource_start:resource_end] or b"{}")
        except ValueError as error:
            raise invalid(f"The first part of the multipart upload is no JSON: {error}") from error
        if not isinstance(resource, dict):
            raise invalid("The first part of the multipart upload is no JSON object.")
        self.resource = resource
        head = self._pending[resource_end + len(newline) : head_end].decode("latin-1")
        for line in head.splitlines()[1:]:
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-type":
                self.content_type = value.strip()
        self._pending = self._pending[head_end + 2 * len(newline) :]
        self._newline = newline
        return True
