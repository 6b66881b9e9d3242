"""Policies on the order of creation: no event before its receiver, no build before its grants."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from local.deploy.program import Declared
from local.google.permissions import PUBLISH, ROLES
from tests.infra.known import APP_ENGINE, BUCKET, FUNCTION, GRANTS, NOTIFICATION, SERVICE, SUBSCRIPTION
from tests.infra.order import prerequisites
from tests.infra.program import Program, last, service_config


def no_event_before_its_receiver(program: Program) -> Iterator[str]:
    """Nothing is announced or published before what receives it exists and may work; a new image is announced at once."""
    before = prerequisites(program.resources)
    for publisher, topic in _publishers(program):
        for subscription in program.of(SUBSCRIPTION):
            reads = last(subscription.inputs["topic"])
            if topic in {None, reads} and subscription.urn not in before[publisher.urn]:
                yield f"{publisher.name} lets messages be published before {subscription.name} exists"
    buckets = {bucket.inputs["name"]: bucket for bucket in program.of(BUCKET)}
    for notification in program.of(NOTIFICATION):
        if (bucket := buckets.get(notification.inputs["bucket"])) is None:
            yield f"{notification.name} is about {notification.inputs['bucket']}, which the program does not create"
            continue
        for receiver in _receivers(program, bucket):
            if receiver.urn not in before[bucket.urn]:
                yield f"{bucket.name} takes images before {receiver.name} exists"
            elif receiver.type in GRANTS and not _in_effect(program, before, receiver, bucket):
                yield f"{bucket.name} takes images before {receiver.name} has taken effect"
        if before[notification.urn] != before[bucket.urn] | {bucket.urn}:
            yield f"{notification.name} does not follow {bucket.name} at once"


def no_build_before_its_grants(program: Program) -> Iterator[str]:
    """What is built waits for every grant of the account that builds it, and then until new grants have taken effect."""
    before = prerequisites(program.resources)
    builders = [
        (function, (_build_config(function).get("serviceAccount") or "").rpartition("/")[2])
        for function in program.of(FUNCTION)
    ]
    builders += [(service, program.agents[APP_ENGINE]) for service in program.of(SERVICE)]
    for built, builder in builders:
        for grant in program.of(*GRANTS):
            if grant.inputs["member"].removeprefix("serviceAccount:") == builder:
                if grant.urn not in before[built.urn]:
                    yield f"{built.name} is built before {grant.name} exists"
                elif not _in_effect(program, before, grant, built):
                    yield f"{built.name} is built before {grant.name} has taken effect"


def _in_effect(program: Program, before: Mapping[str, AbstractSet[str]], grant: Declared, resource: Declared) -> bool:
    """Whether there is a wait between this grant and that resource."""
    waits = (wait for wait in program.resources if wait.waits and wait.urn in before[resource.urn])
    return any(grant.urn in before[wait.urn] for wait in waits)


def _build_config(function: Declared) -> Mapping[str, Any]:
    return function.inputs.get("buildConfig") or {}


def _publishers(program: Program) -> Iterator[tuple[Declared, str | None]]:
    """What lets somebody publish, and to which topic; None is to all of them."""
    for notification in program.of(NOTIFICATION):
        yield notification, last(notification.inputs["topic"])
    for grant in program.of(*GRANTS):
        if PUBLISH in ROLES.get(grant.inputs["role"], {PUBLISH}):  # a role that is not known may let anybody publish
            yield grant, last(grant.inputs["topic"]) if "topic" in grant.inputs else None


def _receivers(program: Program, bucket: Declared) -> Iterator[Declared]:
    """All that an image of this bucket needs on its way, but for grants on the bucket itself."""
    working = {
        *(service_config(function).get("serviceAccountEmail") for function in program.of(FUNCTION)),
        *(
            (subscription.inputs.get("pushConfig") or {}).get("oidcToken", {}).get("serviceAccountEmail")
            for subscription in program.of(SUBSCRIPTION)
        ),
        program.agents["storage"],
        program.agents["pubsub"],
    }
    yield from program.of(FUNCTION, SUBSCRIPTION)
    for grant in program.of(*GRANTS):
        on_the_bucket = grant.inputs.get("bucket") == bucket.inputs["name"]
        if grant.inputs["member"].removeprefix("serviceAccount:") in working and not on_the_bucket:
            yield grant
