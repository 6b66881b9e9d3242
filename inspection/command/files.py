"""The files of a folder on this machine. What lies there and is none is told, so that no picture is left out quietly."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path


def files_below(folder: Path, left_out: Callable[[str], None]) -> Iterator[Path]:
    """Every file of a folder and of those below it: a folder's own first, each in the order of the names.

    Links to files count as files. Links to folders are not followed: they may lead round in a circle.

    Args:
        folder: may be a link itself.
        left_out: is told of everything else, as a line: what it is, and why it is left out.
    """
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            left_out(_told(error))
            continue
        below: list[Path] = []
        for entry in entries:
            try:
                kind = entry.stat().st_mode
            except OSError as error:
                left_out(_told(error))
                continue
            if stat.S_ISREG(kind):
                yield Path(entry.path)
            elif not stat.S_ISDIR(kind):
                left_out(f"{entry.path}: no file and no folder")
            elif entry.is_symlink():
                left_out(f"{entry.path}: a link to a folder; give the folder itself to have what is in it")
            else:
                below.append(Path(entry.path))
        waiting += reversed(below)


def _told(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}"
