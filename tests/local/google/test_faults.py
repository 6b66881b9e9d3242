"""Failures on purpose, as clients see them, and what the local cloud does about them."""

import json
import os
import threading
import time
from collections.abc import Generator
from pathlib import Path

import grpc
import pytest
import requests
from google.api_core.exceptions import GoogleAPICallError, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.types import (
    DeadLetterPolicy,
    PublishRequest,
    PublishResponse,
    PubsubMessage,
    PushConfig,
    Subscription,
    Topic,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.deploy.processes import Guarded
from local.google.faults import FaultyGate, Kind, NoFaults, Once, Randomly, When
from local.google.front import Front
from local.google.gate import Call, RequestLog
from local.google.http import serve
from local.google.identity import IdentityMiddleware, as_identity, identity_path
from local.google.permissions import PUBLISH, Binding, Permissions
from local.google.pubsub.service import PubSub
from local.google.rpc import RunningGrpcServer, unary_method
from local.google.storage.server import storage_app
from local.google.storage.store import ObjectStore

CAMERA = "camera@factory.iam.gserviceaccount.com"
PUSHER, AGENT = "push@factory.iam.gserviceaccount.com", "agent@factory.iam.gserviceaccount.com"


@pytest.fixture
def gate() -> FaultyGate:
    return FaultyGate(RequestLog())


@pytest.fixture
def bucket(tmp_path: Path, gate: FaultyGate, monkeypatch: pytest.MonkeyPatch) -> Generator[storage.Bucket]:
    """A bucket in the hands of the camera, whose client never tries twice, nor asks for more than it is told to."""
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    with ObjectStore(tmp_path) as store, serve(storage_app(store, gate=gate)) as server:

        def client(identity: str | None) -> storage.Client:
            options = {"api_endpoint": server.url + identity_path(identity)}
            return storage.Client(project="factory", credentials=AnonymousCredentials(), client_options=options)

        client(None).create_bucket("inbound")
        yield client(CAMERA).bucket("inbound")
        gate.release()


def send(bucket: storage.Bucket) -> None:
    bucket.blob("part.jpg").upload_from_string(
        b"a picture",
        timeout=0.5,  # pyright: ignore[reportArgumentType]  # the client takes fractions
        retry=None,  # pyright: ignore[reportArgumentType]  # and no retry
    )


def is_there(bucket: storage.Bucket, gate: FaultyGate) -> bool:
    gate.plan = NoFaults()
    return bucket.blob("part.jpg").exists()


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("kind", [Kind.TOO_MANY, Kind.INTERNAL, Kind.UNAVAILABLE])
def test_an_error_is_answered_before_or_after_the_effect(
    bucket: storage.Bucket, gate: FaultyGate, kind: Kind, when: When
) -> None:
    gate.plan = Once(kind, when, identity=CAMERA)
    with pytest.raises(GoogleAPICallError) as caught:
        send(bucket)
    assert caught.value.code == int(kind)
    assert is_there(bucket, gate) == (when is When.AFTER)


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize(
    ("kind", "error"),
    [(Kind.RESET, requests.ConnectionError), (Kind.TIME_OUT, requests.Timeout)],
    ids=["reset", "time-out"],
)
def test_an_answer_is_lost_before_or_after_the_effect(
    bucket: storage.Bucket, gate: FaultyGate, kind: Kind, error: type[Exception], when: When
) -> None:
    gate.plan = Once(kind, when, identity=CAMERA)
    with pytest.raises(error):
        send(bucket)
    gate.release()
    assert is_there(bucket, gate) == (when is When.AFTER)


def test_an_end_without_an_answer_is_no_error_of_the_server(
    bucket: storage.Bucket, gate: FaultyGate, caplog: pytest.LogCaptureFixture
) -> None:
    gate.plan = Once(Kind.RESET, When.BEFORE, identity=CAMERA)
    with pytest.raises(requests.ConnectionError):
        send(bucket)
    assert caplog.records == []


def test_a_late_request_takes_effect_after_its_asker_has_given_up(bucket: storage.Bucket, gate: FaultyGate) -> None:
    gate.plan = Once(Kind.LATE, When.BEFORE, identity=CAMERA)
    with pytest.raises(requests.Timeout):
        send(bucket)
    assert not is_there(bucket, gate)

    done = threading.Event()
    gate.leave = lambda _: done.set()  # type: ignore[method-assign]
    gate.release()
    assert done.wait(10)
    assert is_there(bucket, gate)


def test_the_asker_is_killed_and_gets_no_answer(bucket: storage.Bucket, gate: FaultyGate) -> None:
    killed: list[Call] = []
    gate.kill = killed.append
    gate.plan = Once(Kind.DEATH, When.AFTER, identity=CAMERA)
    with pytest.raises(requests.ConnectionError):
        send(bucket)
    assert [call.method for call in killed] == ["storage.objects.insert"]
    assert is_there(bucket, gate)


def test_only_the_named_request_of_the_named_identity_fails() -> None:
    plan = Once(Kind.INTERNAL, When.BEFORE, identity=CAMERA, number=2)
    calls = [Call(identity=who, method="storage.objects.get") for who in (CAMERA, AGENT, CAMERA, CAMERA)]
    assert [plan.strikes(When.BEFORE, call) for call in calls] == [None, None, Kind.INTERNAL, None]
    assert [plan.strikes(When.AFTER, call) for call in calls] == [None] * 4


def test_every_such_request_fails_from_the_named_one_on() -> None:
    plan = Once(Kind.INTERNAL, When.AFTER, identity=CAMERA, number=2, always_for="get")
    struck = list[Kind | None]()
    for method in ("get", "get", "delete", "get"):
        call = Call(identity=CAMERA, method=method)
        assert plan.strikes(When.BEFORE, call) is None
        struck.append(plan.strikes(When.AFTER, call))
    assert struck == [None, Kind.INTERNAL, None, Kind.INTERNAL]


def test_a_share_of_all_requests_fails_and_the_seed_says_which() -> None:
    def draw() -> list[Kind | None]:
        plan = Randomly(0.1, [Kind.RESET, Kind.INTERNAL], identities=[CAMERA], seed=1)
        call = Call(identity=CAMERA, method="get")
        assert plan.strikes(When.BEFORE, Call(identity=AGENT, method="get")) is None
        return [plan.strikes(when, call) for _ in range(1000) for when in When]

    assert draw() == draw()
    assert 70 < sum(kind is not None for kind in draw()) < 130


def test_a_reset_over_grpc_is_what_a_client_says_of_a_lost_connection(gate: FaultyGate) -> None:
    def publish(_: PublishRequest) -> PublishResponse:
        call = Call(identity=CAMERA, method=PUBLISH)
        gate.enter(call)
        gate.leave(call)
        return PublishResponse(message_ids=["1"])

    service = grpc.method_handlers_generic_handler(
        "google.pubsub.v1.Publisher", {"Publish": unary_method(publish, PublishRequest, PublishResponse)}
    )
    with RunningGrpcServer([service]) as server, grpc.insecure_channel(server.address) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        gate.plan = Once(Kind.RESET, When.BEFORE, identity=CAMERA)
        with pytest.raises(ServiceUnavailable):
            publisher.publish(
                topic="projects/factory/topics/t", messages=[PubsubMessage(data=b"x")], retry=None, timeout=5
            )
        assert publisher.publish(
            topic="projects/factory/topics/t", messages=[PubsubMessage(data=b"x")], timeout=5
        ).message_ids


class Pushed:
    """A function behind its front, and what reached it."""

    def __init__(self) -> None:
        self.status = 200
        self.bodies: list[bytes] = []

    async def answer(self, request: Request) -> Response:
        self.bodies.append(await request.body())
        return Response(status_code=self.status)

    @property
    def attempts(self) -> list[int]:
        return [json.loads(body)["deliveryAttempt"] for body in self.bodies]


@pytest.fixture
def pushed() -> Pushed:
    return Pushed()


@pytest.fixture
def front(gate: FaultyGate, pushed: Pushed) -> Generator[Front]:
    permissions = Permissions("factory")
    for name, kind, resource, role, member in (
        ("invoker", "service", "f", "roles/run.invoker", PUSHER),
        ("signer", "service account", PUSHER, "roles/iam.serviceAccountOpenIdTokenCreator", AGENT),
    ):
        permissions.grant(
            Binding(name=name, kind=kind, resource=resource, role=role, member=f"serviceAccount:{member}")
        )
    function = Starlette(routes=[Route("/", pushed.answer, methods=["POST"])])
    front = Front(gate, permissions, pubsub_agent=AGENT)
    app = Starlette(routes=[*front.routes()])
    with serve(function) as behind, serve(IdentityMiddleware(app)) as server:
        front.url = server.url
        front.open(
            "f", resource="projects/factory/locations/l/services/f", port=int(behind.url.rpartition(":")[2]), seconds=5
        )
        yield front


def test_what_a_front_is_sent_reaches_the_function_as_it_is(front: Front, pushed: Pushed) -> None:
    requests.post(as_identity(f"{front.url}/fn/f", PUSHER), data=b'{"message": 7}', timeout=10)
    assert pushed.bodies == [b'{"message": 7}']


@pytest.mark.parametrize("when", list(When))
def test_a_push_that_fails_is_another_attempt_whichever_way(
    front: Front, pushed: Pushed, gate: FaultyGate, when: When, tmp_path: Path
) -> None:
    topic = "projects/factory/topics/images"
    gate.plan = plan = Once(Kind.RESET, when, identity=PUSHER)
    with PubSub(tmp_path, send=front.push) as pubsub:
        pubsub.catalogue.create_topic(Topic(name=topic))
        pubsub.catalogue.create_subscription(
            Subscription(
                name="projects/factory/subscriptions/images",
                topic=topic,
                push_config=PushConfig(
                    push_endpoint=f"{front.url}/fn/f", oidc_token=PushConfig.OidcToken(service_account_email=PUSHER)
                ),
                dead_letter_policy=DeadLetterPolicy(dead_letter_topic=topic, max_delivery_attempts=5),
            )
        )
        pubsub.publish(topic, b"image", {})
        known = pubsub.catalogue.subscription("projects/factory/subscriptions/images")
        ends = time.monotonic() + 30
        while pubsub.broker.count(known) and time.monotonic() < ends:
            time.sleep(0.05)
    assert plan.struck == 1
    assert pushed.attempts == ([2] if when is When.BEFORE else [1, 2])


def test_a_killed_command_ends_at_once_with_all_that_it_started(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # The pipe's other end closes when the last process that holds it is gone.
    script = f"exec 3>{pipe}; trap 'echo ended in order >&3; exit' TERM; echo ready >&3; sleep 60 & wait"
    command = Guarded(["/bin/sh", "-c", script], log=tmp_path / "log", env=dict(os.environ))
    with pipe.open() as reading:
        assert reading.readline() == "ready\n"
        command.kill()
        assert reading.read() == "", "it had no time to do anything"
    assert not command.running
