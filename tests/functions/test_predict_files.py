"""What predict makes of files that no model can take, and of downloads that fail."""

import gzip
import io
import os
import signal
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from imaging import bounded
from inspection.environment import STORAGE_EMULATOR
from tests.functions.predictions import json_of
from tests.functions.slow_files import repeated_scans
from tests.functions.stage import (
    ANSWER_OF_2048,
    VERTEX_MODEL,
    Cloud,
    Function,
    Model,
    Push,
    Topic,
    answering,
    picture,
    push,
    start_predict,
)
from tests.imaging.bounded_functions import process_id

Lines = Callable[[], list[dict[str, Any]]]


def test_an_image_that_was_uploaded_compressed_stays_readable(
    cloud: Cloud, model: Model, topic: Topic, predict: Function, move: Function
):
    """As `gcloud storage cp --gzip-local-all` does."""
    jpeg = picture()
    blob = cloud.inbound.blob("a.jpg")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(jpeg), content_type="image/jpeg")
    assert predict.deliver(cloud.announced[-1]).status == 200
    assert model.asked == [jpeg]
    [message] = topic.messages()
    assert move.deliver(push(json_of(message))).status == 200
    moved = cloud.prediction.get_blob("ok/a.jpg")
    assert moved is not None
    assert moved.content_encoding == "gzip"
    assert moved.download_as_bytes() == jpeg


def unusable(cloud: Cloud, topic: Topic, predict: Function, move: Function, announced: Push) -> str:
    """Deliver what no model can take through both functions; the reason beside it in `rejected/`."""
    name = announced["message"]["attributes"]["objectId"]
    original = cloud.inbound.blob(name).download_as_bytes()
    assert predict.deliver(announced).status == 200
    [message] = topic.messages()
    assert "prediction_label" not in message
    assert move.deliver(push(json_of(message))).status == 200
    assert cloud.moved() == {f"rejected/{name}": original}
    assert cloud.waiting() == []
    assert cloud.metadata(f"rejected/{name}")["error"] == message["error"]
    return message["error"]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("notes.jpg", b"these are no pixels", "not a picture of a known format"),
        ("empty.jpg", b"", "empty"),
        ("half.jpg", picture()[:-200], "damaged or incomplete"),
        ("folder/", b"", "folder"),
    ],
)
def test_what_no_model_can_take_is_rejected_with_the_reason(
    cloud: Cloud, model: Model, topic: Topic, predict: Function, move: Function, name: str, data: bytes, reason: str
):
    assert reason in unusable(cloud, topic, predict, move, cloud.upload(name, data))
    assert model.asked == []


def test_a_decompression_bomb_is_rejected(cloud: Cloud, model: Model, topic: Topic, predict: Function, move: Function):
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    assert "too large to decode: over 40,000,000 pixels" in unusable(
        cloud, topic, predict, move, cloud.upload("bomb.png", buffer.getvalue())
    )
    assert model.asked == []


def test_an_image_that_takes_too_long_to_decode_is_rejected_at_its_first_delivery(
    cloud: Cloud, model: Model, topic: Topic, predict: Function, move: Function
):
    reason = unusable(cloud, topic, predict, move, cloud.upload("slow.jpg", repeated_scans(2_000, 40_000)))
    assert reason == "the image takes too long to decode: over 4.2 s of CPU time, the limit for 4.0 megapixels"
    assert model.asked == []


def test_an_image_is_retried_when_the_process_that_decodes_it_was_ended(
    cloud: Cloud, topic: Topic, predict: Function, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    announced = cloud.upload("good.jpg", picture())
    monkeypatch.setattr(bounded, "_idle", [])
    os.kill(int(bounded.run(process_id, b"")), signal.SIGKILL)
    assert predict.deliver(announced).status == 503
    assert topic.messages() == []
    assert "Decoding good.jpg failed and is retried" in lines()[-1]["message"]
    assert predict.deliver(announced).status == 200
    [message] = topic.messages()
    assert message["prediction_label"]


def test_a_file_that_is_too_large_is_rejected_unread(cloud: Cloud, topic: Topic, predict: Function):
    announced = cloud.upload("huge.tif", b"pretend")
    cloud.gate.clear()
    attributes = announced["message"]["attributes"]
    assert predict.deliver(push(b'{"size": "50000001"}', attributes)).status == 200
    [message] = topic.messages()
    assert "too large: 50,000,001 bytes" in message["error"]
    assert cloud.methods() == []


@pytest.mark.parametrize("encoding", ["GZIP", "x-gzip", "Gzip,  identity"])
def test_the_name_of_a_content_encoding_has_no_case(cloud: Cloud, topic: Topic, predict: Function, encoding: str):
    blob = cloud.inbound.blob("part.jpg")
    blob.content_encoding = encoding
    blob.upload_from_string(gzip.compress(picture()), content_type="image/jpeg")
    assert predict.deliver(cloud.announced[-1]).status == 200
    [message] = topic.messages()
    assert message["prediction_label"]


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [("br", "compressed with 'br'"), ("zstd", "compressed with 'zstd'"), ("gzip, gzip", "2 times")],
)
def test_another_content_encoding_is_rejected_by_its_name(
    cloud: Cloud, topic: Topic, predict: Function, encoding: str, reason: str
):
    blob = cloud.inbound.blob("part.jpg")
    blob.content_encoding = encoding
    blob.upload_from_string(picture(), content_type="image/jpeg")
    assert predict.deliver(cloud.announced[-1]).status == 200
    [message] = topic.messages()
    assert reason in message["error"]


@pytest.mark.parametrize(
    ("answer", "stalls"),
    [
        (ANSWER_OF_2048 + b"\r\n" + b"x" * 1024, False),
        (ANSWER_OF_2048 + b"\r\n" + b"x" * 1024, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", False),
        (ANSWER_OF_2048 + b"X-Goog-Hash: crc32c=AAAAAA==,md5=AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + b"x" * 2048, False),
        (ANSWER_OF_2048, False),
        (b"", False),
        (b"", True),
    ],
    ids=[
        "breaks off",
        "stalls",
        "breaks off in a chunk",
        "is corrupted",
        "ends in the headers",
        "is none",
        "never comes",
    ],
)
def test_a_download_that_fails_on_its_way_is_retried(
    cloud: Cloud,
    model: Model,
    topic: Topic,
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    stalls: bool,
):
    announced = cloud.upload("part.jpg", picture())
    with answering(answer, stalls=stalls) as address:
        monkeypatch.setenv(STORAGE_EMULATOR, address)
        predict = start_predict(VERTEX_MODEL, topic, monkeypatch)
        monkeypatch.setitem(sys.modules["main"].__dict__["_ONCE"], "timeout", 0.5)
        assert predict.deliver(announced).status == 503
    [line] = lines()
    assert line["severity"] == "WARNING"
    assert "Reading gs://inbound/part.jpg failed and is tried again" in line["message"]
    assert "stack_trace" not in line
    assert topic.messages() == []
    assert model.asked == []


def test_a_file_that_unpacks_to_more_than_fits_into_memory_is_rejected_in_little_memory(
    cloud: Cloud, topic: Topic, predict: Function
):
    blob = cloud.inbound.blob("bomb.jpg")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(bytes(500_000_000), 1), content_type="image/jpeg")
    tracemalloc.start()
    assert predict.deliver(cloud.announced[-1]).status == 200
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    [message] = topic.messages()
    assert "unpacks to more than 50,000,000 bytes" in message["error"]
    assert peak < 150_000_000


def test_a_file_that_only_says_that_it_is_compressed_is_rejected(cloud: Cloud, topic: Topic, predict: Function):
    blob = cloud.inbound.blob("a.jpg")
    blob.content_encoding = "gzip"
    blob.upload_from_string(picture(), content_type="image/jpeg")
    assert predict.deliver(cloud.announced[-1]).status == 200
    [message] = topic.messages()
    assert "said to be compressed with gzip" in message["error"]
