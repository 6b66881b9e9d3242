"""The files of a folder on this machine. What lies there and is none is told, so that no picture is left out quietly."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

_OF_DESKTOPS = {"thumbs.db", "desktop.ini"}


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that desktops do not show; nobody means it who names the folder around it."""
    return name.startswith(".") or name.lower() in _OF_DESKTOPS


def hidden_line(hidden: Sequence[Path]) -> str:
    """What to tell of hidden files that were left out."""
    return f"Left out, as hidden: {len(hidden):,}, the first is {hidden[0]}"


def files_below(folder: Path, left_out: Callable[[str], None], hidden: Callable[[Path], None]) -> Iterator[Path]:
    """Every file of a folder and of those below it: a folder's own first, each in the order of the names.

    Links to files count as files. Links to folders are not followed: they may lead round in a circle.

    Args:
        folder: may be a link itself.
        left_out: is told of everything else, as a line: what it is, and why it is left out.
        hidden: is given what is :func:`is_hidden`; what lies in such a folder is not looked at.
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
            if is_hidden(entry.name):
                hidden(Path(entry.path))
                continue
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
