"""What must hold for everything that the program declares, as rules with names; docs/security.md tells why.

A rule takes the declared resources and returns what breaks it, so that one can be shown to notice a planted violation.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from local.program import Declared

Rule = Callable[[Sequence[Declared]], Iterator[str]]

SECONDS_A_DAY: Final = 86_400
LEAST_DAYS_OF_SOFT_DELETION: Final = 7
LEAST_DAYS_OF_LOGS: Final = 90
LEAST_DAYS_OF_DEAD_LETTERS: Final = 7

PUBLIC: Final = {"allUsers", "allAuthenticatedUsers"}
BASIC_ROLES: Final = {"roles/owner", "roles/editor", "roles/viewer"}
GRANTS: Final = (
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember",
    "gcp:cloudrunv2/serviceIamMember:ServiceIamMember",
    "gcp:iap/appEngineServiceIamMember:AppEngineServiceIamMember",
    "gcp:projects/iAMMember:IAMMember",
    "gcp:pubsub/subscriptionIAMMember:SubscriptionIAMMember",
    "gcp:pubsub/topicIAMMember:TopicIAMMember",
    "gcp:serviceaccount/iAMMember:IAMMember",
    "gcp:storage/bucketIAMMember:BucketIAMMember",
    "gcp:vertex/aiEndpointIamMember:AiEndpointIamMember",
)
"""Each adds one member to one role. Those that end in Policy or Binding take everybody else's grants away."""

COPIED_SOURCES: Final = 'resource.name.startsWith("projects/_/buckets/gcf-v2-sources-")'
PROJECT_WIDE: Final[Mapping[tuple[str, str | None], str]] = {
    ("build-log-writer roles/logging.logWriter", None): "there is no narrower place to write a log to",
    ("app-engine-log-writer roles/logging.logWriter", None): "there is no narrower place to write a log to",
    (
        "build-copied-source-reader roles/storage.objectViewer",
        COPIED_SOURCES,
    ): "Cloud Functions makes the bucket itself, at the first build; the condition names it",
    (
        "app-engine-image-writer roles/artifactregistry.writer",
        None,
    ): "App Engine makes the repository itself, at the first build; only where the application is the stack's own",
    (
        "predict-model-user roles/automl.predictor",
        None,
    ): "a model of AutoML Vision has no policy that could be declared",
}
"""Grants on the project, each with its role, its condition and why nothing narrower exists."""

FUNCTION: Final = "gcp:cloudfunctionsv2/function:Function"
SERVICE: Final = "gcp:appengine/standardAppVersion:StandardAppVersion"
BUCKET: Final = "gcp:storage/bucket:Bucket"
TOPIC: Final = "gcp:pubsub/topic:Topic"
SUBSCRIPTION: Final = "gcp:pubsub/subscription:Subscription"
ALERT: Final = "gcp:monitoring/alertPolicy:AlertPolicy"
LABELLED: Final = {
    BUCKET: "labels",
    TOPIC: "labels",
    SUBSCRIPTION: "labels",
    FUNCTION: "labels",
    "gcp:artifactregistry/repository:Repository": "labels",
    ALERT: "userLabels",
    "gcp:monitoring/notificationChannel:NotificationChannel": "userLabels",
}

_SECRET_NAME = re.compile(r"secret|passw|token$|private.?key|credential|api.?key", re.IGNORECASE)
# Of Google: an OAuth client secret, an API key, an access token; of anybody: a private key.
_SECRET_VALUE = re.compile(r"GOCSPX-|AIza[\w-]{30}|ya29\.|-----BEGIN [A-Z ]*PRIVATE KEY")
ENCRYPTED = "4dabf18193072939515e22adb298388d"
"""The key by which Pulumi marks a value as secret (`pulumi.runtime.rpc._special_sig_key`)."""


def no_public_principal(resources: Sequence[Declared]) -> Iterator[str]:
    """Nobody is admitted without saying who."""
    for resource in resources:
        if found := PUBLIC & {text for _, text in _texts(resource.inputs)}:
            yield f"{resource.name} names {', '.join(sorted(found))}"


def internal_ingress(resources: Sequence[Declared]) -> Iterator[str]:
    """The internet does not get as far as a function's IAM check."""
    for function in _of(resources, FUNCTION):
        ingress = function.inputs["serviceConfig"].get("ingressSettings")
        if ingress != "ALLOW_INTERNAL_ONLY":
            yield f"{function.name} has the ingress {ingress}"


def uniform_bucket_access(resources: Sequence[Declared]) -> Iterator[str]:
    """IAM alone decides; no object has a list of its own."""
    for bucket in _of(resources, BUCKET):
        if bucket.inputs.get("uniformBucketLevelAccess") is not True:
            yield f"{bucket.name} has no uniform access"


def public_access_prevention(resources: Sequence[Declared]) -> Iterator[str]:
    """No later grant can make a bucket public."""
    for bucket in _of(resources, BUCKET):
        if bucket.inputs.get("publicAccessPrevention") != "enforced":
            yield f"{bucket.name} can be made public"


def no_basic_role(resources: Sequence[Declared]) -> Iterator[str]:
    """Owner, editor and viewer are for people who set up a project."""
    for resource in resources:
        if resource.inputs.get("role") in BASIC_ROLES:
            yield f"{resource.name} grants {resource.inputs['role']}"


def no_broad_grant(resources: Sequence[Declared]) -> Iterator[str]:
    """A grant is on the very resource; those on the project are listed with their reasons."""
    for grant in _of(resources, "gcp:projects/iAMMember:IAMMember"):
        condition = (grant.inputs.get("condition") or {}).get("expression")
        if (f"{grant.name} {grant.inputs['role']}", condition) not in PROJECT_WIDE:
            yield f"{grant.name} grants {grant.inputs['role']} on the whole project, under the condition {condition}"


def added_grants_only(resources: Sequence[Declared]) -> Iterator[str]:
    """No grant takes away what others have been granted."""
    for resource in resources:
        if ("role" in resource.inputs and resource.type not in GRANTS) or re.search(
            r"I[aA][mM](Policy|Binding|AuditConfig)$", resource.type
        ):
            yield f"{resource.name} is of type {resource.type}"


def known_members(resources: Sequence[Declared]) -> Iterator[str]:
    """Grants are for the stack's own accounts, Google's agents and App Engine's builder; people may only look."""
    own = {account.inputs["accountId"] for account in _of(resources, "gcp:serviceaccount/account:Account")}
    for grant in _of(resources, *GRANTS):
        kind, _, email = grant.inputs["member"].partition(":")
        account, _, domain = email.partition("@")
        if kind == "user":
            if grant.inputs["role"] != "roles/iap.httpsResourceAccessor":
                yield f"{grant.name} grants {grant.inputs['role']} to a person, {email}"
        elif account not in own and not re.fullmatch(
            r"(gs-project-accounts|gcp-sa-[a-z-]+)\.iam\.gserviceaccount\.com|appspot\.gserviceaccount\.com", domain
        ):
            yield f"{grant.name} grants {grant.inputs['role']} to {grant.inputs['member']}, which is not the stack's"


def own_account(resources: Sequence[Declared]) -> Iterator[str]:
    """Each function and each service runs as an account of its own, made by the stack; none as a default one."""
    own = {account.inputs["accountId"] for account in _of(resources, "gcp:serviceaccount/account:Account")}
    runs_as: dict[str, str] = {}
    for resource in _of(resources, FUNCTION, SERVICE):
        email = resource.inputs.get("serviceAccount") or resource.inputs.get("serviceConfig", {}).get(
            "serviceAccountEmail"
        )
        if email is None or email.partition("@")[0] not in own:
            yield f"{resource.name} runs as {email or 'a default account'}"
        elif email in runs_as:
            yield f"{resource.name} and {runs_as[email]} run both as {email}"
        else:
            runs_as[email] = resource.name


def no_key(resources: Sequence[Declared]) -> Iterator[str]:
    """Nothing has a key that could be lost."""
    for resource in resources:
        if re.search(r":(Key|HmacKey|ApiKey|SslCert)$", resource.type):
            yield f"{resource.name} is a {resource.type}"


def no_plain_secret(resources: Sequence[Declared]) -> Iterator[str]:
    """A secret is encrypted in the state, and in no environment variable."""
    for resource in resources:
        for name, text in _texts(resource.inputs):
            if (_SECRET_NAME.search(name) and text) or _SECRET_VALUE.search(text):
                yield f"{resource.name} has {name} in plain text"
        service = resource.inputs.get("serviceConfig") or {}
        for where, variables in (
            ("serviceConfig", service),
            ("environmentVariables", service.get("environmentVariables") or {}),
            ("envVariables", resource.inputs.get("envVariables") or {}),
        ):
            for name, value in (("all of it", variables), *variables.items()):
                if isinstance(value, Mapping) and ENCRYPTED in value:
                    yield f"{resource.name} has a secret in {where}: {name}"


def images_are_kept(resources: Sequence[Declared]) -> Iterator[str]:
    """In production a bucket of images cannot be destroyed, and a deleted image can be brought back."""
    for bucket in _image_buckets(resources):
        if not bucket.protect:
            yield f"{bucket.name} is not protected"
        if bucket.inputs.get("forceDestroy"):
            yield f"{bucket.name} is destroyed with what is in it"
        kept = bucket.inputs["softDeletePolicy"]["retentionDurationSeconds"]
        if kept < LEAST_DAYS_OF_SOFT_DELETION * SECONDS_A_DAY:
            yield f"{bucket.name} keeps deleted images for {kept} s"


def dead_letters_everywhere(resources: Sequence[Declared]) -> Iterator[str]:
    """What cannot be delivered is kept, for days, on a topic that somebody reads."""
    read = {subscription.inputs["topic"] for subscription in _of(resources, SUBSCRIPTION)}
    dead_letter_topics = _dead_letter_topics(resources)
    for subscription in _of(resources, SUBSCRIPTION):
        if "deadLetterPolicy" not in subscription.inputs and subscription.inputs["topic"] not in dead_letter_topics:
            yield f"{subscription.name} has no dead letters"
        kept = int(subscription.inputs.get("messageRetentionDuration", "0s").removesuffix("s"))
        if kept < LEAST_DAYS_OF_DEAD_LETTERS * SECONDS_A_DAY:
            yield f"{subscription.name} keeps messages for {kept} s"
    for topic in _of(resources, TOPIC):
        if not any(path.endswith(f"/topics/{topic.inputs['name']}") for path in read):
            yield f"nobody reads {topic.name}; what it receives is lost"


def no_expiry(resources: Sequence[Declared]) -> Iterator[str]:
    """A line that stands still for a month finds its subscriptions again."""
    for subscription in _of(resources, SUBSCRIPTION):
        if subscription.inputs.get("expirationPolicy") != {"ttl": ""}:
            yield f"{subscription.name} expires"


def every_topic_alarmed(resources: Sequence[Declared]) -> Iterator[str]:
    """Dead letters, and messages that wait too long, wake somebody."""
    watched = {(_quoted(text, "subscription_id"), _last(text)) for text in _alert_filters(resources)}
    dead_letter_topics = _dead_letter_topics(resources)
    for subscription in _of(resources, SUBSCRIPTION):
        dead = subscription.inputs["topic"] in dead_letter_topics
        metric = "num_undelivered_messages" if dead else "oldest_unacked_message_age"
        if (subscription.inputs["name"], metric) not in watched:
            yield f"{subscription.name} has no alert on {metric}"


def every_function_alarmed(resources: Sequence[Declared]) -> Iterator[str]:
    """A function that fails wakes somebody."""
    watched = {_quoted(text, "service_name") for text in _alert_filters(resources) if '"5xx"' in text}
    for function in _of(resources, FUNCTION):
        if function.inputs["name"] not in watched:
            yield f"{function.name} has no alert on its failures"


def somebody_is_told(resources: Sequence[Declared]) -> Iterator[str]:
    """In production an alert reaches a person."""
    for alert in _of(resources, ALERT):
        if not alert.inputs.get("notificationChannels"):
            yield f"{alert.name} tells nobody"


def logs_are_kept(resources: Sequence[Declared]) -> Iterator[str]:
    """In production the logs of all that runs are kept, for long enough to look a picture up."""
    kept = {
        bucket.inputs["bucketId"]: bucket.inputs["retentionDays"]
        for bucket in _of(resources, "gcp:logging/projectBucketConfig:ProjectBucketConfig")
    }
    for name, days in kept.items():
        if days < LEAST_DAYS_OF_LOGS:
            yield f"the log bucket {name} keeps logs for {days:.0f} days"
    filters = [
        sink.inputs["filter"]
        for sink in _of(resources, "gcp:logging/projectSink:ProjectSink")
        if any(sink.inputs["destination"].endswith(f"/buckets/{name}") for name in kept)
    ]
    for resource in _of(resources, FUNCTION, SERVICE):
        name = resource.inputs.get("service") or resource.inputs["name"]
        if name != "default" and not any(f'"{name}"' in text for text in filters):
            yield f"the logs of {resource.name} are kept no longer than the project's"


def over_tls_only(resources: Sequence[Declared]) -> Iterator[str]:
    """Nobody signs in over an open line."""
    for service in _of(resources, SERVICE):
        if not service.inputs.get("handlers"):
            yield f"{service.name} says nothing of TLS"
        for handler in service.inputs.get("handlers") or []:
            if handler.get("securityLevel") != "SECURE_ALWAYS":
                yield f"{service.name} answers {handler['urlRegex']} without TLS"


def labels(resources: Sequence[Declared]) -> Iterator[str]:
    """A bill and a search can be split by the environment."""
    for resource in resources:
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
    "added-grants-only": Policy(rule=added_grants_only),
    "known-members": Policy(rule=known_members),
    "own-account": Policy(rule=own_account),
    "no-key": Policy(rule=no_key),
    "no-plain-secret": Policy(rule=no_plain_secret),
    "images-are-kept": Policy(rule=images_are_kept, production=True),
    "dead-letters-everywhere": Policy(rule=dead_letters_everywhere),
    "no-expiry": Policy(rule=no_expiry),
    "every-topic-alarmed": Policy(rule=every_topic_alarmed),
    "every-function-alarmed": Policy(rule=every_function_alarmed),
    "somebody-is-told": Policy(rule=somebody_is_told, production=True),
    "logs-are-kept": Policy(rule=logs_are_kept, production=True),
    "over-tls-only": Policy(rule=over_tls_only),
    "labels": Policy(rule=labels),
}


def violations(resources: Sequence[Declared], *, production: bool) -> dict[str, list[str]]:
    """What breaks each policy; a policy that nothing breaks is not in it."""
    found = {
        name: list(policy.rule(resources)) for name, policy in POLICIES.items() if production or not policy.production
    }
    return {name: broken for name, broken in found.items() if broken}


def _of(resources: Sequence[Declared], *types: str) -> list[Declared]:
    return [resource for resource in resources if resource.type in types]


def _image_buckets(resources: Sequence[Declared]) -> list[Declared]:
    return [bucket for bucket in _of(resources, BUCKET) if bucket.name in {"buckets-inbound", "buckets-prediction"}]


def _dead_letter_topics(resources: Sequence[Declared]) -> set[str]:
    policies = [subscription.inputs.get("deadLetterPolicy") for subscription in _of(resources, SUBSCRIPTION)]
    return {policy["deadLetterTopic"] for policy in policies if policy}


def _alert_filters(resources: Sequence[Declared]) -> Iterator[str]:
    for alert in _of(resources, ALERT):
        if alert.inputs.get("enabled") is False:
            continue
        for condition in alert.inputs["conditions"]:
            yield (condition.get("conditionThreshold") or {}).get("filter", "")


def _quoted(text: str, label: str) -> str:
    match = re.search(rf'{label} = "([^"]*)"', text)
    return match[1] if match else ""


def _last(text: str) -> str:
    return text.rpartition("/")[2].rstrip('"')


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401  # whatever an input is
    """Every text among the inputs with the name it has; what is encrypted is left out."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        mapping: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        if ENCRYPTED not in mapping:
            for key, part in mapping.items():
                yield from _texts(part, key)
    elif isinstance(value, list | tuple):
        parts: Iterable[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for part in parts:
            yield from _texts(part, name)
