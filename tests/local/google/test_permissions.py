"""A service account may do exactly what bindings grant, and the answer to everything else is Google's 403."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import httpx
import pytest
from google.api_core.exceptions import Forbidden, PermissionDenied, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.pubsub_v1 import (
    PublisherClient,
    PubsubMessage,
    PullRequest,
    StreamingPullRequest,
    SubscriberClient,
    Subscription,
    Topic,
)
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from starlette.applications import Starlette
from starlette.routing import Mount

from local.deploy.processes import free_port
from local.deploy.program import Stack, run_program
from local.google.front import Front
from local.google.gate import Call, RequestLog
from local.google.http import serve
from local.google.identity import NOBODY, IdentityMiddleware, as_identity, identity_path
from local.google.models.registry import ModelRegistry
from local.google.models.vertex_prediction import prediction_routes
from local.google.permissions import (
    INVOKE,
    ROLES,
    SIGN_PUSH,
    Binding,
    PermissionGate,
    Permissions,
    UnknownGrantError,
    needs,
)
from local.google.pubsub.rpc import PubSubHandler
from local.google.pubsub.service import PubSub
from local.google.rpc import RunningGrpcServer
from local.google.storage.server import storage_app
from local.google.storage.signing import Signers
from local.google.storage.store import ObjectStore
from tests.infra.google_stand_in import REVIEWED, Google, declare

PROJECT = "factory"
PART = "part@factory.iam.gserviceaccount.com"
AGENT = "service-1@gcp-sa-pubsub.iam.gserviceaccount.com"
TOPIC = f"projects/{PROJECT}/topics/news"
SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/readers"
ENDPOINT = f"projects/{PROJECT}/locations/europe-west4/endpoints/42"
SERVICE = f"projects/{PROJECT}/locations/europe-west3/services/sorter"


def binding(role: str, kind: str, resource: str, *, to: str = PART, condition: str | None = None) -> Binding:
    return Binding(
        name="grant",
        kind=kind,
        resource=resource,
        role=f"roles/{role}",
        member=f"serviceAccount:{to}",
        condition=condition,
    )


@dataclass(frozen=True)
class Cloud:
    """A local storage that asks for permissions, and whoever calls it."""

    permissions: Permissions
    gate: PermissionGate
    calls: RequestLog
    url: str
    announced: list[bytes]

    def grant(self, role: str, kind: str, resource: str, *, condition: str | None = None) -> Binding:
        self.permissions.grant(granted := binding(role, kind, resource, condition=condition))
        return granted

    def client(self, identity: str | None = PART) -> storage.Client:
        return storage.Client(
            project=PROJECT,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.url + identity_path(identity)},
        )

    def bucket(self, name: str = "pictures") -> storage.Bucket:
        """As the service account sees it."""
        return self.client().bucket(name)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """Two buckets, `pictures` with `a.jpg` in it and `others`; nothing is granted."""
    permissions, calls, signers, announced = Permissions(PROJECT), RequestLog(), Signers([PART]), list[bytes]()
    with ObjectStore(tmp_path) as store:
        gate = PermissionGate(permissions, calls, exists=store.exists)
        buckets = storage_app(
            store, gate=gate, publish=lambda _topic, data, _attributes: announced.append(data), signers=signers
        )
        # As the whole cloud has it: behind one more that says who asks.
        with serve(IdentityMiddleware(Starlette(routes=[Mount("/", buckets)]))) as server:
            cloud = Cloud(permissions, gate, calls, server.url, announced)
            engineer = cloud.client(None)
            for name in ("pictures", "others"):
                engineer.create_bucket(name).blob("a.jpg").upload_from_string(b"a", content_type="image/jpeg")
            calls.clear()
            yield cloud


def read(bucket: storage.Bucket) -> None:
    bucket.blob("a.jpg").download_as_bytes()


def look(bucket: storage.Bucket) -> None:
    bucket.get_blob("a.jpg")


def list_all(bucket: storage.Bucket) -> None:
    list(bucket.list_blobs())


def create(bucket: storage.Bucket) -> None:
    bucket.blob("new.jpg").upload_from_string(b"new")


def create_resumable(bucket: storage.Bucket) -> None:
    bucket.blob("new.jpg", chunk_size=256 * 1024).upload_from_string(b"new" * 200_000)


def overwrite(bucket: storage.Bucket) -> None:
    bucket.blob("a.jpg").upload_from_string(b"other")


def claim(bucket: storage.Bucket) -> None:
    blob = bucket.blob("a.jpg")
    blob.metadata = {"claimed": "yes"}
    blob.patch()


def delete(bucket: storage.Bucket) -> None:
    bucket.blob("a.jpg").delete()


def rename(bucket: storage.Bucket) -> None:
    bucket.move_blob(bucket.blob("a.jpg"), "b.jpg")


def copy(bucket: storage.Bucket) -> None:
    bucket.blob("copy.jpg").rewrite(bucket.blob("a.jpg"))


READING = (read, look, list_all)
CREATING = (create, create_resumable)
ALL = (*READING, *CREATING, overwrite, claim, delete, rename, copy)
MAY = {"storage.objectViewer": READING, "storage.objectCreator": CREATING, "storage.objectUser": ALL}


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("what", ALL, ids=lambda what: what.__name__)
def test_a_role_on_a_bucket_permits_what_it_is_for_and_nothing_else(
    cloud: Cloud, role: str, what: Callable[[storage.Bucket], None]
):
    cloud.grant(role, "bucket", "pictures")
    if what in MAY[role]:
        what(cloud.bucket())
    else:
        with pytest.raises(Forbidden):
            what(cloud.bucket())
    with pytest.raises(Forbidden):
        what(cloud.bucket("others"))


def test_the_answer_is_googles(cloud: Cloud):
    with pytest.raises(Forbidden) as refused:
        look(cloud.bucket())
    assert refused.value.message.endswith(
        f"{PART} does not have storage.objects.get access to the Google Cloud Storage object. "
        "Permission 'storage.objects.get' denied on resource (or it may not exist)."
    )
    assert cloud.calls.calls == [], "a refused call goes no further"
    refused_on = {(refusal.identity, refusal.need.resource) for refusal in cloud.permissions.refusals}
    assert (PART, "projects/_/buckets/pictures/objects/a.jpg") in refused_on


def test_the_engineer_may_do_everything(cloud: Cloud):
    overwrite(cloud.client(None).bucket("pictures"))
    assert cloud.permissions.refusals == []


def test_an_address_cannot_name_a_second_caller_after_the_first(cloud: Cloud):
    other = "other@factory.iam.gserviceaccount.com"
    cloud.permissions.grant(binding("storage.objectViewer", "bucket", "pictures", to=other))
    path = "/storage/v1/b/pictures/o/a.jpg"
    assert httpx.get(cloud.url + identity_path(other) + path).is_success
    assert not httpx.get(cloud.url + identity_path(PART) + identity_path(other) + path).is_success
    assert {call.identity for call in cloud.calls.calls} == {other}


def test_the_links_of_an_announcement_give_nobodys_rights(cloud: Cloud):
    pictures = cloud.client(None).bucket("pictures")
    pictures.notification("news", topic_project=PROJECT, payload_format="JSON_API_V1").create()
    create(pictures)
    cloud.grant("storage.objectViewer", "bucket", "pictures")
    (message,) = cloud.announced
    links = [json.loads(message)[link] for link in ("mediaLink", "selfLink")]
    assert [httpx.get(link).status_code for link in links] == [403, 403]
    assert {refusal.identity for refusal in cloud.permissions.refusals} == {NOBODY}


def test_a_copy_needs_the_source_and_the_destination(cloud: Cloud):
    source, destination = cloud.bucket().blob("a.jpg"), cloud.bucket("others").blob("new.jpg")
    grants = [("storage.objectViewer", "pictures"), ("storage.objectCreator", "others")]
    for role, bucket in grants:
        granted = cloud.grant(role, "bucket", bucket)
        with pytest.raises(Forbidden):
            destination.rewrite(source)
        cloud.permissions.revoke(granted)
    for role, bucket in grants:
        cloud.grant(role, "bucket", bucket)
    destination.rewrite(source)


def test_who_may_only_create_overwrites_nothing_and_is_told_of_a_taken_name_that_it_asked_to_be_free(cloud: Cloud):
    cloud.grant("storage.objectViewer", "bucket", "pictures")
    cloud.grant("storage.objectCreator", "bucket", "others")
    source, taken = cloud.bucket().blob("a.jpg"), cloud.bucket("others").blob("a.jpg")
    with pytest.raises(Forbidden, match=r"storage\.objects\.delete"):
        taken.rewrite(source)
    with pytest.raises(PreconditionFailed):
        taken.rewrite(source, if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        taken.upload_from_string(b"other", if_generation_match=0)


def test_a_revoked_grant_counts_from_the_next_call_on(cloud: Cloud):
    granted = cloud.grant("storage.objectViewer", "bucket", "pictures")
    read(cloud.bucket())
    cloud.permissions.revoke(granted)
    with pytest.raises(Forbidden):
        read(cloud.bucket())


def test_a_grant_on_the_project_holds_for_all_that_is_in_it_as_far_as_its_condition_goes(cloud: Cloud):
    cloud.grant(
        "storage.objectViewer",
        "project",
        PROJECT,
        condition='resource.name.startsWith("projects/_/buckets/pict")',
    )
    read(cloud.bucket())
    with pytest.raises(Forbidden):
        read(cloud.bucket("others"))
    cloud.grant("storage.objectViewer", "project", "another-project")
    with pytest.raises(Forbidden):
        read(cloud.bucket("others"))
    cloud.grant("storage.objectViewer", "project", PROJECT)
    read(cloud.bucket("others"))


TOUCH: dict[str, Callable[[storage.Client], object]] = {
    "list": lambda client: next(iter(client.list_buckets())),  # pyright: ignore[reportUnknownLambdaType]
    "create": lambda client: client.create_bucket("mine"),
    "get": lambda client: client.get_bucket("pictures"),
    "delete": lambda client: client.bucket("pictures").delete(),
    "notify": lambda client: client.bucket("pictures").notification("news", topic_project=PROJECT).create(),
}


@pytest.mark.parametrize("what", TOUCH)
def test_nobody_but_the_engineer_touches_the_buckets_themselves(cloud: Cloud, what: str):
    cloud.grant("storage.objectUser", "project", PROJECT)
    with pytest.raises(Forbidden):
        TOUCH[what](cloud.client())


def test_a_link_is_as_good_as_the_rights_of_who_signed_it_and_signing_is_a_right_of_its_own(cloud: Cloud):
    cloud.grant("storage.objectViewer", "bucket", "pictures")
    sign = f"{cloud.url}{identity_path(PART)}/v1/projects/-/serviceAccounts/{PART}:signBlob"
    assert httpx.post(sign, json={"payload": ""}).status_code == 403
    other = cloud.grant("iam.serviceAccountTokenCreator", "service account", f"projects/p/serviceAccounts/x{PART}")
    assert httpx.post(sign, json={"payload": ""}).status_code == 403
    cloud.permissions.revoke(other)
    cloud.grant("iam.serviceAccountOpenIdTokenCreator", "service account", f"projects/{PROJECT}/serviceAccounts/{PART}")
    assert httpx.post(sign, json={"payload": ""}).status_code == 403, "an ID token is no signature"
    cloud.grant("iam.serviceAccountTokenCreator", "service account", f"projects/{PROJECT}/serviceAccounts/{PART}")
    assert httpx.post(sign, json={"payload": ""}).is_success


def test_a_method_that_is_not_known_is_refused():
    call = Call(identity=PART, method="storage.objects.compose", bucket="pictures", object="a.jpg")
    (need,) = needs(call, lambda _bucket, _name: False)
    assert need.permission not in frozenset().union(*ROLES.values())


@pytest.fixture
def pubsub(cloud: Cloud, tmp_path: Path) -> Iterator[grpc.Channel]:
    """Pub/Sub as the part reaches it, with a topic and a subscription."""
    with (
        PubSub(tmp_path, permissions=cloud.permissions) as pubsub,
        RunningGrpcServer([PubSubHandler(PART, pubsub, cloud.gate)]) as door,
        grpc.insecure_channel(door.address) as channel,
    ):
        pubsub.catalogue.create_topic(Topic(name=TOPIC))
        pubsub.catalogue.create_subscription(Subscription(name=SUBSCRIPTION, topic=TOPIC))
        yield channel


def test_publishing_needs_a_grant_on_the_topic(cloud: Cloud, pubsub: grpc.Channel):
    publisher = PublisherClient(transport=PublisherGrpcTransport(channel=pubsub))
    other = cloud.grant("pubsub.publisher", "topic", "other-news")
    with pytest.raises(PermissionDenied, match="User not authorized to perform this action"):
        publisher.publish(topic=TOPIC, messages=[PubsubMessage(data=b"1")], retry=None)
    cloud.permissions.revoke(other)
    cloud.grant("pubsub.publisher", "topic", "news")
    assert publisher.publish(topic=TOPIC, messages=[PubsubMessage(data=b"1")], retry=None).message_ids


def test_pulling_and_acknowledging_need_a_grant_on_the_subscription_and_managing_is_the_engineers(
    cloud: Cloud, pubsub: grpc.Channel
):
    subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=pubsub))
    pull = PullRequest(subscription=SUBSCRIPTION, max_messages=1, return_immediately=True)
    calls: list[Callable[[], object]] = [
        lambda: subscriber.pull(pull, retry=None),
        lambda: list(subscriber.streaming_pull(iter([StreamingPullRequest(subscription=SUBSCRIPTION)]), retry=None)),
        lambda: subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=["1-1-1"], retry=None),
        lambda: subscriber.modify_ack_deadline(
            subscription=SUBSCRIPTION, ack_ids=["1-1-1"], ack_deadline_seconds=0, retry=None
        ),
    ]
    for call in calls:
        with pytest.raises(PermissionDenied):
            call()
    granted = cloud.grant("pubsub.subscriber", "subscription", SUBSCRIPTION)
    subscriber.pull(pull, retry=None)
    calls[2]()
    with pytest.raises(PermissionDenied):
        subscriber.delete_subscription(subscription=SUBSCRIPTION, retry=None)
    cloud.permissions.revoke(granted)
    with pytest.raises(PermissionDenied):
        subscriber.pull(pull, retry=None)


def test_the_model_answers_who_may_ask_it(cloud: Cloud):
    app = IdentityMiddleware(Starlette(routes=prediction_routes(ModelRegistry(), gate=cloud.gate)))
    with serve(app) as server:
        ask = f"{server.url}{identity_path(PART)}/v1/{ENDPOINT}:predict"
        cloud.grant("aiplatform.user", "endpoint", "43")
        refused = httpx.post(ask, json={"instances": [{"content": "eA=="}]})
        assert refused.status_code == 403
        assert refused.json()["error"]["message"] == (
            f"Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/{ENDPOINT}' "
            "(or it may not exist)."
        )
        cloud.grant("aiplatform.user", "endpoint", "42")
        assert httpx.post(ask, json={"instances": [{"content": "eA=="}]}).status_code == 404, "there is no model"


# Pushes.


class Function(http.server.BaseHTTPRequestHandler):
    """Answers with what it was sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(202)
        self.send_header("content-type", "text/plain")
        self.end_headers()
        self.wfile.write(self.headers["ce-type"].encode() + b" " + body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def function() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Function) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def front(cloud: Cloud) -> Iterator[Front]:
    front = Front(cloud.gate, cloud.permissions, pubsub_agent=AGENT)
    with serve(IdentityMiddleware(Starlette(routes=front.routes()))) as server:
        front.url = server.url
        yield front


def test_a_push_is_refused_without_the_invoker_and_without_a_token_and_passed_on_untouched_with_both(
    cloud: Cloud, front: Front, function: int
):
    address = front.open("sorter", resource=SERVICE, port=function, seconds=5)
    invoker = binding("run.invoker", "service", "sorter")
    signer = binding("iam.serviceAccountOpenIdTokenCreator", "service account", PART, to=AGENT)
    body = bytes(range(256))

    def push(to: str) -> httpx.Response:
        return httpx.post(to, content=body, headers={"ce-type": "push"})

    for missing, granted in ((INVOKE, signer), (SIGN_PUSH, invoker)):
        cloud.permissions.grant(granted)
        assert push(as_identity(address, PART)).status_code == 403
        assert cloud.permissions.refusals[-1].need.permission == missing
        cloud.permissions.revoke(granted)
    cloud.permissions.grant(invoker)
    cloud.permissions.grant(signer)
    assert push(address).status_code == 403, "whoever does not say who it is"
    answer = push(as_identity(address, PART))
    assert (answer.status_code, answer.content) == (202, b"push " + body)
    assert [call.resource for call in cloud.calls.calls] == [SERVICE]


def test_a_function_that_everybody_may_call_is_open(cloud: Cloud, front: Front, function: int):
    cloud.permissions.grant(replace(binding("run.invoker", "service", "sorter"), member="allUsers"))
    address = front.open("sorter", resource=SERVICE, port=function, seconds=5)
    assert httpx.post(address, content=b"", headers={"ce-type": "push"}).status_code == 202


def test_a_function_that_is_gone_or_silent_is_answered_for(cloud: Cloud, front: Front):
    cloud.permissions.grant(replace(binding("run.invoker", "service", "sorter"), member="allUsers"))
    gone = front.open("gone", resource=SERVICE, port=free_port(), seconds=5)
    assert httpx.post(gone, content=b"", timeout=60).status_code == 503
    with http.server.HTTPServer(("127.0.0.1", 0), Function) as silent:  # takes connections, answers none
        slow = front.open("slow", resource=SERVICE, port=silent.server_port, seconds=0.1)
        assert httpx.post(slow, content=b"").status_code == 504
    assert httpx.post(f"{front.url}/fn/unknown", content=b"").status_code == 404


# What is not known here.


@pytest.mark.parametrize(
    ("unknown", "expected"),
    [
        (binding("storage.admin", "bucket", "pictures"), ["roles/storage.admin", "add them to ROLES"]),
        (binding("storage.objectUser", "folder", "pictures"), ["a folder", "not known"]),
        (binding("storage.objectUser", "bucket", "b", condition="true"), ["the condition 'true'", "startsWith"]),
    ],
)
def test_a_grant_of_which_nothing_is_known_is_an_error_that_says_what_to_do(unknown: Binding, expected: list[str]):
    with pytest.raises(UnknownGrantError) as error:
        Permissions(PROJECT).grant(unknown)
    assert all(part in str(error.value) for part in expected)


def test_the_roles_that_are_known_are_those_that_the_program_grants():
    programs = [declare(**REVIEWED), declare(modelId="ICN7")]
    granted = {resource.inputs["role"] for program in programs for resource in program if "role" in resource.inputs}
    assert granted == ROLES.keys()
    local = run_program(Stack.read("local"), Google()).resources
    assert {resource.inputs["role"] for resource in local if "role" in resource.inputs} <= ROLES.keys()


def test_each_role_that_reads_objects_lists_them_too_so_that_a_missing_one_is_always_404():
    for role, permissions in ROLES.items():
        assert ("storage.objects.get" in permissions) <= ("storage.objects.list" in permissions), role
