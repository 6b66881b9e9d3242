"""Where move puts an image, and that it is in exactly one place after any crash and any number of deliveries."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from inspection.environment import STORAGE_EMULATOR
from inspection.layout import MAX_METADATA_BYTES, REVIEW_RESERVE_BYTES, metadata_bytes, names_in, source_uri
from inspection.message import Prediction
from local.google.gate import ApiError, Call
from tests.functions.predictions import MODEL, generation_of, predicted, rejected
from tests.functions.stage import Cloud, Function, MoveStarter, Push, picture, push, start
from tests.support.gate import refuse

Lines = Callable[[], list[dict[str, Any]]]


@pytest.mark.parametrize(
    ("label", "score", "folder"),
    [
        ("ok", 0.8, "ok"),
        ("ok", 0.7999, "unclear"),
        ("defect", 0.9, "defect"),
        ("defect", 0.89999998, "defect"),  # as 0.9 of 32 bits arrives
        ("defect", 0.8999, "unclear"),
        ("never heard of", 1.0, "unclear"),
    ],
)
def test_the_threshold_of_the_label_decides(
    cloud: Cloud, start_move: MoveStarter, lines: Lines, label: str, score: float, folder: str
):
    move = start_move(threshold=0.8, thresholds={"defect": 0.9})
    jpeg = picture()
    announced = cloud.upload("line 1/part 7.jpg", jpeg)
    cloud.gate.clear()

    assert move.deliver(predicted(announced, label, score)).status == 200

    assert cloud.methods() == ["objects.rewrite", "objects.delete"]
    assert cloud.moved() == {f"{folder}/line 1/part 7.jpg": jpeg}
    assert cloud.waiting() == []
    assert cloud.metadata(f"{folder}/line 1/part 7.jpg") == {
        "prediction-label": label,
        "prediction-score": str(score),
        "model": MODEL,
        "source": f"gs://inbound/line 1/part 7.jpg#{generation_of(announced)}",
    }
    [line] = lines()
    assert line["severity"] == "INFO"
    assert line["image"] == "line 1/part 7.jpg"
    assert line["generation"] == generation_of(announced)
    assert (line["label"], line["score"], line["folder"], line["model"]) == (label, score, folder, MODEL)
    assert line["outcome"] == "moved"
    assert line["rewrite_ms"] >= 0
    assert line["delete_ms"] >= 0


def test_what_no_model_could_take_is_rejected_with_the_reason(cloud: Cloud, move: Function):
    announced = cloud.upload("a.jpg", b"?")
    assert move.deliver(rejected(announced, "the file is not a picture")).status == 200
    assert cloud.moved() == {"rejected/a.jpg": b"?"}
    assert cloud.metadata("rejected/a.jpg") == {
        "error": "the file is not a picture",
        "model": MODEL,
        "source": f"gs://inbound/a.jpg#{generation_of(announced)}",
    }


def test_the_cameras_metadata_is_kept_but_never_passes_for_ours(cloud: Cloud, move: Function):
    announced = cloud.upload("a.jpg", picture())
    camera = {
        "camera": "3",
        "Größe": "黒",
        "prediction-label": "mine",
        "error": "none",
        "decided-by": "me",
        "claimed-until": "9999",
        "source": "",
    }
    assert move.deliver(predicted(announced, metadata=camera)).status == 200
    stored = cloud.metadata("ok/a.jpg")
    assert stored["camera"] == "3"
    assert stored["Größe"] == "黒"
    assert stored["prediction-label"] == "ok"
    assert stored["source"].startswith("gs://inbound/")
    assert "error" not in stored
    assert "decided-by" not in stored
    assert "claimed-until" not in stored


def test_metadata_leaves_room_for_a_decision(cloud: Cloud, move: Function, lines: Lines):
    announced = cloud.upload("a.jpg", picture())
    camera = {"notes": "x" * 8100, "camera": "3"}
    assert move.deliver(predicted(announced, metadata=camera)).status == 200
    stored = cloud.metadata("ok/a.jpg")
    assert "notes" not in stored
    assert stored["camera"] == "3"
    [line] = lines()
    assert line["metadata_left_out"] == ["notes"]


# The sizes around the last that fits, for the shortest name and the longest.
@pytest.mark.parametrize("name", ["a", "ä" * 510 + ".jpg"])
@pytest.mark.parametrize("too_many", [0, 1])
def test_the_camera_s_metadata_fills_what_a_decision_does_not_need(
    cloud: Cloud, move: Function, name: str, too_many: int
):
    announced = cloud.upload(name, picture())
    ours = {
        "prediction-label": "ok",
        "prediction-score": "0.5",
        "model": MODEL,
        "source": source_uri("inbound", name, generation_of(announced)),
    }
    room = MAX_METADATA_BYTES - REVIEW_RESERVE_BYTES - sum(map(metadata_bytes, ours.items()))
    camera = {"notes": "x" * (room - len("notes") + too_many)}
    assert move.deliver(predicted(announced, score=0.5, metadata=camera)).status == 200
    [filed] = cloud.moved()
    assert cloud.metadata(filed) == (ours if too_many else ours | camera)


def test_a_reason_of_any_length_is_filed(cloud: Cloud, move: Function):
    announced = cloud.upload("a.jpg", b"?")
    assert move.deliver(rejected(announced, "ä" * 9000)).status == 200
    assert cloud.metadata("rejected/a.jpg")["error"] == "ä" * 512


@pytest.mark.parametrize(
    ("name", "announced_type", "stored_type"),
    [
        ("a.jpg", "image/x-camera", "image/x-camera"),
        ("a.png", None, "image/png"),
        ("a", None, "application/octet-stream"),
    ],
)
def test_the_content_type_is_kept_or_guessed(
    cloud: Cloud, move: Function, name: str, announced_type: str | None, stored_type: str
):
    announced = cloud.upload(name, picture())
    assert move.deliver(predicted(announced, content_type=announced_type)).status == 200
    stored = cloud.prediction.get_blob(f"ok/{name}")
    assert stored is not None
    assert stored.content_type == stored_type


def test_a_name_that_another_image_has_gives_way_to_a_new_one(cloud: Cloud, move: Function):
    pictures = [picture((shade, 0, 0)) for shade in (10, 120, 240)]
    names: list[str] = []
    for content in pictures:
        announced = cloud.upload("box/a.jpg", content)
        assert move.deliver(predicted(announced)).status == 200
        names.append(f"ok/box/a-{generation_of(announced)}.jpg")
    names[0] = "ok/box/a.jpg"
    assert cloud.moved() == dict(zip(names, pictures, strict=True))
    assert cloud.waiting() == []


def test_a_taken_name_that_is_answered_as_a_missing_permission_to_overwrite_is_a_taken_name(
    cloud: Cloud, move: Function
):
    cloud.prediction.blob("ok/a.jpg").upload_from_string(b"another's")

    def not_to_overwrite(call: Call) -> None:
        if call.destination_object == "ok/a.jpg":
            raise ApiError(403, "forbidden", "no storage.objects.delete")

    cloud.gate.before["storage.objects.rewrite"] = not_to_overwrite
    announced = cloud.upload("a.jpg", b"mine")
    assert move.deliver(predicted(announced)).status == 200
    assert cloud.moved() == {"ok/a.jpg": b"another's", f"ok/a-{generation_of(announced)}.jpg": b"mine"}


def test_even_where_the_new_name_is_taken_nothing_is_overwritten(cloud: Cloud, move: Function):
    announced = cloud.upload("a.jpg", b"mine")
    others = ["ok/a.jpg", f"ok/a-{generation_of(announced)}.jpg"]
    for name in others:
        cloud.prediction.blob(name).upload_from_string(b"another's")
    assert move.deliver(predicted(announced)).status == 200
    moved = cloud.moved()
    assert [moved.pop(name) for name in others] == [b"another's"] * 2
    [(last, content)] = moved.items()
    assert content == b"mine"
    assert last.startswith(f"ok/a-{generation_of(announced)}-")
    assert last.endswith(".jpg")

    again = cloud.upload("b.jpg", b"mine")
    source = source_uri("inbound", "b.jpg", generation_of(again))
    for name in names_in("ok", "b.jpg", generation_of(again), source):
        cloud.prediction.blob(name).upload_from_string(b"another's")
    assert move.deliver(predicted(again)).status == 503
    assert cloud.waiting() == ["b.jpg"]


def test_an_image_deleted_before_its_turn_is_acknowledged(cloud: Cloud, move: Function, lines: Lines):
    announced = cloud.upload("a.jpg", picture())
    cloud.inbound.blob("a.jpg").delete()
    assert move.deliver(predicted(announced)).status == 200
    assert cloud.moved() == {}
    assert [line["outcome"] for line in lines()] == ["gone"]


def test_of_a_replaced_image_only_the_new_generation_is_moved(cloud: Cloud, move: Function):
    old, new = cloud.upload("a.jpg", b"old"), cloud.upload("a.jpg", b"new")
    assert move.deliver(predicted(old, "defect")).status == 200
    assert cloud.moved() == {}
    assert cloud.waiting() == ["a.jpg"]
    assert move.deliver(predicted(new)).status == 200
    assert cloud.moved() == {"ok/a.jpg": b"new"}
    assert cloud.waiting() == []


def test_an_image_replaced_between_copy_and_delete_keeps_its_successor(cloud: Cloud, move: Function):
    old = cloud.upload("a.jpg", b"old")
    successors: list[Push] = []

    def upload_again(_: Call) -> None:
        if not successors:
            successors.append(cloud.upload("a.jpg", b"new"))

    cloud.gate.after["storage.objects.rewrite"] = upload_again
    assert move.deliver(predicted(old)).status == 200
    assert cloud.moved() == {"ok/a.jpg": b"old"}
    assert cloud.waiting() == ["a.jpg"]
    [new] = successors
    assert move.deliver(predicted(new)).status == 200
    assert cloud.moved() == {"ok/a.jpg": b"old", f"ok/a-{generation_of(new)}.jpg": b"new"}


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_second_delivery_changes_nothing(cloud: Cloud, move: Function, lines: Lines, attempt: int):
    message = predicted(cloud.upload("a.jpg", b"image"))
    assert move.deliver(message).status == 200
    assert move.deliver(message, attempt=attempt).status == 200
    assert cloud.moved() == {"ok/a.jpg": b"image"}
    assert next(line["outcome"] for line in lines()) == "moved"


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("label", ["ok", "defect", None])
def test_a_crash_between_copy_and_delete_is_finished_by_the_next_delivery(
    cloud: Cloud, move: Function, lines: Lines, attempt: int, label: str | None
):
    announced = cloud.upload("a.jpg", b"image")
    message = predicted(announced, label) if label else rejected(announced, "no picture")
    cloud.gate.before["storage.objects.delete"] = refuse(503)
    assert move.deliver(message).status == 503
    assert cloud.waiting() == ["a.jpg"]
    del cloud.gate.before["storage.objects.delete"]

    assert move.deliver(message, attempt=attempt).status == 200
    assert cloud.moved() == {f"{label or 'rejected'}/a.jpg": b"image"}
    assert cloud.waiting() == []
    assert [line["severity"] for line in lines()] == ["WARNING", "INFO"]


def test_a_copy_whose_answer_was_lost_is_found_by_the_next_delivery(cloud: Cloud, move: Function):
    message = predicted(cloud.upload("a.jpg", b"image"))
    cloud.gate.after["storage.objects.rewrite"] = refuse(503)
    assert move.deliver(message).status == 503
    del cloud.gate.after["storage.objects.rewrite"]
    assert move.deliver(message, attempt=2).status == 200
    assert cloud.moved() == {"ok/a.jpg": b"image"}
    assert cloud.waiting() == []


@pytest.mark.parametrize(("before", "after", "where"), [(0.5, 0.99, "ok"), (0.99, 0.5, "unclear")])
def test_thresholds_changed_after_a_crash_leave_the_copy_where_it_is(
    cloud: Cloud, start_move: MoveStarter, before: float, after: float, where: str
):
    message = predicted(cloud.upload("a.jpg", b"image"), "ok", 0.8)
    cloud.gate.before["storage.objects.delete"] = refuse(503)
    assert start_move(threshold=before).deliver(message).status == 503
    del cloud.gate.before["storage.objects.delete"]

    assert start_move(threshold=after).deliver(message, attempt=2).status == 200
    assert cloud.moved() == {f"{where}/a.jpg": b"image"}
    assert cloud.waiting() == []


def test_a_name_freed_after_a_crash_does_not_make_a_second_copy(cloud: Cloud, move: Function):
    cloud.prediction.blob("ok/a.jpg").upload_from_string(b"another's")
    announced = cloud.upload("a.jpg", b"image")
    cloud.gate.before["storage.objects.delete"] = refuse(503)
    assert move.deliver(predicted(announced)).status == 503
    del cloud.gate.before["storage.objects.delete"]
    cloud.prediction.blob("ok/a.jpg").delete()

    assert move.deliver(predicted(announced), attempt=2).status == 200
    assert cloud.moved() == {f"ok/a-{generation_of(announced)}.jpg": b"image"}
    assert cloud.waiting() == []


def test_an_image_decided_after_a_crash_is_not_asked_about_again(cloud: Cloud, move: Function):
    message = predicted(cloud.upload("box/a.jpg", b"image"), "ok", 0.5)
    cloud.gate.before["storage.objects.delete"] = refuse(503)
    assert move.deliver(message).status == 503
    del cloud.gate.before["storage.objects.delete"]
    unclear = cloud.prediction.get_blob("unclear/box/a.jpg")
    assert unclear is not None
    cloud.prediction.move_blob(unclear, "human_decided/box/defect_a.jpg", if_generation_match=0)

    assert move.deliver(message, attempt=2).status == 200
    assert cloud.moved() == {"human_decided/box/defect_a.jpg": b"image"}
    assert cloud.waiting() == []


@pytest.mark.parametrize("attempts", [(1, 1), (1, 2)])
def test_two_deliveries_at_the_same_time_make_one_copy(cloud: Cloud, move: Function, attempts: tuple[int, int]):
    message = predicted(cloud.upload("a.jpg", b"image"))
    both_ask = threading.Barrier(2, timeout=10)
    cloud.gate.before["storage.objects.rewrite"] = lambda _: both_ask.wait()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(move.deliver, [{**message, "deliveryAttempt": attempt} for attempt in attempts]))
    assert [answer.status for answer in answers] == [200, 200]
    assert cloud.moved() == {"ok/a.jpg": b"image"}
    assert cloud.waiting() == []


def test_two_images_that_race_for_one_name_both_arrive(cloud: Cloud, move: Function):
    # The same name twice in the inbound bucket is two generations, one after the other; the race is for the name of
    # the second's copy and of an image that is called so from the start.
    first = cloud.upload("a.jpg", b"first")
    assert move.deliver(predicted(first)).status == 200
    second = cloud.upload("a.jpg", b"second")
    third = cloud.upload(f"a-{generation_of(second)}.jpg", b"third")
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(move.deliver, [predicted(second), predicted(third)]))
    assert [answer.status for answer in answers] == [200, 200]
    assert sorted(cloud.moved().values()) == [b"first", b"second", b"third"]
    assert cloud.waiting() == []


def test_a_name_too_long_for_its_folder_is_shortened_and_whole_in_source(cloud: Cloud, move: Function):
    names = ["部" * 330 + f"{i}.jpg" for i in range(2)]
    for i, name in enumerate(names):
        assert move.deliver(predicted(cloud.upload(name, bytes([i])), "ok", 0.1)).status == 200
    stored = cloud.moved()
    assert len(stored) == 2
    for name in stored:
        assert len(name.encode()) <= 1024
        assert name.startswith("unclear/部")
        assert name.endswith(".jpg")
        assert cloud.metadata(name)["source"].partition("#")[0] in {f"gs://inbound/{name}" for name in names}


@pytest.mark.parametrize("method", ["rewrite", "delete"])
@pytest.mark.parametrize(
    ("status", "severity", "answer"), [(503, "WARNING", 503), (429, "WARNING", 503), (403, "ERROR", 500)]
)
def test_a_request_that_fails_is_delivered_again(
    cloud: Cloud, move: Function, lines: Lines, method: str, status: int, severity: str, answer: int
):
    message = predicted(cloud.upload("a.jpg", b"image"))
    cloud.gate.before[f"storage.objects.{method}"] = refuse(status)
    assert move.deliver(message).status == answer
    assert cloud.waiting() == ["a.jpg"]
    [line] = lines()
    assert line["severity"] == severity
    assert line["image"] == "a.jpg"
    assert "inbound/a.jpg" in line["message"]
    assert ("check" in line["message"]) == (severity == "ERROR")
    assert "stack_trace" not in line


def test_cloud_storage_out_of_reach_is_tried_again_later(
    cloud: Cloud, start_move: MoveStarter, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(STORAGE_EMULATOR, "http://127.0.0.1:1")
    assert start_move().deliver(predicted(cloud.upload("a.jpg", b"image"))).status == 503
    assert [line["severity"] for line in lines()] == ["WARNING"]


def test_a_missing_prediction_bucket_is_no_missing_image(
    cloud: Cloud, start_move: MoveStarter, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    start_move()
    environment = {"PREDICTION_BUCKET": "never-made", "LABELS": '["ok"]', "THRESHOLD": "0.8", "THRESHOLDS": "{}"}
    move = start("move", environment, monkeypatch)
    assert move.deliver(predicted(cloud.upload("a.jpg", b"image"))).status == 500
    assert cloud.waiting() == ["a.jpg"]
    [line] = lines()
    assert line["severity"] == "ERROR"
    assert "never-made" in line["message"]


def test_a_large_image_is_copied_in_several_calls(cloud: Cloud, move: Function):
    announced = cloud.upload("a.jpg", b"image")
    cloud.slowness.rewrite_calls = 3
    assert move.deliver(predicted(announced)).status == 200
    assert [call.method for call in cloud.gate.calls].count("storage.objects.rewrite") == 3
    assert cloud.moved() == {"ok/a.jpg": b"image"}
    assert cloud.metadata("ok/a.jpg")["prediction-label"] == "ok"
    assert cloud.waiting() == []


def test_a_malformed_prediction_becomes_a_dead_letter_and_is_named(cloud: Cloud, move: Function, lines: Lines):
    good = json.loads(
        Prediction(
            bucket_name="inbound", image_name="a.jpg", generation=1, model="m", predicted_at="2026-11-21T08:30:00Z",
            prediction_label="ok", prediction_score=0.9, predictions={"ok": 0.9},
        ).to_json()
    )  # fmt: skip
    for body in (b"", b"no json", b"[]", b"\xff\xfe", json.dumps({**good, "prediction_score": 2}).encode()):
        assert move.deliver(push(body)).status == 400
    assert cloud.methods() == []
    assert [line["severity"] for line in lines()] == ["ERROR"] * 5
    assert "prediction_score" in lines()[-1]["message"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"PREDICTION_BUCKET": ""}, "PREDICTION_BUCKET"),
        ({"LABELS": ""}, "LABELS"),
        ({"LABELS": "[]"}, "LABELS"),
        ({"LABELS": '["unclear"]'}, "unclear"),
        ({"LABELS": "[1]"}, "LABELS"),
        ({"THRESHOLD": "sure"}, "THRESHOLD"),
        ({"THRESHOLD": "1.2"}, "1.2"),
        ({"THRESHOLD": "true"}, "THRESHOLD"),
        ({"THRESHOLDS": ""}, "THRESHOLDS"),
        ({"THRESHOLDS": "[]"}, "THRESHOLDS"),
        ({"THRESHOLDS": '{"other": 0.5}'}, "other"),
        ({"THRESHOLDS": '{"ok": "0.5"}'}, "THRESHOLDS.ok"),
    ],
)
def test_a_wrong_environment_ends_the_start_with_what_is_allowed(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], named: str
):
    environment = {"PREDICTION_BUCKET": "prediction", "LABELS": '["ok"]', "THRESHOLD": "0.8", "THRESHOLDS": "{}"}
    with pytest.raises(SystemExit):
        start("move", environment | change, monkeypatch)
    [line] = lines()
    assert line["severity"] == "CRITICAL"
    assert named in line["message"]
    assert "allowed" in line["message"]
