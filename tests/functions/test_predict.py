"""What predict does with an announced image, and what it answers where it can do nothing."""

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from inspection.environment import PUBSUB_EMULATOR
from inspection.message import Prediction
from tests.functions.predictions import json_of
from tests.functions.stage import (
    AUTOML_MODEL,
    VERTEX_MODEL,
    Cloud,
    Function,
    Model,
    Topic,
    picture,
    push,
    start,
    start_predict,
)
from tests.support.gate import refuse

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
    assert cloud.methods() == ["objects.get"]
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
    monkeypatch.setenv(PUBSUB_EMULATOR, "127.0.0.1:1")
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
