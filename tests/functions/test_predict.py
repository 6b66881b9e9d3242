"""What predict does with an announced image, and what it answers where it can do nothing."""

import gzip
import io
import os
import signal
import sys
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import isnan
from typing import Any

import grpc
import pytest
from PIL import Image

from imaging import bounded
from inspection.message import Prediction
from tests.functions.slow_files import repeated_scans
from tests.functions.stage import (
    ANSWER_OF_2048,
    AUTOML_MODEL,
    VERTEX_MODEL,
    Cloud,
    Function,
    Model,
    Push,
    Topic,
    answering,
    picture,
    push,
    refuse,
    start,
    start_predict,
)
from tests.imaging.bounded_functions import process_id

Lines = Callable[[], list[dict[str, Any]]]


def test_an_image_is_read_classified_and_published(
    cloud: Cloud, model: Model, topic: Topic, each_predict: Function, lines: Lines
):
    jpeg = picture()
    announced = cloud.upload("line 1/part 7.jpg", jpeg, metadata={"camera": "3"})
    cloud.gate.clear()

    assert each_predict.deliver(announced).status == 200

    [message] = topic.messages()
    generation = int(announced["message"]["attributes"]["objectGeneration"])
    assert message["bucket_name"] == "inbound"
    assert message["image_name"] == "line 1/part 7.jpg"
    assert message["generation"] == generation
    assert message["prediction_label"] == "ok"
    assert message["prediction_score"] == pytest.approx(0.95)
    assert message["predictions"] == {"ok": pytest.approx(0.95), "defect": pytest.approx(0.05)}
    assert message["model"] in {AUTOML_MODEL, VERTEX_MODEL}
    assert message["content_type"] == "image/jpeg"
    assert message["metadata"] == {"camera": "3"}
    assert "error" not in message
    assert model.asked == [jpeg]
    # One read; the question to the model and the publishing are the other two of three.
    assert cloud.gate.methods() == ["objects.get"]
    assert cloud.waiting() == ["line 1/part 7.jpg"]
    [line] = lines()
    assert line["severity"] == "INFO"
    assert line["image"] == "line 1/part 7.jpg"
    assert line["generation"] == generation
    assert line["label"] == "ok"
    assert line["score"] == pytest.approx(0.95)
    assert line["model"] == message["model"]
    assert line["outcome"] == "classified"
    assert all(line[f"{step}_ms"] >= 0 for step in ("read", "prepare", "classify", "publish"))


def test_every_label_is_asked_for_however_low_its_score(cloud: Cloud, model: Model, each_predict: Function):
    assert each_predict.deliver(cloud.upload("a.jpg", picture())).status == 200
    assert model.params in (
        [{"score_threshold": "0.0"}],
        [{"confidenceThreshold": 0.0, "maxPredictions": 10}],
    )


def test_the_model_gets_a_jpeg_of_whatever_came(cloud: Cloud, model: Model, predict: Function):
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), (10, 200, 30)).save(buffer, "PNG")
    assert predict.deliver(cloud.upload("a.png", buffer.getvalue(), content_type="image/png")).status == 200
    [asked] = model.asked
    seen = Image.open(io.BytesIO(asked))
    assert (seen.format, seen.size) == ("JPEG", (30, 20))


@pytest.mark.parametrize(
    "name",
    [
        "a/b/c.jpg",
        "with space.jpg",
        "#1?x=1&y=%2F%20.jpg",
        "'quotes'\".jpg",
        "Prüfstück Größe.jpg",
        "検査/部品.jpg",
        "é.jpg",
        "x" * 1020 + ".jpg",
        "..a/./b.jpg",
        "+plus\\back.jpg",
        "no extension",
    ],
)
def test_any_name_is_handled(cloud: Cloud, topic: Topic, predict: Function, move: Function, name: str):
    jpeg = picture()
    assert predict.deliver(cloud.upload(name, jpeg)).status == 200
    [message] = topic.messages()
    assert message["image_name"] == name

    assert move.deliver(push(Prediction.from_json(json_of(message)).to_json())).status == 200
    [(stored, content)] = cloud.moved().items()
    assert content == jpeg
    if len(name) < 1000:
        assert stored == f"ok/{name}"
    else:
        assert len(stored.encode()) <= 1024
        assert stored.endswith(".jpg")
    assert cloud.metadata(stored)["source"] == f"gs://inbound/{name}#{message['generation']}"
    assert cloud.waiting() == []


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


def json_of(message: dict[str, Any]) -> bytes:
    return Prediction(**message).to_json()


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
    assert cloud.gate.methods() == []


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
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
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


@pytest.mark.parametrize(
    ("status", "http"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.INTERNAL, 500),
    ],
)
def test_a_busy_model_is_asked_again_later(
    cloud: Cloud, model: Model, topic: Topic, each_predict: Function, lines: Lines, status: grpc.StatusCode, http: int
):
    model.fail(status, http, "not now")
    announced = cloud.upload("a.jpg", picture())
    assert each_predict.deliver(announced).status == 503
    assert len(model.asked) == 1
    assert topic.messages() == []
    assert cloud.waiting() == ["a.jpg"]
    [line] = lines()
    assert line["severity"] == "WARNING"
    assert line["image"] == "a.jpg"
    assert "not now" in line["message"]
    assert "stack_trace" not in line

    model.grpc_error = model.http_answer = None
    assert each_predict.deliver(announced, attempt=2).status == 200
    assert len(topic.messages()) == 1


def test_a_model_that_does_not_answer_in_time_is_asked_again_later(
    cloud: Cloud, model: Model, topic: Topic, each_predict: Function, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    import classifiers.automl  # pyright: ignore[reportMissingImports]
    import classifiers.vertex  # pyright: ignore[reportMissingImports]

    monkeypatch.setattr(classifiers.automl, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(classifiers.vertex, "TIMEOUT_SECONDS", 0.2)
    given_up = threading.Event()
    model.wait = lambda: given_up.wait(10)
    assert each_predict.deliver(cloud.upload("a.jpg", picture())).status == 503
    given_up.set()
    assert topic.messages() == []
    assert cloud.waiting() == ["a.jpg"]
    assert [line["severity"] for line in lines()] == ["WARNING"]


def test_a_model_out_of_reach_is_asked_again_later(
    cloud: Cloud, model: Model, topic: Topic, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    for variable, value, name in (
        ("AUTOML_EMULATOR_HOST", "127.0.0.1:1", AUTOML_MODEL),
        ("AIPLATFORM_EMULATOR_HOST", "http://127.0.0.1:1", VERTEX_MODEL),
    ):
        monkeypatch.setenv(variable, value)
        predict = start_predict(name, topic, monkeypatch)
        assert predict.deliver(cloud.upload("a.jpg", picture())).status == 503
    assert topic.messages() == []
    assert [line["severity"] for line in lines()] == ["WARNING", "WARNING"]


@pytest.mark.parametrize(
    ("status", "http"),
    [
        (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.PERMISSION_DENIED, 403),
        (grpc.StatusCode.UNAUTHENTICATED, 401),
        (grpc.StatusCode.FAILED_PRECONDITION, 400),
        (grpc.StatusCode.INVALID_ARGUMENT, 400),  # a model of another kind says so of every picture
        (grpc.StatusCode.UNIMPLEMENTED, 501),
    ],
)
def test_a_missing_model_or_permission_goes_to_the_dead_letters_with_what_to_check(
    cloud: Cloud, model: Model, topic: Topic, each_predict: Function, lines: Lines, status: grpc.StatusCode, http: int
):
    model.fail(status, http, "there is no such thing for you")
    assert each_predict.deliver(cloud.upload("a.jpg", picture())).status == 500
    assert topic.messages() == []
    assert cloud.waiting() == ["a.jpg"]
    [line] = lines()
    assert line["severity"] == "ERROR"
    text = line["message"]
    assert line["model"] in text
    assert "there is no such thing for you" in text
    assert "check" in text
    assert "dead letter" in text
    assert ("2024-03-31" in text) == (line["model"] == AUTOML_MODEL)
    assert "stack_trace" not in line


def test_an_answer_without_labels_is_asked_for_again(
    cloud: Cloud, model: Model, topic: Topic, each_predict: Function, lines: Lines
):
    model.scores = {}
    assert each_predict.deliver(cloud.upload("a.jpg", picture())).status == 503
    assert topic.messages() == []
    assert cloud.waiting() == ["a.jpg"]
    [line] = lines()
    assert "without any label" in line["message"]


@pytest.mark.parametrize("score", [float("nan"), 1.5, -0.5])
def test_a_score_that_cannot_be_never_leaves(
    cloud: Cloud, model: Model, topic: Topic, each_predict: Function, lines: Lines, score: float
):
    if each_predict.environment["MODEL_ID"] == VERTEX_MODEL and isnan(score):
        score = 2  # JSON has no NaN
    model.scores = {"ok": score}
    assert each_predict.deliver(cloud.upload("a.jpg", picture())).status == 500
    assert topic.messages() == []
    assert [line["severity"] for line in lines()] == ["ERROR"]


def test_a_score_may_pass_one_by_its_rounding(cloud: Cloud, model: Model, topic: Topic, each_predict: Function):
    model.scores = {"ok": 1.0000001, "defect": -0.0000001}
    assert each_predict.deliver(cloud.upload("a.jpg", picture())).status == 200
    [message] = topic.messages()
    assert message["predictions"] == {"ok": 1.0, "defect": 0.0}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"predictions": []},
        {"predictions": [[0.1, 0.9]]},
        {"predictions": [{"displayNames": ["ok"], "confidences": []}]},
        ["?"],
    ],
)
def test_an_endpoint_of_another_kind_of_model_is_named(
    cloud: Cloud, model: Model, topic: Topic, lines: Lines, monkeypatch: pytest.MonkeyPatch, content: object
):
    predict = start_predict(VERTEX_MODEL, topic, monkeypatch)
    model.http_answer = (200, content)
    assert predict.deliver(cloud.upload("a.jpg", picture())).status == 500
    [line] = lines()
    assert line["severity"] == "ERROR"
    assert "gave no image classification" in line["message"]


def test_an_error_page_that_is_no_json_is_told_as_it_is(
    cloud: Cloud, model: Model, topic: Topic, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    predict = start_predict(VERTEX_MODEL, topic, monkeypatch)
    model.http_answer = (502, "<html>Bad gateway")
    assert predict.deliver(cloud.upload("a.jpg", picture())).status == 503
    [line] = lines()
    assert "Bad gateway" in line["message"]


def test_an_image_deleted_before_its_turn_is_acknowledged(
    cloud: Cloud, model: Model, topic: Topic, predict: Function, lines: Lines
):
    announced = cloud.upload("a.jpg", picture())
    cloud.inbound.blob("a.jpg").delete()
    assert predict.deliver(announced).status == 200
    assert topic.messages() == []
    assert model.asked == []
    [line] = lines()
    assert line["outcome"] == "gone"


def test_of_a_replaced_image_only_the_new_generation_is_classified(
    cloud: Cloud, model: Model, topic: Topic, predict: Function
):
    first, second = picture((200, 0, 0)), picture((0, 0, 200))
    old, new = cloud.upload("a.jpg", first), cloud.upload("a.jpg", second)
    assert predict.deliver(old).status == 200
    assert topic.messages() == []
    assert predict.deliver(new).status == 200
    assert model.asked == [second]
    assert len(topic.messages()) == 1


@pytest.mark.parametrize(
    ("status", "severity", "answer"), [(503, "WARNING", 503), (429, "WARNING", 503), (403, "ERROR", 500)]
)
def test_a_read_that_fails_is_delivered_again(
    cloud: Cloud, topic: Topic, predict: Function, lines: Lines, status: int, severity: str, answer: int
):
    cloud.gate.before["storage.objects.get"] = refuse(status)
    assert predict.deliver(cloud.upload("a.jpg", picture())).status == answer
    assert topic.messages() == []
    [line] = lines()
    assert line["severity"] == severity
    assert "gs://inbound/a.jpg" in line["message"]


def test_a_missing_topic_is_named(
    cloud: Cloud, model: Model, topic: Topic, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    gone = "projects/factory/topics/never-made"
    predict = start("predict", {"MODEL_ID": AUTOML_MODEL, "PREDICTIONS_TOPIC": gone}, monkeypatch)
    assert predict.deliver(cloud.upload("a.jpg", picture())).status == 500
    assert cloud.waiting() == ["a.jpg"]
    [line] = lines()
    assert line["severity"] == "ERROR"
    assert gone in line["message"]


def test_pubsub_out_of_reach_is_tried_again_later(
    cloud: Cloud, model: Model, topic: Topic, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    predict = start_predict(AUTOML_MODEL, topic, monkeypatch)
    assert predict.deliver(cloud.upload("a.jpg", picture())).status == 503
    [line] = lines()
    assert line["severity"] == "WARNING"


@pytest.mark.parametrize(
    "body", [None, 3, "text", {}, [], {"message": {}, "subscription": "s"}, {"message": 3, "subscription": "s"}]
)
def test_what_is_no_push_is_not_acknowledged(predict: Function, lines: Lines, body: object):
    answer = predict.deliver(body)
    assert answer.status in {400, 415, 500}
    [line] = lines()
    assert line["severity"] in {"WARNING", "ERROR"}
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("which", ["predict", "move"])
@pytest.mark.parametrize("body", [b'{"message": "\xff"}', b'"text"', b"[" * 100_000, b'["a"]'])
def test_bytes_that_the_framework_cannot_read_are_refused_in_words(
    request: pytest.FixtureRequest, lines: Lines, body: bytes, which: str
):
    function: Function = request.getfixturevalue(which)
    answer = function.app.test_client().post("/", data=body, content_type="application/json")
    assert answer.status_code == 400
    [line] = lines()
    assert line["severity"] == "WARNING"
    assert "not a Pub/Sub push" in line["message"]
    assert "stack_trace" not in line


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"eventType": "OBJECT_DELETE"}, "OBJECT_DELETE"),
        ({"objectGeneration": "seven"}, "objectGeneration"),
        ({"objectId": ""}, "objectId"),
        ({"bucketId": None}, "bucketId"),
    ],
)
def test_a_malformed_notification_becomes_a_dead_letter_and_is_named(
    cloud: Cloud, topic: Topic, predict: Function, lines: Lines, change: dict[str, Any], named: str
):
    announced = cloud.upload("a.jpg", picture())
    attributes = {**announced["message"]["attributes"], **change}
    broken = {**announced, "message": {**announced["message"], "attributes": attributes}}
    assert predict.deliver(broken).status == 400
    assert topic.messages() == []
    [line] = lines()
    assert line["severity"] == "ERROR"
    assert named in line["message"]


def test_what_nobody_thought_of_is_logged_with_its_stack(
    cloud: Cloud, topic: Topic, predict: Function, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    import main  # pyright: ignore[reportMissingImports]

    def explode(_: bytes) -> bytes:
        raise RuntimeError("never thought of")

    monkeypatch.setattr(main, "prepare", explode)
    assert predict.deliver(cloud.upload("a.jpg", picture())).status == 500
    [line] = lines()
    assert line["severity"] == "ERROR"
    assert line["image"] == "a.jpg"
    assert "never thought of" in line["message"]
    assert "explode" in line["stack_trace"]


def test_several_images_are_in_work_at_once_with_one_client_each(
    cloud: Cloud, model: Model, topic: Topic, each_predict: Function
):
    all_asked = threading.Barrier(4, timeout=10)
    model.wait = all_asked.wait
    announced = [cloud.upload(f"{i}.jpg", picture()) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert [answer.status for answer in pool.map(each_predict.deliver, announced)] == [200] * 4
    assert sorted(message["image_name"] for message in topic.messages()) == [f"{i}.jpg" for i in range(4)]


@pytest.mark.parametrize(
    ("model_id", "topic_name", "named"),
    [
        ("", "projects/factory/topics/t", "MODEL_ID"),
        ("resnet", "projects/factory/topics/t", "MODEL_ID"),
        ("ICN42", "projects/factory/topics/t", "MODEL_ID"),
        (AUTOML_MODEL, "", "PREDICTIONS_TOPIC"),
        (AUTOML_MODEL, "t", "PREDICTIONS_TOPIC"),
    ],
)
def test_a_wrong_environment_ends_the_start_with_what_is_allowed(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, model_id: str, topic_name: str, named: str
):
    with pytest.raises(SystemExit):
        start("predict", {"MODEL_ID": model_id, "PREDICTIONS_TOPIC": topic_name}, monkeypatch)
    [line] = lines()
    assert line["severity"] == "CRITICAL"
    assert named in line["message"]
    assert "projects/" in line["message"]
