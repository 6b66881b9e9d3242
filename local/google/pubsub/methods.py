"""The methods of Pub/Sub's API over its messages, whichever protocol carries them.

https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1. Every call passes the gate under its method's name, such as
`Subscriber/Pull`; publishing has the name of its permission.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf import empty_pb2
from google.pubsub_v1 import types as api

from local.google.gate import Call
from local.google.permissions import PUBLISH, Need
from local.google.pubsub.broker import ack_id, leases_of
from local.google.pubsub.catalogue import Known
from local.google.pubsub.service import PubSub
from local.google.pubsub.store import Delivery, Message
from local.google.pubsub.supported import MOST_MESSAGES, check_message, check_name, invalid, unsupported

_LONGEST_PULL_SECONDS: Final = 90
_PULL_STEP_SECONDS: Final = 0.5
_DEADLINE_SECONDS: Final = 600
_PAGE: Final = 100
_IAM: Final = "google.iam.v1.IAMPolicy"
_PUBSUB: Final = "google.pubsub.v1."


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls, and how long the answer is still waited for."""

    identity: str | None
    waits: Callable[[], bool] = lambda: True
    seconds_left: Callable[[], float | None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method: generated message classes, what it is about, and what it does."""

    request: Any
    response: Any
    resource: Callable[[Any], str]
    answer: Callable[[PubSub, Any, Caller], Any]
    permission: str | None = None

    def call(self, name: str, request: Any, caller: Caller) -> Call:  # noqa: ANN401 - generated messages
        """The request as the gate sees it."""
        method = self.permission or name.removeprefix(_PUBSUB)
        return Call(identity=caller.identity, method=method, resource=self.resource(request))


def received(known: Known, delivery: Delivery) -> Any:  # noqa: ANN401 - generated messages
    """A delivery as a `ReceivedMessage`."""
    message = api.ReceivedMessage.pb(api.ReceivedMessage())
    message.ack_id = ack_id(delivery.lease)
    message.message.data = delivery.message.data
    message.message.attributes.update(delivery.message.attributes)
    message.message.message_id = str(delivery.lease.id)
    message.message.publish_time.FromMicroseconds(int(delivery.published * 1_000_000))
    if known.attempts:
        message.delivery_attempt = delivery.lease.attempt
    return message


def pullable(known: Known) -> Known:
    """Google answers so for a subscription that it reads itself."""
    if known.endpoint or known.bucket:
        raise invalid(f"{known.name} is not a pull subscription: Pub/Sub itself delivers its messages.")
    return known


def acknowledge(pubsub: PubSub, subscription: str, ack_ids: list[str]) -> None:
    """Of `Acknowledge` and of a streaming pull."""
    known = pubsub.catalogue.subscription(subscription)
    pubsub.broker.acknowledge(known, leases_of(known, ack_ids))


def modify(pubsub: PubSub, subscription: str, ack_ids: list[str], seconds: int) -> None:
    """Of `ModifyAckDeadline` and of a streaming pull."""
    known = pubsub.catalogue.subscription(subscription)
    if not 0 <= seconds <= _DEADLINE_SECONDS:
        raise invalid(f"ack_deadline_seconds is {seconds}. It must be from 0 to {_DEADLINE_SECONDS}.")
    pubsub.broker.extend(known, leases_of(known, ack_ids), seconds)


def _publish(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    if not request.messages:
        raise invalid("No messages to publish: the request's messages are empty.")
    if len(request.messages) > MOST_MESSAGES:
        raise invalid(f"The request has {len(request.messages)} messages. At most {MOST_MESSAGES}.")
    for message in request.messages:
        check_message(message)
    messages = [Message(data=message.data, attributes=dict(message.attributes)) for message in request.messages]
    return {"message_ids": pubsub.broker.publish(request.topic, messages)}


def _pull(pubsub: PubSub, request: Any, caller: Caller) -> Any:  # noqa: ANN401 - generated messages
    if request.max_messages <= 0:
        raise invalid(f"max_messages is {request.max_messages}. It must be positive.")
    known = pullable(pubsub.catalogue.subscription(request.subscription))
    pubsub.catalogue.use(known)
    ends = time.monotonic() + _LONGEST_PULL_SECONDS
    while caller.waits() and not pubsub.broker.closed:
        deliveries = pubsub.broker.lease(known, min(request.max_messages, MOST_MESSAGES))
        left = caller.seconds_left()
        if deliveries or request.return_immediately or time.monotonic() > ends:
            return {"received_messages": [received(known, delivery) for delivery in deliveries]}
        pubsub.broker.wait(known, _PULL_STEP_SECONDS if left is None else min(_PULL_STEP_SECONDS, left))
        known = pullable(pubsub.catalogue.subscription(request.subscription))
    return {}


def _acknowledge(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    if not request.ack_ids:
        raise invalid("No ack ids specified.")
    acknowledge(pubsub, request.subscription, request.ack_ids)


def _modify(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    if not request.ack_ids:
        raise invalid("No ack ids specified.")
    modify(pubsub, request.subscription, request.ack_ids, request.ack_deadline_seconds)


def _create_subscription(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    return api.Subscription.pb(pubsub.catalogue.create_subscription(api.Subscription.wrap(request)))


def _update_subscription(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    given = api.Subscription.wrap(request.subscription)
    return api.Subscription.pb(pubsub.catalogue.update_subscription(given, list(request.update_mask.paths)))


def _modify_push(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    given = api.Subscription(name=request.subscription, push_config=api.PushConfig.wrap(request.push_config))
    pubsub.catalogue.update_subscription(given, ["push_config"])


def _get_subscription(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    return api.Subscription.pb(pubsub.catalogue.subscription(request.subscription).config)


def _create_topic(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    return api.Topic.pb(pubsub.catalogue.create_topic(api.Topic.wrap(request)))


def _get_topic(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    return api.Topic.pb(pubsub.catalogue.topic(request.topic))


def _update_topic(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    changed = pubsub.catalogue.update_topic(api.Topic.wrap(request.topic), list(request.update_mask.paths))
    return api.Topic.pb(changed)


def _list_topics(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    return _page(request, "topics", [api.Topic.pb(one) for one in pubsub.catalogue.topics(request.project)])


def _list_subscriptions(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    found = [api.Subscription.pb(one.config) for one in pubsub.catalogue.subscriptions(request.project)]
    return _page(request, "subscriptions", found)


def _list_on_topic(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    pubsub.catalogue.topic(request.topic)
    return _page(request, "subscriptions", sorted(known.name for known in pubsub.catalogue.on(request.topic)))


def _page(request: Any, key: str, found: list[Any]) -> dict[str, Any]:  # noqa: ANN401 - generated messages
    if request.page_token and not request.page_token.isdecimal():
        raise invalid("The page token is invalid. Use the nextPageToken of an earlier answer.")
    start = int(request.page_token or 0)
    end = start + (request.page_size or _PAGE)
    return {key: found[start:end], "next_page_token": str(end) if end < len(found) else ""}


def _get_policy(pubsub: PubSub, request: Any, _: Caller) -> Any:  # noqa: ANN401 - generated messages
    members: dict[str, list[str]] = {}
    for binding in pubsub.bindings(_kind(pubsub, request.resource), request.resource):
        members.setdefault(binding.role, []).append(binding.member)
    policy = policy_pb2.Policy(version=1, etag=b"local")
    for role, some in sorted(members.items()):
        policy.bindings.add(role=role, members=sorted(some))
    return policy


def _test_permissions(pubsub: PubSub, request: Any, caller: Caller) -> Any:  # noqa: ANN401 - generated messages
    _kind(pubsub, request.resource)
    return {
        "permissions": [
            permission
            for permission in request.permissions
            if caller.identity is None
            or pubsub.permissions.allows(
                f"serviceAccount:{caller.identity}", Need(permission=permission, resource=request.resource)
            )
        ]
    }


def _kind(pubsub: PubSub, resource: str) -> str:
    if "/topics/" in resource:
        check_name(resource, "topics")
        pubsub.catalogue.topic(resource)
        return "topic"
    check_name(resource, "subscriptions")
    pubsub.catalogue.subscription(resource)
    return "subscription"


def _refused(what: str) -> Callable[[PubSub, Any, Caller], Any]:
    def answer(*_: object) -> Any:  # noqa: ANN401 - raises
        raise unsupported(what)

    return answer


def _at(field: str) -> Callable[[Any], str]:
    return lambda request: getattr(request, field)


def _of(wrapper: Any) -> Any:  # noqa: ANN401 - generated messages
    return wrapper.pb(wrapper()).__class__


def _method(
    request: Any,  # noqa: ANN401 - generated messages
    response: Any,  # noqa: ANN401 - generated messages
    field: str,
    answer: Callable[[PubSub, Any, Caller], Any],
    permission: str | None = None,
) -> Method:
    made = response if response is empty_pb2.Empty else _of(response)
    return Method(request=_of(request), response=made, resource=_at(field), answer=answer, permission=permission)


_PUBLISHER: Final = f"{_PUBSUB}Publisher/"
_SUBSCRIBER: Final = f"{_PUBSUB}Subscriber/"
_EMPTY: Final = empty_pb2.Empty

METHODS: Final[Mapping[str, Method]] = {
    f"{_PUBLISHER}CreateTopic": _method(api.Topic, api.Topic, "name", _create_topic),
    f"{_PUBLISHER}UpdateTopic": Method(
        request=_of(api.UpdateTopicRequest),
        response=_of(api.Topic),
        resource=lambda request: request.topic.name,
        answer=_update_topic,
    ),
    f"{_PUBLISHER}Publish": _method(api.PublishRequest, api.PublishResponse, "topic", _publish, PUBLISH),
    f"{_PUBLISHER}GetTopic": _method(
        api.GetTopicRequest,
        api.Topic,
        "topic",
        _get_topic,
    ),
    f"{_PUBLISHER}ListTopics": _method(api.ListTopicsRequest, api.ListTopicsResponse, "project", _list_topics),
    f"{_PUBLISHER}ListTopicSubscriptions": _method(
        api.ListTopicSubscriptionsRequest, api.ListTopicSubscriptionsResponse, "topic", _list_on_topic
    ),
    f"{_PUBLISHER}ListTopicSnapshots": _method(
        api.ListTopicSnapshotsRequest, api.ListTopicSnapshotsResponse, "topic", _refused("snapshots")
    ),
    f"{_PUBLISHER}DeleteTopic": _method(
        api.DeleteTopicRequest, _EMPTY, "topic", lambda pubsub, request, _: pubsub.catalogue.delete_topic(request.topic)
    ),
    f"{_PUBLISHER}DetachSubscription": _method(
        api.DetachSubscriptionRequest,
        api.DetachSubscriptionResponse,
        "subscription",
        _refused("detaching a subscription"),
    ),
    f"{_SUBSCRIBER}CreateSubscription": _method(api.Subscription, api.Subscription, "name", _create_subscription),
    f"{_SUBSCRIBER}GetSubscription": _method(
        api.GetSubscriptionRequest, api.Subscription, "subscription", _get_subscription
    ),
    f"{_SUBSCRIBER}UpdateSubscription": Method(
        request=_of(api.UpdateSubscriptionRequest),
        response=_of(api.Subscription),
        resource=lambda request: request.subscription.name,
        answer=_update_subscription,
    ),
    f"{_SUBSCRIBER}ListSubscriptions": _method(
        api.ListSubscriptionsRequest, api.ListSubscriptionsResponse, "project", _list_subscriptions
    ),
    f"{_SUBSCRIBER}DeleteSubscription": _method(
        api.DeleteSubscriptionRequest,
        _EMPTY,
        "subscription",
        lambda pubsub, request, _: pubsub.catalogue.delete_subscription(request.subscription),
    ),
    f"{_SUBSCRIBER}ModifyAckDeadline": _method(api.ModifyAckDeadlineRequest, _EMPTY, "subscription", _modify),
    f"{_SUBSCRIBER}Acknowledge": _method(api.AcknowledgeRequest, _EMPTY, "subscription", _acknowledge),
    f"{_SUBSCRIBER}Pull": _method(api.PullRequest, api.PullResponse, "subscription", _pull),
    f"{_SUBSCRIBER}ModifyPushConfig": _method(api.ModifyPushConfigRequest, _EMPTY, "subscription", _modify_push),
    f"{_SUBSCRIBER}GetSnapshot": _method(api.GetSnapshotRequest, api.Snapshot, "snapshot", _refused("snapshots")),
    f"{_SUBSCRIBER}ListSnapshots": _method(
        api.ListSnapshotsRequest, api.ListSnapshotsResponse, "project", _refused("snapshots")
    ),
    f"{_SUBSCRIBER}CreateSnapshot": _method(api.CreateSnapshotRequest, api.Snapshot, "name", _refused("snapshots")),
    f"{_SUBSCRIBER}DeleteSnapshot": _method(api.DeleteSnapshotRequest, _EMPTY, "snapshot", _refused("snapshots")),
    f"{_SUBSCRIBER}Seek": _method(api.SeekRequest, api.SeekResponse, "subscription", _refused("seeking")),
    f"{_IAM}/GetIamPolicy": Method(
        request=iam_policy_pb2.GetIamPolicyRequest,
        response=policy_pb2.Policy,
        resource=_at("resource"),
        answer=_get_policy,
    ),
    f"{_IAM}/SetIamPolicy": Method(
        request=iam_policy_pb2.SetIamPolicyRequest,
        response=policy_pb2.Policy,
        resource=_at("resource"),
        answer=_refused("setting a policy: declare the binding in the Pulumi program"),
    ),
    f"{_IAM}/TestIamPermissions": Method(
        request=iam_policy_pb2.TestIamPermissionsRequest,
        response=iam_policy_pb2.TestIamPermissionsResponse,
        resource=_at("resource"),
        answer=_test_permissions,
    ),
}
"""By the full name of gRPC."""


def run(method: Method, pubsub: PubSub, request: Any, caller: Caller) -> Any:  # noqa: ANN401 - generated messages
    """What a method answers, as its response's class."""
    answer = method.answer(pubsub, request, caller)
    if answer is None or isinstance(answer, dict):
        return method.response(**(answer or {}))
    return answer
