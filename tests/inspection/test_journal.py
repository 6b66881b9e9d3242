"""Reading the journal: each entry once, whatever Pub/Sub wrote."""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from inspection import journal
from inspection.journal import DECISIONS, PREDICTIONS, Decided, Predicted, Reading, Seen, entries, read
from inspection.message import Prediction

AT = datetime(2026, 11, 26, 8, 30, tzinfo=UTC)


def prediction(number: int, *, at: datetime = AT, error: str | None = None) -> bytes:
    return Prediction(
        bucket_name="inbound",
        image_name=f"part-{number}.jpg",
        generation=1_795_675_219_000_000 + number,
        model="ICN1",
        predicted_at=at.isoformat(),
        error=error,
        prediction_label=None if error else "ok",
        prediction_score=None if error else 0.75,
        predictions={} if error else {"ok": 0.75},
    ).to_json()


def decision(number: int) -> Decided:
    return Decided(
        kind=journal.DECIDED,
        source=f"gs://inbound/part-{number}.jpg#{number}",
        name=f"human_decided/ok_part-{number}.jpg",
        decision="ok",
        by="anna@example.com",
        at=AT,
    )


def read_all(lines: Iterable[bytes]) -> tuple[list[journal.Entry], Reading]:
    reading = Reading()
    return list(read(lines, Seen(), reading)), reading


def test_a_prediction_message_is_an_entry():
    ((entry,), _) = read_all([prediction(7)])
    assert entry == Predicted("part-7.jpg", 1_795_675_219_000_007, "inbound", AT, "ICN1", "ok", 0.75)
    assert isinstance(entry, Predicted)
    assert entry.source == "gs://inbound/part-7.jpg#1795675219000007"


def test_a_rejected_image_is_an_entry_with_its_reason():
    ((entry,), _) = read_all([prediction(7, error="the image is damaged")])
    assert isinstance(entry, Predicted)
    assert (entry.label, entry.score, entry.error) == (None, None, "the image is damaged")


def test_a_decision_is_read_as_it_was_published():
    published = replace(decision(3), label="defect", score=0.5, folder="unclear")
    ((entry,), _) = read_all([published.to_json()])
    assert entry == published


def test_repeated_lines_count_once_in_any_order():
    lines = [prediction(number) for number in range(500)] * 2 + [decision(number).to_json() for number in range(50)] * 3
    random.Random(1).shuffle(lines)
    found, reading = read_all(lines)
    assert len(found) == 550
    assert (reading.lines, reading.repeated, reading.unreadable) == (1150, 600, 0)


def test_two_decisions_on_one_image_are_two():
    later = replace(decision(1), at=AT + timedelta(seconds=1), kind=journal.UNDONE)
    found, _ = read_all([decision(1).to_json(), later.to_json(), decision(2).to_json()])
    assert len(found) == 3


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"{}",
        b'{"kind": "decided"}',
        prediction(1)[:-20],
        json.dumps(json.loads(prediction(1)) | {"predicted_at": "yesterday"}).encode(),
        json.dumps(json.loads(prediction(1)) | {"generation": "many"}).encode(),
        json.dumps(json.loads(prediction(1)) | {"prediction_score": None}).encode(),
        json.dumps(json.loads(decision(1).to_json()) | {"by": 3}).encode(),
    ],
)
def test_a_line_that_is_not_an_entry_is_counted_and_left_out(line: bytes):
    found, reading = read_all([line, b"", prediction(2)])
    assert [entry.image for entry in found if isinstance(entry, Predicted)] == ["part-2.jpg"]
    assert (reading.lines, reading.unreadable) == (2, 1)


@dataclass
class Blob:
    name: str
    data: bytes

    def download_as_bytes(self) -> bytes:
        return self.data


class Bucket:
    def __init__(self, *blobs: Blob) -> None:
        self.blobs = sorted(blobs, key=lambda blob: blob.name)

    def list_blobs(self, *, start_offset: str, end_offset: str, fields: str) -> list[Blob]:  # noqa: ARG002
        return [blob for blob in self.blobs if start_offset <= blob.name < end_offset]


def file(kind: str, at: datetime, *lines: bytes) -> Blob:
    return Blob(f"{kind}{at:%Y/%m/%d/%H_%M_%SZ}_4f2a{journal.SUFFIX}", b"\n".join(lines) + b"\n")


def test_entries_are_those_of_the_time_whenever_their_file_began():
    bucket = Bucket(
        file(PREDICTIONS, AT - timedelta(days=1), prediction(1, at=AT - timedelta(days=1))),
        file(PREDICTIONS, AT - timedelta(minutes=9), prediction(2), prediction(3, at=AT - timedelta(seconds=1))),
        # Delivered late, after failing for five hours, and once before.
        file(PREDICTIONS, AT + timedelta(hours=5), prediction(4), prediction(2)),
        file(DECISIONS, AT, decision(2).to_json()),
        Blob(f"{PREDICTIONS}2026/11/26/08_30_00Z_notes.txt", b"not the journal's"),
    )
    found = list(entries(bucket, AT, AT + timedelta(minutes=1)))
    assert [entry.image for entry in found if isinstance(entry, Predicted)] == ["part-2.jpg", "part-4.jpg"]
    assert [entry for entry in found if isinstance(entry, Decided)] == [decision(2)]
