"""Pub/Sub as JSON over HTTP."""

from base64 import b64encode
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from local.google.gate import RequestLog
from local.google.http import serve
from local.google.identity import IdentityMiddleware, identity_path
from local.google.permissions import PUBLISH, Binding, PermissionGate, Permissions
from local.google.pubsub.rest import pubsub_routes
from local.google.pubsub.service import PubSub

PART = "part@factory.iam.gserviceaccount.com"
TOPIC = "/v1/projects/factory/topics/images"
SUBSCRIPTION = "/v1/projects/factory/subscriptions/readers"


class Rest:
    def __init__(self, url: str, permissions: Permissions) -> None:
        self.permissions = permissions
        self._url = url

    def ask(self, method: str, path: str, body: object = None, *, identity: str | None = None) -> tuple[int, Any]:
        answer = httpx.request(method, self._url + identity_path(identity) + path, json=body, timeout=30)
        return answer.status_code, answer.json()


@pytest.fixture
def rest(tmp_path: Path) -> Generator[Rest]:
    permissions = Permissions("factory")
    gate = PermissionGate(permissions, RequestLog(), exists=lambda _bucket, _name: False)
    with (
        PubSub(tmp_path, permissions=permissions) as pubsub,
        serve(IdentityMiddleware(Starlette(routes=pubsub_routes(pubsub, gate=gate)))) as server,
    ):
        yield Rest(server.url, permissions)


def test_a_message_goes_all_the_way(rest: Rest) -> None:
    assert rest.ask("PUT", TOPIC, {}) == (200, {"name": "projects/factory/topics/images"})
    status, made = rest.ask("PUT", SUBSCRIPTION, {"topic": TOPIC.removeprefix("/v1/"), "ackDeadlineSeconds": 20})
    assert (status, made["ackDeadlineSeconds"], made["messageRetentionDuration"]) == (200, 20, "604800s")
    data = b64encode(b"x").decode()
    _, published = rest.ask("POST", f"{TOPIC}:publish", {"messages": [{"data": data, "attributes": {"a": "b"}}]})
    _, pulled = rest.ask("POST", f"{SUBSCRIPTION}:pull", {"maxMessages": 10})
    (received,) = pulled["receivedMessages"]
    assert received["message"]["messageId"] == published["messageIds"][0]
    assert (received["message"]["data"], received["message"]["attributes"]) == (data, {"a": "b"})
    ids = [received["ackId"]]
    given_back = {"ackIds": ids, "ackDeadlineSeconds": 0}
    assert rest.ask("POST", f"{SUBSCRIPTION}:modifyAckDeadline", given_back) == (200, {})
    _, pulled = rest.ask("POST", f"{SUBSCRIPTION}:pull", {"maxMessages": 10})
    ids = [pulled["receivedMessages"][0]["ackId"]]
    assert rest.ask("POST", f"{SUBSCRIPTION}:acknowledge", {"ackIds": ids}) == (200, {})
    assert rest.ask("POST", f"{SUBSCRIPTION}:pull", {"maxMessages": 1, "returnImmediately": True}) == (200, {})


def test_topics_and_subscriptions_are_listed_changed_and_deleted(rest: Rest) -> None:
    rest.ask("PUT", TOPIC, {})
    rest.ask("PUT", SUBSCRIPTION, {"topic": TOPIC.removeprefix("/v1/")})
    names = [SUBSCRIPTION.removeprefix("/v1/")]
    assert rest.ask("GET", f"{TOPIC}/subscriptions") == (200, {"subscriptions": names})
    _, topics = rest.ask("GET", "/v1/projects/factory/topics?pageSize=1")
    assert [topic["name"] for topic in topics["topics"]] == [TOPIC.removeprefix("/v1/")]
    _, found = rest.ask("GET", "/v1/projects/factory/subscriptions")
    assert [one["name"] for one in found["subscriptions"]] == names
    change = {"subscription": {"ackDeadlineSeconds": 30}, "updateMask": "ackDeadlineSeconds"}
    assert rest.ask("PATCH", SUBSCRIPTION, change)[1]["ackDeadlineSeconds"] == 30
    assert rest.ask("GET", SUBSCRIPTION)[1]["ackDeadlineSeconds"] == 30
    assert rest.ask("DELETE", SUBSCRIPTION) == (200, {})
    assert rest.ask("DELETE", TOPIC) == (200, {})
    status, missing = rest.ask("GET", TOPIC)
    assert (status, missing["error"]["status"]) == (404, "NOT_FOUND")
    assert missing["error"]["message"] == "Resource not found (resource=images)."


def test_errors_are_googles(rest: Rest) -> None:
    rest.ask("PUT", TOPIC, {})
    assert rest.ask("PUT", TOPIC, {})[1]["error"]["status"] == "ALREADY_EXISTS"
    status, error = rest.ask("POST", f"{TOPIC}:publish", {"massages": []})
    assert (status, error["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert "massages" in error["error"]["message"]
    status, error = rest.ask("PUT", SUBSCRIPTION, {"topic": TOPIC.removeprefix("/v1/"), "filter": "x"})
    assert (status, error["error"]["status"]) == (501, "UNIMPLEMENTED")
    for body in ([], "text", 3):
        assert rest.ask("POST", f"{TOPIC}:publish", body)[0] == 400
    assert rest.ask("GET", "/v1/projects/factory/topics?pageSize=many")[0] == 400


def test_who_may_do_what_is_answered_and_held_to(rest: Rest) -> None:
    rest.ask("PUT", TOPIC, {})
    body = {"messages": [{"data": b64encode(b"x").decode()}]}
    assert rest.ask("POST", f"{TOPIC}:publish", body, identity=PART)[0] == 403
    member = f"serviceAccount:{PART}"
    rest.permissions.grant(
        Binding(name="n", kind="topic", resource="images", role="roles/pubsub.publisher", member=member)
    )
    assert rest.ask("POST", f"{TOPIC}:publish", body, identity=PART)[0] == 200
    _, policy = rest.ask("GET", f"{TOPIC}:getIamPolicy")
    assert policy["bindings"] == [{"role": "roles/pubsub.publisher", "members": [member]}]
    asked = {"permissions": [PUBLISH, "pubsub.topics.delete"]}
    assert rest.ask("POST", f"{TOPIC}:testIamPermissions", asked)[1] == asked
