"""Pub/Sub as JSON over HTTP: https://cloud.google.com/pubsub/docs/reference/rest."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf import json_format
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.google.gate import ApiError, Gate
from local.google.identity import identity_of
from local.google.pubsub.methods import METHODS, Caller, run
from local.google.pubsub.service import PubSub
from local.google.pubsub.supported import invalid
from local.google.rpc import status_word

_PUBLISHER: Final = "google.pubsub.v1.Publisher/"
_SUBSCRIBER: Final = "google.pubsub.v1.Subscriber/"
_IAM: Final = "google.iam.v1.IAMPolicy/"

_TOPIC: Final = "/v1/projects/{project}/topics/{id}"
_SUBSCRIPTION: Final = "/v1/projects/{project}/subscriptions/{id}"

# HTTP method and path -> method of the API, and the field of its request that the path names.
_ROUTES: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("GET", "/v1/projects/{id}/topics"): (f"{_PUBLISHER}ListTopics", "project"),
    ("GET", "/v1/projects/{id}/subscriptions"): (f"{_SUBSCRIBER}ListSubscriptions", "project"),
    ("GET", f"{_TOPIC}/subscriptions"): (f"{_PUBLISHER}ListTopicSubscriptions", "topic"),
    ("PUT", _TOPIC): (f"{_PUBLISHER}CreateTopic", "name"),
    ("GET", _TOPIC): (f"{_PUBLISHER}GetTopic", "topic"),
    ("PATCH", _TOPIC): (f"{_PUBLISHER}UpdateTopic", "topic.name"),
    ("DELETE", _TOPIC): (f"{_PUBLISHER}DeleteTopic", "topic"),
    ("PUT", _SUBSCRIPTION): (f"{_SUBSCRIBER}CreateSubscription", "name"),
    ("GET", _SUBSCRIPTION): (f"{_SUBSCRIBER}GetSubscription", "subscription"),
    ("PATCH", _SUBSCRIPTION): (f"{_SUBSCRIBER}UpdateSubscription", "subscription.name"),
    ("DELETE", _SUBSCRIPTION): (f"{_SUBSCRIBER}DeleteSubscription", "subscription"),
}
# What stands behind a colon.
_VERBS: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("topics", "publish"): (f"{_PUBLISHER}Publish", "topic"),
    ("subscriptions", "pull"): (f"{_SUBSCRIBER}Pull", "subscription"),
    ("subscriptions", "acknowledge"): (f"{_SUBSCRIBER}Acknowledge", "subscription"),
    ("subscriptions", "modifyAckDeadline"): (f"{_SUBSCRIBER}ModifyAckDeadline", "subscription"),
    ("subscriptions", "modifyPushConfig"): (f"{_SUBSCRIBER}ModifyPushConfig", "subscription"),
    ("subscriptions", "seek"): (f"{_SUBSCRIBER}Seek", "subscription"),
    ("subscriptions", "detach"): (f"{_PUBLISHER}DetachSubscription", "subscription"),
    **{
        (kind, verb): (f"{_IAM}{verb[0].upper()}{verb[1:]}", "resource")
        for kind in ("topics", "subscriptions")
        for verb in ("getIamPolicy", "setIamPolicy", "testIamPermissions")
    },
}
_BY_GET: Final = {"getIamPolicy"}


def pubsub_routes(pubsub: PubSub, *, gate: Gate) -> list[Route]:
    """For an application behind :class:`local.google.identity.IdentityMiddleware`."""
    rest = _Rest(pubsub, gate)
    routes = [
        Route(path.replace("{id}", "{id:path}") + ":" + verb, rest.endpoint(*target), methods=[http])
        for (kind, verb), target in _VERBS.items()
        for path in (_TOPIC if kind == "topics" else _SUBSCRIPTION,)
        for http in ("GET" if verb in _BY_GET else "POST",)
    ]
    return routes + [Route(path, rest.endpoint(*target), methods=[http]) for (http, path), target in _ROUTES.items()]


class _Rest:
    def __init__(self, pubsub: PubSub, gate: Gate) -> None:
        self._pubsub = pubsub
        self._gate = gate

    def endpoint(self, name: str, field: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            body = await request.body()
            return await run_in_threadpool(self._answer, name, field, request, body)

        return answer

    def _answer(self, name: str, field: str, request: Request, body: bytes) -> Response:
        method = METHODS[name]
        caller = Caller(identity=identity_of(request.scope))
        try:
            message = method.request()
            self._read(message, name, request, body)
            *path, last = field.split(".")
            owner = message
            for part in path:
                owner = getattr(owner, part)
            setattr(owner, last, _resource(request))
            call = method.call(name, message, caller)
            self._gate.enter(call)
            answer = run(method, self._pubsub, message, caller)
            self._gate.leave(call)
        except ApiError as error:
            content = {"code": error.status, "message": error.message, "status": status_word(error)}
            return JSONResponse({"error": content}, error.status)
        return JSONResponse(json_format.MessageToDict(answer))

    def _read(self, message: Any, name: str, request: Request, body: bytes) -> None:  # noqa: ANN401 - generated messages
        try:
            content: Any = json.loads(body) if body else {}
            if request.method == "GET":
                content = {
                    key: int(value) if value.isdecimal() else value for key, value in request.query_params.items()
                }
                content.pop("alt", None)
            if name.endswith(("/SetIamPolicy", "/GetIamPolicy")):
                content = {}
            json_format.ParseDict(dict(content), message)
        except (TypeError, ValueError, RecursionError, json_format.ParseError) as error:
            raise invalid(f"Invalid JSON payload received. {error}") from None


def _resource(request: Request) -> str:
    path = request.scope["path"].removeprefix("/v1/")
    head, slash, last = path.rpartition("/")
    if last in {"topics", "subscriptions"}:
        return head
    return head + slash + last.partition(":")[0]
