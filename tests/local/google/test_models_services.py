"""AutoML Vision's and Vertex AI's answers, as their clients get them."""

import base64
import json
from collections.abc import Callable, Iterator

import grpc
import pytest
import requests
from google.api_core import exceptions
from google.cloud import automl_v1
from google.cloud.automl_v1.services.prediction_service.transports import PredictionServiceGrpcTransport
from starlette.applications import Starlette

from local.demo.samples import DEFECT, OK, samples
from local.google.gate import ApiError, Call, RequestLog
from local.google.http import serve
from local.google.identity import IdentityMiddleware, identity_path
from local.google.models.automl_prediction import prediction_service
from local.google.models.classifier import TrainedModel, train
from local.google.models.registry import ModelRegistry, RegisteredModel
from local.google.models.vertex_prediction import MAX_REQUEST_BYTES, prediction_routes
from local.google.rpc import RunningGrpcServer

MODEL = "projects/factory/locations/us-central1/models/ICN1234567890"
ENDPOINT = "projects/factory/locations/europe-west4/endpoints/42"
CALLER = "predict@factory.iam.gserviceaccount.com"


class ClosableGate(RequestLog):
    """Lets everything pass until it is told how to refuse."""

    refusal: ApiError | None = None

    def __init__(self) -> None:
        super().__init__()
        self.left: list[Call] = []

    def enter(self, call: Call) -> None:
        super().enter(call)
        if self.refusal:
            raise self.refusal

    def leave(self, call: Call) -> None:
        self.left.append(call)


pytestmark = pytest.mark.xdist_group("models")  # one worker trains, once for each file


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return train((sample.jpeg, sample.label) for sample in samples(60, seed=60, difficulty=0.1))


@pytest.fixture(scope="module")
def picture() -> bytes:
    return next(samples(1, seed=61)).jpeg


@pytest.fixture
def registry(trained: TrainedModel) -> ModelRegistry:
    registry = ModelRegistry()
    for name in (MODEL, ENDPOINT):
        registry.register(RegisteredModel(name=name, model=trained, display_name="castings"))
    return registry


@pytest.fixture
def gate() -> ClosableGate:
    return ClosableGate()


@pytest.fixture
def automl(registry: ModelRegistry, gate: ClosableGate) -> Iterator[automl_v1.PredictionServiceClient]:
    with (
        RunningGrpcServer([prediction_service(registry, gate=gate, identity=CALLER)]) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield automl_v1.PredictionServiceClient(transport=PredictionServiceGrpcTransport(channel=channel))


@pytest.fixture
def vertex(registry: ModelRegistry, gate: ClosableGate) -> Iterator[Callable[..., requests.Response]]:
    app = IdentityMiddleware(Starlette(routes=[*prediction_routes(registry, gate=gate)]))
    with serve(app) as server:

        def predict(body: object, endpoint: str = ENDPOINT) -> requests.Response:
            url = f"{server.url}{identity_path(CALLER)}/v1/{endpoint}:predict"
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            return requests.post(url, data=data, headers={"Content-Type": "application/json"}, timeout=30)

        yield predict


def _instance(picture: bytes) -> dict[str, str]:
    return {"content": base64.b64encode(picture).decode(), "mimeType": "image/jpeg"}


def _predict(
    client: automl_v1.PredictionServiceClient, picture: bytes, threshold: str | None = "0.0", name: str = MODEL
) -> list[tuple[str, float]]:
    request = automl_v1.PredictRequest(
        name=name,
        payload=automl_v1.ExamplePayload(image=automl_v1.Image(image_bytes=picture)),
        params={} if threshold is None else {"score_threshold": threshold},
    )
    return [(each.display_name, each.classification.score) for each in client.predict(request, retry=None).payload]


def _error(response: requests.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    assert error["code"] == response.status_code
    return response.status_code, error["status"], error["message"]


def test_automl_gives_every_label_with_its_score_best_first(
    automl: automl_v1.PredictionServiceClient, trained: TrainedModel, picture: bytes
):
    answer = _predict(automl, picture)
    assert [label for label, _ in answer] == list(trained.scores(picture))
    assert dict(answer) == pytest.approx(trained.scores(picture))


def test_automl_leaves_out_what_is_below_the_threshold_and_the_default_is_one_half(
    automl: automl_v1.PredictionServiceClient, trained: TrainedModel, picture: bytes
):
    (best, score), (_, other) = trained.scores(picture).items()
    assert [label for label, _ in _predict(automl, picture, threshold=None)] == [best]
    assert len(_predict(automl, picture, threshold=str(other - 0.001))) == 2
    assert _predict(automl, picture, threshold=str(score + 0.001)) == []


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "high", "nan"])
def test_automl_refuses_a_threshold_that_is_none(
    automl: automl_v1.PredictionServiceClient, picture: bytes, threshold: str
):
    with pytest.raises(exceptions.InvalidArgument, match=f"score_threshold is '{threshold}'"):
        _predict(automl, picture, threshold=threshold)


def test_automl_says_that_there_is_no_such_model(automl: automl_v1.PredictionServiceClient, picture: bytes):
    name = MODEL.replace("ICN1234567890", "ICN404")
    with pytest.raises(exceptions.NotFound, match=f"{name} does not exist"):
        _predict(automl, picture, name=name)


def test_automl_refuses_until_the_model_is_deployed(
    automl: automl_v1.PredictionServiceClient, registry: ModelRegistry, picture: bytes
):
    registry.set_deployed(MODEL, False)
    with pytest.raises(exceptions.FailedPrecondition, match="not deployed"):
        _predict(automl, picture)
    registry.set_deployed(MODEL, True)
    assert _predict(automl, picture)


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", "Required field not set"), (b"no picture", "could not be decoded"), (bytes(30_000_001), "30000001 bytes")],
    ids=["empty", "no picture", "over 30 MB"],
)
def test_automl_refuses_what_is_no_picture_or_too_large(
    automl: automl_v1.PredictionServiceClient, data: bytes, text: str
):
    with pytest.raises(exceptions.InvalidArgument, match=text):
        _predict(automl, data)


def test_the_gate_sees_who_asks_automl_for_what(
    automl: automl_v1.PredictionServiceClient, gate: ClosableGate, picture: bytes
):
    _predict(automl, picture)
    assert gate.calls == [Call(identity=CALLER, method="automl.models.predict", resource=MODEL)]
    assert gate.left == gate.calls


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (403, exceptions.PermissionDenied),
        (429, exceptions.ResourceExhausted),
        (503, exceptions.ServiceUnavailable),
    ],
)
def test_a_closed_gate_is_the_answer_of_automl(
    automl: automl_v1.PredictionServiceClient,
    gate: ClosableGate,
    picture: bytes,
    status: int,
    expected: type[Exception],
):
    gate.refusal = ApiError(status, "whatever", "the gate says no")
    with pytest.raises(expected, match="the gate says no"):
        _predict(automl, picture)


def test_a_port_that_is_taken_is_named():
    with RunningGrpcServer([]) as server:
        port = server.address.rpartition(":")[2]
        with pytest.raises(RuntimeError, match=f"port {port} of 127.0.0.1"):
            RunningGrpcServer([], int(port))


def test_vertex_gives_ids_names_and_confidences_best_first(
    vertex: Callable[..., requests.Response], trained: TrainedModel, picture: bytes
):
    response = vertex({"instances": [_instance(picture)], "parameters": {"confidenceThreshold": 0.0}})
    assert response.status_code == 200
    answer = response.json()
    (prediction,) = answer["predictions"]
    scores = trained.scores(picture)
    assert dict(zip(prediction["displayNames"], prediction["confidences"], strict=True)) == pytest.approx(scores)
    assert prediction["displayNames"] == list(scores)
    assert len(set(prediction["ids"])) == len(scores)
    assert all(each.isdigit() for each in (*prediction["ids"], answer["deployedModelId"]))
    assert answer["modelDisplayName"] == "castings"
    assert answer["model"].startswith("projects/factory/locations/europe-west4/models/")


def test_vertex_answers_each_instance(vertex: Callable[..., requests.Response], trained: TrainedModel):
    pictures = [sample.jpeg for sample in samples(3, seed=62)]
    answer = vertex({"instances": [_instance(each) for each in pictures]}).json()["predictions"]
    assert [each["displayNames"][0] for each in answer] == [next(iter(trained.scores(each))) for each in pictures]


def test_vertex_respects_threshold_and_number_of_predictions(
    vertex: Callable[..., requests.Response], trained: TrainedModel, picture: bytes
):
    def names(**parameters: float) -> list[str]:
        answer = vertex({"instances": [_instance(picture)], "parameters": parameters}).json()
        return answer["predictions"][0]["displayNames"]

    best, score = next(iter(trained.scores(picture).items()))
    assert set(names()) == {OK, DEFECT}
    assert names(maxPredictions=1) == [best]
    assert names(confidenceThreshold=0.5) == [best]
    assert names(confidenceThreshold=min(1.0, score + 0.001)) == []


def test_vertex_refuses_a_request_over_its_limit(vertex: Callable[..., requests.Response]):
    status, word, text = _error(vertex({"instances": [_instance(bytes(MAX_REQUEST_BYTES))]}))
    assert (status, word) == (400, "INVALID_ARGUMENT")
    assert f"exceeds the limit: {MAX_REQUEST_BYTES}" in text


def test_vertex_says_that_there_is_no_such_endpoint(vertex: Callable[..., requests.Response], picture: bytes):
    name = ENDPOINT.replace("/42", "/404")
    status, word, text = _error(vertex({"instances": [_instance(picture)]}, endpoint=name))
    assert (status, word) == (404, "NOT_FOUND")
    assert name in text


def test_vertex_refuses_until_a_model_is_deployed(
    vertex: Callable[..., requests.Response], registry: ModelRegistry, picture: bytes
):
    registry.set_deployed(ENDPOINT, False)
    assert _error(vertex({"instances": [_instance(picture)]}))[:2] == (400, "FAILED_PRECONDITION")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "Invalid JSON"),
        (b"[]", "Invalid JSON"),
        ({}, '"instances" must be a list'),
        ({"instances": []}, '"instances" must be a list'),
        ({"instances": [{}]}, "instances[0].content is missing"),
        ({"instances": [{"content": "not base64!"}]}, "instances[0].content is no picture"),
        ({"instances": [_instance(b"no picture")]}, "instances[0].content is no picture"),
        ({"instances": [_instance(b"x")], "parameters": {"confidenceThreshold": 2}}, "confidenceThreshold is 2;"),
        ({"instances": [_instance(b"x")], "parameters": {"maxPredictions": "all"}}, "maxPredictions is 'all';"),
    ],
)
def test_vertex_names_what_is_wrong_with_a_request(vertex: Callable[..., requests.Response], body: object, text: str):
    status, word, message = _error(vertex(body))
    assert (status, word) == (400, "INVALID_ARGUMENT")
    assert text in message


def test_the_gate_sees_who_asks_vertex_for_what_and_may_refuse(
    vertex: Callable[..., requests.Response], gate: ClosableGate, picture: bytes
):
    assert vertex({"instances": [_instance(picture)]}).status_code == 200
    assert gate.calls == [Call(identity=CALLER, method="aiplatform.endpoints.predict", resource=ENDPOINT)]
    assert gate.left == gate.calls
    gate.refusal = ApiError(429, "rateLimitExceeded", "Quota exceeded")
    assert _error(vertex({"instances": [_instance(picture)]})) == (429, "RESOURCE_EXHAUSTED", "Quota exceeded")


def test_the_registry_lists_replaces_and_forgets(registry: ModelRegistry, trained: TrainedModel):
    assert [each.name for each in registry.models] == [ENDPOINT, MODEL]
    registry.register(RegisteredModel(name=MODEL, model=trained, display_name="newer"))
    found = registry.find(MODEL)
    assert found is not None
    assert found.display_name == "newer"
    registry.remove(MODEL)
    assert registry.find(MODEL) is None
    with pytest.raises(KeyError):
        registry.set_deployed(MODEL, True)
