"""What predict makes of the answers of a model, and of their absence."""

import threading
from collections.abc import Callable
from math import isnan
from typing import Any

import grpc
import pytest

from inspection.environment import AUTOML_EMULATOR, VERTEX_EMULATOR
from tests.functions.stage import (
    AUTOML_MODEL,
    VERTEX_MODEL,
    Cloud,
    Function,
    Model,
    Topic,
    picture,
    start_predict,
)

Lines = Callable[[], list[dict[str, Any]]]


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
        (AUTOML_EMULATOR, "127.0.0.1:1", AUTOML_MODEL),
        (VERTEX_EMULATOR, "http://127.0.0.1:1", VERTEX_MODEL),
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
