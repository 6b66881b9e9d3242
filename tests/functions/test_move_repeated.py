"""What a repeated delivery costs, and that it finds the copy of an earlier one wherever that may be."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from inspection.environment import STORAGE_EMULATOR
from inspection.layout import decided_names, names_in, source_uri
from inspection.push import REPEATED
from local.google.gate import ApiError, Call
from tests.functions.predictions import generation_of, predicted
from tests.functions.stage import ANSWER_OF_2048, FUNCTION, Cloud, Function, MoveStarter, Push, answering, start
from tests.support.gate import refuse

Lines = Callable[[], list[dict[str, Any]]]

LABELS = ["ok", "defect", "scratch", "dent", "größe", "hole", "rust", "burr", "other one"]
MOST_REQUESTS = 8
ATTEMPTS = 20
NAMES = [
    "a.jpg",
    "box 1/部品?#%[x]*{a,b}\\.jpg",
    "a",
    ".hidden",
    "folder/",
    "a//b..jpg",
    "-.-",
    "部" * 341,
    "a/" * 506 + "last.jpeg",
    "a/" + "x" * 990 + "/" + "y" * 31,
    "a." + "x" * 600,
]


@pytest.fixture
def move(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Function:
    """With as many labels as a stack may have."""
    environment = {
        "PREDICTION_BUCKET": "prediction",
        "LABELS": json.dumps(LABELS),
        "THRESHOLD": "0.8",
        "THRESHOLDS": "{}",
    }
    return start("move", environment, monkeypatch)


def source_of(announced: Push) -> str:
    attributes = announced["message"]["attributes"]
    return source_uri("inbound", attributes["objectId"], generation_of(announced))


def put(cloud: Cloud, name: str, data: bytes, *, source: str = "") -> None:
    """An object of the prediction bucket: a copy of `source`, or another image."""
    blob = cloud.prediction.blob(name)
    blob.metadata = {"source": source} if source else None
    blob.upload_from_string(data)


def places_of(announced: Push) -> list[str]:
    """Every name under which an earlier delivery, or a person, may have left the image."""
    name, generation = announced["message"]["attributes"]["objectId"], generation_of(announced)
    places: list[str] = []
    for folder in ("unclear", *LABELS, "rejected"):
        places += names_in(folder, name, generation, source_of(announced))
    for queued in places[:3]:
        for label in LABELS:
            places += decided_names(label, queued.removeprefix("unclear/"), generation)
    return places


def again(message: Push) -> Push:
    return {**message, "deliveryAttempt": 2}


def test_a_repeated_delivery_that_is_the_first_to_get_through(cloud: Cloud, move: Function):
    message = predicted(cloud.upload("a.jpg", b"image"))
    cloud.gate.clear()
    assert move.deliver(again(message)).status == 200
    assert cloud.methods() == ["objects.get", "objects.list", "objects.rewrite", "objects.delete"]
    assert cloud.moved() == {"ok/a.jpg": b"image"}
    assert cloud.waiting() == []


def test_a_repeated_delivery_of_what_has_been_moved_is_one_request(cloud: Cloud, move: Function, lines: Lines):
    message = predicted(cloud.upload("a.jpg", b"image"))
    assert move.deliver(message).status == 200
    cloud.gate.clear()
    assert move.deliver(again(message)).status == 200
    assert cloud.methods() == ["objects.get"]
    assert [line["outcome"] for line in lines()] == ["moved", "gone"]


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_found_in_one_listing_wherever_it_is(cloud: Cloud, move: Function, name: str):
    number_of_places = 3 * (len(LABELS) + 2) + 9 * len(LABELS)
    for number in (*random.Random(name).sample(range(number_of_places), 12), number_of_places - 1):
        announced = cloud.upload(name, b"image")
        place = places_of(announced)[number]
        put(cloud, place, b"image", source=source_of(announced))
        cloud.gate.clear()
        assert move.deliver(again(predicted(announced))).status == 200
        assert cloud.methods() == ["objects.get", "objects.list", "objects.delete"], place
        assert list(cloud.moved()) == [place]
        assert cloud.waiting() == []
        cloud.prediction.blob(place).delete()


def test_a_copy_in_the_folder_of_a_label_that_the_stack_no_longer_has_is_found(cloud: Cloud, move: Function):
    announced = cloud.upload("a.jpg", b"image")
    put(cloud, "label of yesterday/a.jpg", b"image", source=source_of(announced))
    assert move.deliver(again(predicted(announced))).status == 200
    assert list(cloud.moved()) == ["label of yesterday/a.jpg"]
    assert cloud.waiting() == []


def test_names_that_others_have_cost_no_request(cloud: Cloud, move: Function):
    announced = cloud.upload("box/a.jpg", b"image")
    first, second, third = names_in("ok", "box/a.jpg", generation_of(announced), source_of(announced))
    put(cloud, first, b"another's")
    put(cloud, second, b"another's")
    cloud.gate.clear()
    assert move.deliver(again(predicted(announced))).status == 200
    assert cloud.methods() == ["objects.get", "objects.list", "objects.rewrite", "objects.delete"]
    assert cloud.moved()[third] == b"image"


def test_names_taken_after_the_look_stay_within_the_most_requests(cloud: Cloud, move: Function):
    announced = cloud.upload("a.jpg", b"image")
    first, second, third = names_in("ok", "a.jpg", generation_of(announced), source_of(announced))
    others = [first, second]

    def another_comes(call: Call) -> None:
        if call.destination_object in others:
            others.remove(call.destination_object)
            put(cloud, call.destination_object, b"another's")

    cloud.gate.before["storage.objects.rewrite"] = another_comes
    cloud.gate.clear()
    assert move.deliver(again(predicted(announced))).status == 200
    assert others == []
    assert len(cloud.methods()) == MOST_REQUESTS
    assert cloud.moved()[third] == b"image"


def test_a_redriven_message_looks_as_well(cloud: Cloud, move: Function):
    announced = cloud.upload("a.jpg", b"image")
    put(cloud, "dent/a.jpg", b"image", source=source_of(announced))
    message = predicted(announced)
    message["message"]["attributes"] = {REPEATED: "true"}
    assert move.deliver(message).status == 200
    assert list(cloud.moved()) == ["dent/a.jpg"]


def test_others_copies_whose_names_are_alike_are_not_taken_for_this_one(cloud: Cloud, move: Function):
    first = cloud.upload("a.jpg", b"first")
    put(cloud, "human_decided/x_a.jpg", b"first", source=source_of(first))
    second = cloud.upload("a.jpg", b"second")
    assert move.deliver(again(predicted(second))).status == 200
    assert cloud.moved() == {"human_decided/x_a.jpg": b"first", "ok/a.jpg": b"second"}


@pytest.mark.parametrize("hinders", ["pages without end", "refused"])
@pytest.mark.parametrize("place", [None, "unclear", "human_decided"])
def test_where_the_listing_does_not_end_each_name_is_asked_for(
    cloud: Cloud, move: Function, hinders: str, place: str | None
):
    announced = cloud.upload("a.jpg", b"image")
    for number in range(8):
        put(cloud, f"a folder before all others/{number}", b"another's")
    places = [name for name in places_of(announced) if place and name.startswith(place)]
    if places:
        put(cloud, places[-1], b"image", source=source_of(announced))
    if hinders == "refused":
        cloud.gate.before["storage.objects.list"] = refuse(400, "invalid")
    else:
        cloud.slowness.names_for_a_page = 1
    fails = random.Random(3)

    def sometimes(call: Call) -> None:
        if call.bucket == "prediction" and fails.random() < 0.05:
            raise ApiError(503, "backendError", "on purpose")

    cloud.gate.before["storage.objects.get"] = sometimes
    cloud.gate.clear()
    assert move.deliver(again(predicted(announced))).status == 200
    assert cloud.methods().count("objects.list") == (1 if hinders == "refused" else 4)
    cloud.gate.reset()
    cloud.slowness.names_for_a_page = None
    mine = [name for name, data in cloud.moved().items() if data == b"image"]
    assert mine == (places[-1:] or ["ok/a.jpg"])
    assert cloud.waiting() == []


def test_a_listing_that_fails_is_tried_again_by_the_next_delivery(cloud: Cloud, move: Function, lines: Lines):
    message = again(predicted(cloud.upload("a.jpg", b"image")))
    for status, answer in ((503, 503), (429, 503), (403, 500)):
        cloud.gate.before["storage.objects.list"] = refuse(status)
        assert move.deliver(message).status == answer
    assert [line["severity"] for line in lines()] == ["WARNING", "WARNING", "ERROR"]
    assert "roles/storage.objectViewer" in lines()[-1]["message"]
    cloud.gate.reset()
    assert cloud.moved() == {}
    assert cloud.waiting() == ["a.jpg"]


def test_a_repeated_delivery_into_a_missing_bucket_says_so(
    cloud: Cloud, start_move: MoveStarter, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    start_move()
    environment = {"PREDICTION_BUCKET": "never-made", "LABELS": '["ok"]', "THRESHOLD": "0.8", "THRESHOLDS": "{}"}
    move = start("move", environment, monkeypatch)
    assert move.deliver(again(predicted(cloud.upload("a.jpg", b"image")))).status == 500
    [line] = lines()
    assert line["severity"] == "ERROR"
    assert "never-made exists" in line["message"]
    assert "stack_trace" not in line


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize(
    "answer",
    [
        ANSWER_OF_2048 + b'\r\n{"kind": "storage#objects"',
        ANSWER_OF_2048 + b"Content-Encoding: gzip\r\n\r\n" + b"x" * 2048,
        ANSWER_OF_2048 + b"\r\n" + b"x" * 2048,
        ANSWER_OF_2048,
        b"",
    ],
    ids=["breaks off", "is not gzip", "is not JSON", "ends in the headers", "is none"],
)
def test_an_answer_that_fails_on_its_way_is_retried(
    cloud: Cloud, start_move: MoveStarter, lines: Lines, monkeypatch: pytest.MonkeyPatch, attempt: int, answer: bytes
):
    message = predicted(cloud.upload("a.jpg", b"image"))
    with answering(answer, stalls=False) as address:
        monkeypatch.setenv(STORAGE_EMULATOR, address)
        assert start_move().deliver(message, attempt=attempt).status == 503
    [line] = lines()
    assert line["severity"] == "WARNING"
    assert "failed and is tried again" in line["message"]
    assert "stack_trace" not in line
    assert cloud.waiting() == ["a.jpg"]


@pytest.mark.timeout(240)
def test_of_a_thousand_images_none_becomes_a_dead_letter_while_a_twentieth_of_all_requests_fails(
    cloud: Cloud, move: Function
):
    fails = random.Random(11)

    def sometimes(call: Call) -> None:
        # Called before and after the call takes effect.
        if call.identity == FUNCTION and fails.random() < 0.025:
            raise ApiError(503, "backendError", "on purpose")

    messages = [predicted(cloud.upload(f"{number}.jpg", b"%d" % number)) for number in range(1000)]
    for method in ("get", "list", "rewrite", "delete"):
        cloud.gate.before[f"storage.objects.{method}"] = sometimes
        cloud.gate.after[f"storage.objects.{method}"] = sometimes
    attempt, most = 1, 0
    while messages and attempt <= ATTEMPTS:
        left: list[Push] = []
        for message in messages:
            cloud.gate.clear()
            if move.deliver(message, attempt=attempt).status != 200:
                left.append(message)
            most = max(most, len(cloud.methods()))
        messages, attempt = left, attempt + 1
    cloud.gate.reset()
    assert messages == []
    assert 2 < attempt < ATTEMPTS / 2
    assert most <= MOST_REQUESTS
    assert {name: int(data) for name, data in cloud.moved().items()} == {f"ok/{n}.jpg": n for n in range(1000)}
    assert cloud.waiting() == []
