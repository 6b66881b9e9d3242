"""What `test_bounded.py` runs in another process."""

import hashlib
import os
import signal
import sys
from pathlib import Path

from imaging.bounded import UnusableImageError, claim


def reverse(data: bytes) -> bytes:
    return data[::-1]


def keep(data: bytes) -> bytes:
    return data


def process_id(_data: bytes) -> bytes:
    return str(os.getpid()).encode()


def chatter(data: bytes) -> bytes:
    os.write(1, b"a decoder prints what it likes")
    sys.stdout.write("so does this one")
    sys.stdout.flush()
    return data + b"!"


def refuse(data: bytes) -> bytes:
    raise UnusableImageError(f"unusable: {data.decode()} \udcff")


def fail(data: bytes) -> bytes:
    raise KeyError(data)


def kill(data: bytes) -> bytes:
    os.kill(os.getpid(), signal.Signals[data.decode()])
    return b""


def leave(_data: bytes) -> bytes:
    os._exit(3)


def take_memory(data: bytes) -> bytes:
    return bytes(int(data))


def never_end_in_c(_data: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def never_end_in_python(data: bytes) -> bytes:
    while True:
        try:
            data = data[::-1]
        except BaseException:  # noqa: BLE001 - no exception can end it
            continue


def never_end_after_claim(data: bytes) -> bytes:
    claim(int(data))
    return never_end_in_c(data)


def meet(data: bytes, folder: str) -> bytes:
    """Leave a mark once it is this one's turn, and wait until the test lets it end. No CPU time is used."""
    name, pixels = data.decode().split()
    with Path(folder, f"{name} is opened").open("wb"):
        claim(int(pixels))
    os.mkfifo(gate := Path(folder, f"{name} may end"))
    Path(folder, f"{name} is decoded").touch()
    gate.read_bytes()
    return data
