"""The layout of the prediction bucket: names of objects and keys of their metadata."""

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath

from inspection.labels import HUMAN_DECIDED, MAX_LABEL_LENGTH

MAX_NAME_BYTES = 1024
"""Cloud Storage's limit for an object's name in UTF-8 (https://cloud.google.com/storage/docs/objects#naming)."""

PREDICTION_LABEL = "prediction-label"
PREDICTION_SCORE = "prediction-score"
PREDICTION_HEAT_MAP = "prediction-heat-map"
MODEL = "model"
SOURCE = "source"
ERROR = "error"
DECISION = "decision"
DECIDED_BY = "decided-by"
DECIDED_AT = "decided-at"
_OUR_KEYS = frozenset({MODEL, SOURCE, ERROR, DECISION})
_OUR_KEYS_BEGIN = ("prediction-", "decided-", "claimed-", "skipped-")

MAX_METADATA_BYTES = 8 * 1024
"""Cloud Storage's limit for all custom metadata of an object, keys and values in UTF-8
(https://cloud.google.com/storage/quotas#objects)."""

MAX_E_MAIL_BYTES = 254
"""The longest address that mail can be sent to (RFC 5321, 4.5.3.1.3, without the angle brackets)."""

_TIME = len("2026-11-26T08:30:00.123456+00:00")
_GENERATION = len(str(2**63 - 1))
_PAGE = 64
_NUMBER = len(str(2**53))
_LABEL = MAX_LABEL_LENGTH * len("\U0001d7d8".encode())

REVIEW_METADATA: Mapping[str, int] = {
    "claimed-by": MAX_E_MAIL_BYTES,
    "claimed-on": _PAGE,
    "claimed-until": _TIME,
    "skipped-at": _TIME,
    DECISION: _LABEL,
    DECIDED_BY: MAX_E_MAIL_BYTES,
    DECIDED_AT: _TIME,
    "decided-on": _PAGE + len("/") + _NUMBER,
    "decided-from": MAX_NAME_BYTES + len("#") + _GENERATION,
}
"""Every key that the review app writes, with the most bytes that its value can have.

All of them are there at once where a decision is recorded on an image that was skipped before. A test drives the app
with the longest of everything and compares.
"""

REVIEW_RESERVE_BYTES = sum(len(key) + value for key, value in REVIEW_METADATA.items())
"""The room that an object's metadata must have left when it is filed, so that it can be claimed, decided and undone."""

_MAX_BYTES_OF_GLOB_NAME = 256
"""Of a name in a glob. A name up to this is shortened in no folder: labels have 256 bytes at most, marks 76."""

_PATTERN_CHARACTERS = str.maketrans(dict.fromkeys("\\*?[]{},", "?"))

_HASH_LENGTH = 16
_MAX_EXTENSION_BYTES = 16


def metadata_bytes(entry: tuple[str, str]) -> int:
    """What an entry of custom metadata counts against :data:`MAX_METADATA_BYTES`."""
    return sum(len(text.encode()) for text in entry)


def is_our_key(key: str) -> bool:
    """Whether metadata of this name is the system's to write: of a prediction, a decision or a review.

    A camera's own of such a name is not taken over; it would pass for ours when a picture that has been through is
    sent again.
    """
    return key in _OUR_KEYS or key.startswith(_OUR_KEYS_BEGIN)


def source_uri(bucket: str, name: str, generation: int) -> str:
    """`gs://bucket/name#generation`: the image as the camera delivered it, whatever it is called now."""
    return f"gs://{bucket}/{name}#{generation}"


def folder_name(folder: str, name: str) -> str:
    """`<folder>/<name>`, shortened if it passes Cloud Storage's limit."""
    return _fit(f"{folder}/", name)


def renamed(name: str, generation: int) -> str:
    """`<stem>-<generation><ext>`: the name for an image whose own name another image has."""
    return _marked(name, str(generation))


def names_in(folder: str, name: str, generation: int, source: str) -> tuple[str, ...]:
    """The names that an image may have in a folder, the first choice first. No two images share the last two."""
    return tuple(folder_name(folder, choice) for choice in _choices(name, generation, source))


def decided_name(label: str, name: str) -> str:
    """`human_decided/<folders of name>/<label>_<last part of name>`."""
    head, last = _split(name)
    return _fit(f"{HUMAN_DECIDED}/", f"{head}{label}_{last}")


def decided_names(label: str, name: str, generation: int) -> tuple[str, ...]:
    """The names that a picture of the queue may have once it is decided, the first choice first. No two share the last.

    Args:
        label: the decision.
        name: the object's in the queue, without the queue's folder.
        generation: of its source, by which whoever knows the source finds it again.
    """
    return tuple(decided_name(label, choice) for choice in _choices(name, generation, f"{name}#{generation}"))


def glob_of_copies(name: str, generation: int) -> str:
    """A `matchGlob` of every name that an image may have by now: in any folder, renamed, shortened or decided.

    It does not depend on the labels, so that it also finds the folder of a label that the stack had yesterday. Others'
    names may match it as well: whose copy an object is stands in its :data:`SOURCE`.
    https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
    """
    head, last = _split(name)
    stem, extension = _split_extension(last)
    if len(name.encode()) <= _MAX_BYTES_OF_GLOB_NAME:
        # A final dot begins an extension as soon as a mark follows it, and the next mark then comes before it.
        marked = f"{_literal(stem)}-{generation}*{_literal(extension)}"
        if not extension:
            marked = f"{_literal(stem.rstrip('.'))}*-{generation}*"
        lasts = (_literal(last), marked)
    else:
        # Where it is shortened, or its mark comes, depends on the folder; it begins alike everywhere.
        beginning = (head + stem).encode()[:_MAX_BYTES_OF_GLOB_NAME].decode(errors="ignore")
        head, start = _split(beginning)
        lasts = (f"{_literal(start)}**",)
    head = _literal(head)
    # The label of a decision stands before the last part of the name.
    return "{" + ",".join(f"*/{head}{last},{HUMAN_DECIDED}/{head}*_{last}" for last in lasts) + "}"


def _literal(text: str) -> str:
    """The text in a glob, any character that means something there being any one."""
    return text.translate(_PATTERN_CHARACTERS)


def _choices(name: str, generation: int, unique: str) -> tuple[str, str, str]:
    return name, renamed(name, generation), _marked(name, f"{generation}-{_hash(unique)}")


def _marked(name: str, mark: str) -> str:
    head, last = _split(name)
    stem, extension = _split_extension(last)
    return f"{head}{stem}-{mark}{extension}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def _split(name: str) -> tuple[str, str]:
    head, slash, last = name.rpartition("/")
    return head + slash, last


def _split_extension(last: str) -> tuple[str, str]:
    extension = PurePosixPath(last).suffix if last not in {".", ".."} else ""
    return last[: len(last) - len(extension)], extension


def _fit(prefix: str, name: str) -> str:
    room = MAX_NAME_BYTES - len(prefix.encode())
    encoded = name.encode()
    if len(encoded) <= room:
        return prefix + name
    # The end of the name is replaced by a hash of the whole: two long names stay two. The whole name stands in
    # the object's `source`.
    _, extension = _split_extension(_split(name)[1])
    if len(extension.encode()) > _MAX_EXTENSION_BYTES:
        extension = ""
    tail = f"~{_hash(name)}{extension}"
    kept = encoded[: room - len(tail.encode())].decode(errors="ignore")
    return prefix + kept + tail
