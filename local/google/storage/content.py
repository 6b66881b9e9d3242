"""The bytes of an upload, on their way to the disk."""

import base64
import hashlib
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from local.google.storage.records import invalid


class Content:
    """Bytes on their way to the disk; becomes part of an object through :meth:`ObjectStore.insert`."""

    def __init__(self, path: Path) -> None:
        """Nothing has been written yet."""
        self.id = path.name
        self.size = 0
        self._path = path
        self._kept = False
        self._file = path.open("xb", buffering=0)
        self._crc32c = google_crc32c.Checksum()
        self._md5 = hashlib.md5(usedforsecurity=False)

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self._crc32c.update(data)
        self._md5.update(data)
        self.size += len(data)

    @property
    def crc32c(self) -> str:
        """Of what has been written so far, in base64."""
        return base64.b64encode(self._crc32c.digest()).decode()

    @property
    def md5(self) -> str:
        """Of what has been written so far, in base64."""
        return base64.b64encode(self._md5.digest()).decode()

    def close(self) -> None:
        """No more is written."""
        self._file.close()

    def open(self) -> BinaryIO:
        """For reading what has been written so far."""
        return self._path.open("rb", buffering=0)

    def keep(self) -> None:
        """It is part of an object now: discarding it does nothing any more."""
        self._kept = True

    def discard(self) -> None:
        """Take it off the disk, for an upload that comes to nothing."""
        self._file.close()
        if not self._kept:
            self._path.unlink(missing_ok=True)

    def verify(self, *, crc32c: str | None, md5: str | None) -> None:
        """Compare with the checksums that the sender gave.

        Raises:
            StorageError: 400, what arrived is not what was sent.
        """
        for kind, given, computed in (("CRC32C", crc32c, self.crc32c), ("MD5", md5, self.md5)):
            if given is not None and given != computed:
                raise invalid(f'Provided {kind} "{given}" doesn\'t match calculated {kind} "{computed}".')
