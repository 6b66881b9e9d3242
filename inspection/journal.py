"""The journal: what the line did, as JSON lines that Pub/Sub itself writes to a bucket.

Two subscriptions write it: one on the predictions topic, one on the decisions topic. A file's name is
`<kind>/<YYYY>/<MM>/<DD>/<hh>_<mm>_<ss>Z_<unique>.jsonl`, by the time in UTC at which Pub/Sub began it
(https://cloud.google.com/pubsub/docs/create-cloudstorage-subscription#file_names). A file appears once it is complete
and never changes. Pub/Sub delivers at least once, so that a line can stand in more than one file.
"""

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, Self

PREDICTIONS: Final = "predictions/"
DECISIONS: Final = "decisions/"
SUFFIX: Final = ".jsonl"
DATETIME_FORMAT: Final = "YYYY/MM/DD/hh_mm_ssZ"
"""`filename_datetime_format` of the subscriptions: a folder for each day."""

LATEST: Final = timedelta(hours=6)
"""How long after its own time a line can be written: the attempts of a failing delivery last less than six hours."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """The answer of the model for one image."""

    image: str
    """The image's name in the inbound bucket."""
    generation: int
    bucket: str
    at: datetime
    model: str
    label: str | None
    """None for a rejected image."""
    score: float | None
    error: str | None = None

    @property
    def source(self) -> str:
        """`gs://bucket/name#generation`: the image as the camera delivered it."""
        return f"gs://{self.bucket}/{self.image}#{self.generation}"


DECIDED, UNDONE, AUDITED, CORRECTED = "decided", "undone", "audited", "corrected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision of a person: on an unclear image, on an audited one, or the correction of a wrong one.

    What the review app publishes on the decisions topic, as JSON.
    """

    kind: str
    """`decided` in the queue, `undone`, `audited` (blind, on a sure answer), or `corrected` (on the line page)."""
    source: str
    """`gs://bucket/name#generation`: the image as the camera delivered it."""
    name: str
    """The object's name in the prediction bucket after the decision."""
    decision: str
    """The label; of an undone decision the one that no longer counts."""
    by: str
    """The reviewer's e-mail address."""
    at: datetime
    label: str | None = None
    """The model's."""
    score: float | None = None
    folder: str | None = None
    """Where the image was before."""

    def to_json(self) -> bytes:
        """The data of the Pub/Sub message."""
        fields = {key: value for key, value in asdict(self).items() if value is not None}
        return json.dumps(fields | {"at": self.at.isoformat()}, ensure_ascii=False).encode()

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read one line.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or has another type.
        """
        kind, source, name, decision, by = (fields[key] for key in ("kind", "source", "name", "decision", "by"))
        label, folder, score = (fields.get(key) for key in ("label", "folder", "score"))
        if any(not isinstance(text, str) for text in (kind, source, name, decision, by, label or "", folder or "")):
            raise TypeError
        return cls(
            kind=kind,
            source=source,
            name=name,
            decision=decision,
            by=by,
            at=_time(fields["at"]),
            label=label,
            score=float(score) if score is not None else None,
            folder=folder,
        )


Entry = Predicted | Decided


class Seen:
    """The entries that were read already, so that each counts once. It keeps them on disk: memory stays flat."""

    def __init__(self) -> None:
        # An unnamed database is a temporary file that SQLite removes (https://www.sqlite.org/inmemorydb.html).
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA cache_size = -16000")
        self._database.execute("CREATE TABLE seen (key INTEGER PRIMARY KEY)")
        self._database.execute("BEGIN")
        self._insert = self._database.cursor().execute

    def is_new(self, key: int) -> bool:
        """Whether this key of 63 bits was not given before."""
        return self._insert("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount == 1

    def close(self) -> None:
        """Remove the file."""
        self._database.close()


@dataclass(slots=True)
class Reading:
    """What was read so far."""

    lines: int = 0
    repeated: int = 0
    """Lines of entries that were counted already."""
    unreadable: int = 0
    """Lines that are cut off or are not an entry."""


def read(lines: Iterable[bytes], seen: Seen, reading: Reading | None = None) -> Iterator[Entry]:
    """The entries of a journal's lines, each once, in the order of the lines.

    Files may come in any order. A line that is cut off or is not an entry is counted and left out.
    """
    reading = reading if reading is not None else Reading()
    for line in lines:
        if not line.strip():
            continue
        reading.lines += 1
        try:
            fields = json.loads(line)
            entry, key = _decided(fields) if "kind" in fields else _predicted(fields)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            reading.unreadable += 1
            continue
        if seen.is_new(key):
            yield entry
        else:
            reading.repeated += 1


def _predicted(fields: Mapping[str, Any]) -> tuple[Predicted, int]:
    image, generation, bucket = fields["image_name"], fields["generation"], fields["bucket_name"]
    label, score, error = fields.get("prediction_label"), fields.get("prediction_score"), fields.get("error")
    if not isinstance(image, str) or not isinstance(bucket, str):
        raise TypeError
    if error is None:
        label, score = fields["prediction_label"], float(fields["prediction_score"])
    number = int(generation)
    entry = Predicted(image, number, bucket, _time(fields["predicted_at"]), fields["model"], label, score, error)
    # Generations are microseconds: neighbours in time are neighbours in the index, which keeps it fast.
    return entry, ((number << 11) | (zlib.crc32(f"{bucket}/{image}".encode()) & 0x7FF)) & _KEY


def _decided(fields: Mapping[str, Any]) -> tuple[Decided, int]:
    entry = Decided.from_fields(fields)
    micros = int(entry.at.timestamp() * 1_000_000)
    return entry, ((micros << 11) | (zlib.crc32(f"{entry.kind} {entry.source} {entry.by}".encode()) & 0x7FF)) & _KEY


_KEY: Final = (1 << 63) - 1


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


# Files


class _Blob(Protocol):
    @property
    def name(self) -> str | None: ...
    def download_as_bytes(self) -> bytes: ...


class Bucket(Protocol):
    """What is needed of google.cloud.storage's Bucket."""

    def list_blobs(self, *, start_offset: str, end_offset: str, fields: str) -> Iterable[_Blob]:
        """The objects whose names lie between these two, in order."""
        ...


def files(bucket: Bucket, kind: str, since: datetime, until: datetime) -> Iterator[_Blob]:
    """The files that can hold entries of `kind` with a time from `since` on and before `until`.

    Args:
        bucket: the journal's.
        kind: :data:`PREDICTIONS` or :data:`DECISIONS`.
        since: with a time zone.
        until: with a time zone.
    """
    # A file can be ten minutes old when it is complete; its name says when it began.
    first, last = kind + _file_time(since - timedelta(minutes=15)), kind + _file_time(until + LATEST)
    for blob in bucket.list_blobs(
        start_offset=first, end_offset=last, fields="items(name,size,generation),nextPageToken"
    ):
        if blob.name is not None and blob.name.endswith(SUFFIX):
            yield blob


def _file_time(at: datetime) -> str:
    earliest = datetime(1970, 1, 1, tzinfo=UTC)
    return f"{max(at.astimezone(UTC), earliest):%Y/%m/%d/%H_%M_%SZ}"


def entries(
    bucket: Bucket,
    since: datetime,
    until: datetime,
    *,
    kinds: Iterable[str] = (PREDICTIONS, DECISIONS),
    reading: Reading | None = None,
    on_file: Callable[[], None] = lambda: None,
) -> Iterator[Entry]:
    """The journal's entries with a time from `since` on and before `until`, each once; predictions before decisions."""
    seen = Seen()
    try:
        for kind in kinds:
            for blob in files(bucket, kind, since, until):
                for entry in read(blob.download_as_bytes().splitlines(), seen, reading):
                    if since <= entry.at < until:
                        yield entry
                on_file()
    finally:
        seen.close()
