"""What must hold for everything that the program declares, as rules with names; docs/security.md tells why.

A rule takes the program with what it declares and returns what breaks it, so that one can be shown to notice a planted
violation. What is not known here is a violation: a kind of resource, a role, a member, a grant on the project.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.infra.known import BUCKET, EXPENDABLE, LABELLED, SERVICE, SUBSCRIPTION, TOPIC
from tests.infra.policies_access import (
    internal_ingress,
    known_kinds,
    known_members,
    known_roles,
    no_basic_role,
    no_broad_grant,
    no_key,
    no_plain_secret,
    no_public_principal,
    own_account,
    public_access_prevention,
    uniform_bucket_access,
)
from tests.infra.policies_alarms import (
    every_function_alarmed,
    every_topic_alarmed,
    every_wrong_folder_alarmed,
    logs_are_kept,
    somebody_is_told,
)
from tests.infra.policies_order import no_build_before_its_grants, no_event_before_its_receiver
from tests.infra.program import Program, Rule, dead_letter_topics, seconds

SECONDS_A_DAY: Final = 86_400
LEAST_DAYS_OF_SOFT_DELETION: Final = 7
LEAST_DAYS_OF_DEAD_LETTERS: Final = 7


def images_are_kept(program: Program) -> Iterator[str]:
    """In production a bucket of images cannot be destroyed, and a deleted image can be brought back."""
    for bucket in program.of(BUCKET):
        if bucket.name in EXPENDABLE:
            continue
        if not bucket.protect:
            yield f"{bucket.name} is not protected"
        if bucket.inputs.get("forceDestroy"):
            yield f"{bucket.name} is destroyed with what is in it"
        kept = (bucket.inputs.get("softDeletePolicy") or {}).get("retentionDurationSeconds", 0)
        if kept < LEAST_DAYS_OF_SOFT_DELETION * SECONDS_A_DAY:
            yield f"{bucket.name} keeps deleted images for {kept} s, as far as is said"
        for rule in bucket.inputs.get("lifecycleRules") or []:
            if rule["action"]["type"] == "Delete":
                yield f"{bucket.name} deletes images by itself: {rule.get('condition')}"


def dead_letters_everywhere(program: Program) -> Iterator[str]:
    """What cannot be delivered is kept, for days, on a topic that somebody reads."""
    read = {subscription.inputs["topic"] for subscription in program.of(SUBSCRIPTION)}
    dead_topics = dead_letter_topics(program)
    for subscription in program.of(SUBSCRIPTION):
        if "deadLetterPolicy" not in subscription.inputs and subscription.inputs["topic"] not in dead_topics:
            yield f"{subscription.name} has no dead letters"
        kept = seconds(subscription.inputs.get("messageRetentionDuration", "0s"))
        if kept < LEAST_DAYS_OF_DEAD_LETTERS * SECONDS_A_DAY:
            yield f"{subscription.name} keeps messages for {kept} s"
    topics = {f"projects/{program.project}/topics/{topic.inputs['name']}" for topic in program.of(TOPIC)}
    for topic in sorted((topics | dead_topics) - read):
        yield f"nobody reads {topic}; what it receives is lost"


def no_expiry(program: Program) -> Iterator[str]:
    """A line that stands still for a month finds its subscriptions again."""
    for subscription in program.of(SUBSCRIPTION):
        if subscription.inputs.get("expirationPolicy") != {"ttl": ""}:
            yield f"{subscription.name} expires"


def over_tls_only(program: Program) -> Iterator[str]:
    """Nobody signs in over an open line."""
    for service in program.of(SERVICE):
        if not service.inputs.get("handlers"):
            yield f"{service.name} says nothing of TLS"
        for handler in service.inputs.get("handlers") or []:
            if handler.get("securityLevel") != "SECURE_ALWAYS":
                yield f"{service.name} answers {handler['urlRegex']} without TLS"


def labels(program: Program) -> Iterator[str]:
    """A bill and a search can be split by the environment."""
    for resource in program.resources:
        given: Mapping[str, str] = resource.inputs.get(LABELLED.get(resource.type, ""), {})
        if resource.type in LABELLED and not {"application", "environment"} <= given.keys():
            yield f"{resource.name} lacks labels: it has {dict(given)}"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A rule, and where it holds."""

    rule: Rule
    production: bool = False
    """Whether it holds for production alone."""


POLICIES: Final[Mapping[str, Policy]] = {
    "no-public-principal": Policy(rule=no_public_principal),
    "internal-ingress": Policy(rule=internal_ingress),
    "uniform-bucket-access": Policy(rule=uniform_bucket_access),
    "public-access-prevention": Policy(rule=public_access_prevention),
    "no-basic-role": Policy(rule=no_basic_role),
    "no-broad-grant": Policy(rule=no_broad_grant),
    "known-kinds": Policy(rule=known_kinds),
    "known-roles": Policy(rule=known_roles),
    "known-members": Policy(rule=known_members),
    "own-account": Policy(rule=own_account),
    "no-key": Policy(rule=no_key),
    "no-plain-secret": Policy(rule=no_plain_secret),
    "images-are-kept": Policy(rule=images_are_kept, production=True),
    "dead-letters-everywhere": Policy(rule=dead_letters_everywhere),
    "no-expiry": Policy(rule=no_expiry),
    "no-event-before-its-receiver": Policy(rule=no_event_before_its_receiver),
    "no-build-before-its-grants": Policy(rule=no_build_before_its_grants),
    "every-topic-alarmed": Policy(rule=every_topic_alarmed),
    "every-function-alarmed": Policy(rule=every_function_alarmed),
    "every-wrong-folder-alarmed": Policy(rule=every_wrong_folder_alarmed),
    "somebody-is-told": Policy(rule=somebody_is_told, production=True),
    "logs-are-kept": Policy(rule=logs_are_kept, production=True),
    "over-tls-only": Policy(rule=over_tls_only),
    "labels": Policy(rule=labels),
}


def violations(program: Program, *, production: bool) -> dict[str, list[str]]:
    """What breaks each policy; a policy that nothing breaks is not in it."""
    found = {
        name: list(policy.rule(program)) for name, policy in POLICIES.items() if production or not policy.production
    }
    return {name: broken for name, broken in found.items() if broken}
