"""What must hold for everything that the program declares, as rules with names; docs/security.md tells why.

A rule takes the program with what it declares and returns what breaks it, so that one can be shown to notice a planted
violation. What is not known here is a violation: a kind of resource, a role, a member, a grant on the project.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from local.deploy.program import Declared, Stack, run_program
from local.google.permissions import PUBLISH, ROLES
from tests.infra.google_stand_in import NUMBER, PROJECT, Google, declare, function_uri
from tests.infra.order import prerequisites


@dataclass(frozen=True, kw_only=True)
class Program:
    """What is declared, and where."""

    resources: Sequence[Declared]
    project: str
    number: str
    """The project's, which is in the names of Google's agents."""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """As in the stack's file."""

    @classmethod
    def read(cls, stack: str) -> "Program":
        """What the program declares for an example stack."""
        found = Stack.read(stack)
        project = found.config["gcp:project"]
        run = run_program(found, Google(project))
        return cls(resources=run.resources, project=project, number=NUMBER, config=found.config)

    @classmethod
    def declare(cls, config: Mapping[str, Any]) -> "Program":
        """What it declares with this config besides what is required."""
        return cls(resources=declare(**config).resources, project=PROJECT, number=NUMBER)

    def of(self, *types: str) -> list[Declared]:
        """All resources of these types."""
        return [resource for resource in self.resources if resource.type in types]

    @property
    def accounts(self) -> Mapping[str, str]:
        """The whole addresses of the program's own service accounts, by the Pulumi name."""
        return {
            account.name: f"{account.inputs['accountId']}@{account.inputs.get('project', self.project)}"
            ".iam.gserviceaccount.com"
            for account in self.of("gcp:serviceaccount/account:Account")
        }

    @property
    def agents(self) -> Mapping[str, str]:
        """Those of Google's own that act for the project."""
        return {
            "storage": f"service-{self.number}@gs-project-accounts.iam.gserviceaccount.com",
            "pubsub": f"service-{self.number}@gcp-sa-pubsub.iam.gserviceaccount.com",
            APP_ENGINE: f"{self.project}@appspot.gserviceaccount.com",
        }


Rule = Callable[[Program], Iterator[str]]

SECONDS_A_DAY: Final = 86_400
LEAST_DAYS_OF_SOFT_DELETION: Final = 7
LEAST_DAYS_OF_LOGS: Final = 90
LEAST_DAYS_OF_DEAD_LETTERS: Final = 7
DAYS_OF_LOGS_UNSAID: Final = 30
LONGEST_WAIT_SECONDS: Final = 3_600
"""How old a message may become before somebody is told."""
MOST_FAILURES: Final = 100
"""How often a function may fail within `LONGEST_LOOK_SECONDS` before somebody is told."""
LONGEST_LOOK_SECONDS: Final = 600
"""How long a figure may be collected, or stay too high, before an alert says so."""

LONGEST_REFUSAL_SECONDS: Final = 3_600
"""How long a function may refuse pushes before an alert says so."""
FAILED_PUSH: Final = 'one_of("remote_server_5xx", "deadline_exceeded", "unreachable")'
"""Pub/Sub's words for what a function answers that fails, does not answer in time, or does not run."""
LARGEST_SHARE: Final = 0.5
MOST_EVIDENCE: Final = 10
LONGEST_SHARE_HOURS: Final = 6
"""A line on which more than every second image ends in the wrong folder is noticed within a shift."""

PUBLIC: Final = {"allUsers", "allAuthenticatedUsers"}
BASIC_ROLES: Final = {"roles/owner", "roles/editor", "roles/viewer"}
APP_ENGINE: Final = "app-engine-builder"
EXPENDABLE: Final = {"buckets-sources": "nothing but zips, which any checkout can make again"}
"""Every other bucket has images."""

KINDS: Final = frozenset(
    {
        "gcp:appengine/application:Application",
        "gcp:appengine/standardAppVersion:StandardAppVersion",
        "gcp:artifactregistry/repository:Repository",
        "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember",
        "gcp:cloudfunctionsv2/function:Function",
        "gcp:cloudrunv2/serviceIamMember:ServiceIamMember",
        "gcp:iap/appEngineServiceIamMember:AppEngineServiceIamMember",
        "gcp:logging/metric:Metric",
        "gcp:logging/projectBucketConfig:ProjectBucketConfig",
        "gcp:logging/projectSink:ProjectSink",
        "gcp:monitoring/alertPolicy:AlertPolicy",
        "gcp:monitoring/dashboard:Dashboard",
        "gcp:monitoring/notificationChannel:NotificationChannel",
        "gcp:projects/iAMMember:IAMMember",
        "gcp:projects/service:Service",
        "gcp:projects/serviceIdentity:ServiceIdentity",
        "gcp:pubsub/subscription:Subscription",
        "gcp:pubsub/subscriptionIAMMember:SubscriptionIAMMember",
        "gcp:pubsub/topic:Topic",
        "gcp:pubsub/topicIAMMember:TopicIAMMember",
        "gcp:serviceaccount/account:Account",
        "gcp:serviceaccount/iAMMember:IAMMember",
        "gcp:storage/bucket:Bucket",
        "gcp:storage/bucketIAMMember:BucketIAMMember",
        "gcp:storage/bucketObject:BucketObject",
        "gcp:storage/notification:Notification",
        "gcp:vertex/aiEndpointIamMember:AiEndpointIamMember",
        "pulumi:index:Stash",
    }
)
"""What the rules have been thought through for. Deliberately absent, whatever else comes: IAM policies and bindings, which
take everybody else's grants away; access lists of buckets and objects; roles of one's own; keys; secrets; bare Cloud Run
services, which can do without an invoker."""

GRANTS: Final = tuple(sorted(kind for kind in KINDS if kind.endswith(("IAMMember", "IamMember"))))
"""Each adds one member to one role."""


@dataclass(frozen=True, kw_only=True)
class ProjectGrant:
    """A grant on a whole project."""

    role: str
    to: str
    """The Pulumi name of an account, or one of Google's agents."""
    why: str
    """Why nothing narrower exists."""
    condition: str | None = None
    in_models_project: bool = False


_LOG = "there is no narrower place to write a log to"
PROJECT_WIDE: Final[Mapping[str, ProjectGrant]] = {
    "build-log-writer": ProjectGrant(role="roles/logging.logWriter", to="build-account", why=_LOG),
    "app-engine-log-writer": ProjectGrant(role="roles/logging.logWriter", to=APP_ENGINE, why=_LOG),
    "build-copied-source-reader": ProjectGrant(
        role="roles/storage.objectViewer",
        to="build-account",
        condition='resource.name.startsWith("projects/_/buckets/gcf-v2-sources-")',
        why="Cloud Functions makes the bucket itself, at the first build; the condition names it",
    ),
    "app-engine-image-writer": ProjectGrant(
        role="roles/artifactregistry.writer",
        to=APP_ENGINE,
        why="App Engine makes the repository itself, at the first build",
    ),
    "predict-model-user": ProjectGrant(
        role="roles/automl.predictor",
        to="predict-account",
        in_models_project=True,
        why="a model of AutoML Vision has no policy that could be declared",
    ),
}
"""All of them, by the Pulumi name."""

FUNCTION: Final = "gcp:cloudfunctionsv2/function:Function"
SERVICE: Final = "gcp:appengine/standardAppVersion:StandardAppVersion"
BUCKET: Final = "gcp:storage/bucket:Bucket"
TOPIC: Final = "gcp:pubsub/topic:Topic"
SUBSCRIPTION: Final = "gcp:pubsub/subscription:Subscription"
NOTIFICATION: Final = "gcp:storage/notification:Notification"
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

_SECRET_NAME = re.compile(
    r"secret|passw|pwd|pass$|passphrase|authoriz|bearer|token$|credential|(private|api|access|signing|session).?key",
    re.IGNORECASE,
)
# Of Google: an OAuth client secret, an API key, an access token; of GitHub: a token; of anybody: a private key.
_SECRET_VALUE = re.compile(
    r"GOCSPX-|AIza[\w-]{30}|ya29\.|gh[pousr]_\w{36}|github_pat_\w{22}|-----BEGIN [A-Z ]*PRIVATE KEY"
)
ENCRYPTED = "4dabf18193072939515e22adb298388d"
"""The key by which Pulumi marks a value as secret (`pulumi.runtime.rpc._special_sig_key`)."""


def no_public_principal(program: Program) -> Iterator[str]:
    """Nobody is admitted without saying who."""
    for resource in program.resources:
        leaves = list(_leaves(resource.inputs))
        if found := PUBLIC & {value for _, value in leaves if isinstance(value, str)}:
            yield f"{resource.name} names {', '.join(sorted(found))}"
        for name, value in leaves:
            if re.search("invoker.?iam.?disabled", name, re.IGNORECASE) and str(value).lower() != "false":
                yield f"{resource.name} asks for no invoker"


def internal_ingress(program: Program) -> Iterator[str]:
    """The internet does not get as far as a function's IAM check."""
    for function in program.of(FUNCTION):
        ingress = _service_config(function).get("ingressSettings")
        if ingress != "ALLOW_INTERNAL_ONLY":
            yield f"{function.name} has the ingress {ingress}"


def uniform_bucket_access(program: Program) -> Iterator[str]:
    """IAM alone decides; no object has a list of its own."""
    for bucket in program.of(BUCKET):
        if bucket.inputs.get("uniformBucketLevelAccess") is not True:
            yield f"{bucket.name} has no uniform access"


def public_access_prevention(program: Program) -> Iterator[str]:
    """No later grant can make a bucket public."""
    for bucket in program.of(BUCKET):
        if bucket.inputs.get("publicAccessPrevention") != "enforced":
            yield f"{bucket.name} can be made public"


def no_basic_role(program: Program) -> Iterator[str]:
    """Owner, editor and viewer are for people who set up a project."""
    for resource in program.resources:
        if resource.inputs.get("role") in BASIC_ROLES:
            yield f"{resource.name} grants {resource.inputs['role']}"


def no_broad_grant(program: Program) -> Iterator[str]:
    """A grant is on the very resource; those on the project are listed, each with its member and its reason."""
    members = {name: f"serviceAccount:{email}" for name, email in {**program.accounts, **program.agents}.items()}
    for grant in program.of("gcp:projects/iAMMember:IAMMember"):
        given = grant.inputs
        known = PROJECT_WIDE.get(grant.name)
        expected = known and (known.role, members.get(known.to), known.condition)
        condition = (given.get("condition") or {}).get("expression")
        projects = _model_projects(program) if known and known.in_models_project else {program.project}
        if (given["role"], given["member"], condition) != expected or given["project"] not in projects:
            yield (
                f"{grant.name} grants {given['role']} to {given['member']} on the whole project {given['project']}, "
                f"under the condition {condition}"
            )


def known_kinds(program: Program) -> Iterator[str]:
    """Nothing is declared of which no rule knows what it opens."""
    for resource in program.resources:
        if resource.custom and resource.type not in KINDS:
            yield f"{resource.name} is of type {resource.type}"


def known_roles(program: Program) -> Iterator[str]:
    """Each role is a predefined one whose permissions are listed, and which administers nothing."""
    for grant in program.of(*GRANTS):
        role = grant.inputs["role"]
        if role not in ROLES or re.search("admin|owner", role, re.IGNORECASE):
            yield f"{grant.name} grants {role}"


def known_members(program: Program) -> Iterator[str]:
    """Grants are for the stack's own accounts, Google's agents and App Engine's builder; people may only look."""
    known = {f"serviceAccount:{email}" for email in (*program.accounts.values(), *program.agents.values())}
    for grant in program.of(*GRANTS):
        role, member = grant.inputs["role"], grant.inputs["member"]
        looks = member.startswith("user:") and role == "roles/iap.httpsResourceAccessor"
        if member not in known and not looks:
            yield f"{grant.name} grants {role} to {member}, which is not the stack's"


def own_account(program: Program) -> Iterator[str]:
    """Each function and each service runs as an account of its own, made by the stack; so do builds and pushes."""
    own = set(program.accounts.values())
    used: dict[str, str] = {}
    for what, email in _uses(program):
        if email not in own:
            yield f"{what} goes by {email or 'a default account'}, which is not the stack's"
        elif used.setdefault(email, what) != what:
            yield f"{what} and {used[email]} go both by {email}"


def _uses(program: Program) -> Iterator[tuple[str, str | None]]:
    """What needs an account, and the whole address of the one that it has."""
    path = f"projects/{program.project}/serviceAccounts/"
    for function in program.of(FUNCTION):
        yield f"running {function.name}", _service_config(function).get("serviceAccountEmail")
        # A path, and not an address.
        yield "building functions", (function.inputs["buildConfig"].get("serviceAccount") or "").removeprefix(path)
    for service in program.of(SERVICE):
        yield f"running {service.name}", service.inputs.get("serviceAccount")
    for subscription in program.of(SUBSCRIPTION):
        if push := subscription.inputs.get("pushConfig"):
            yield "pushing", (push.get("oidcToken") or {}).get("serviceAccountEmail")


def no_key(program: Program) -> Iterator[str]:
    """Nothing has a key that could be lost."""
    for resource in program.resources:
        if re.search(r":(Key|HmacKey|ApiKey|SslCert)$", resource.type):
            yield f"{resource.name} is a {resource.type}"


def no_plain_secret(program: Program) -> Iterator[str]:
    """A secret is encrypted in the config and in the state, and in no environment variable."""
    declared = [(resource.name, resource.inputs) for resource in program.resources]
    for where, values in [("the config", program.config), *declared]:
        for name, text in _leaves(values):
            if isinstance(text, str) and ((_SECRET_NAME.search(name) and text) or _SECRET_VALUE.search(text)):
                yield f"{where} has {name} in plain text"
    for resource in program.resources:
        service = _service_config(resource)
        if service.get("secretEnvironmentVariables"):
            yield f"{resource.name} has a secret in its environment"
        for where, variables in (
            ("serviceConfig", service),
            ("environmentVariables", service.get("environmentVariables") or {}),
            ("envVariables", resource.inputs.get("envVariables") or {}),
            ("buildConfig", (resource.inputs.get("buildConfig") or {}).get("environmentVariables") or {}),
        ):
            for name, value in (("all of it", variables), *variables.items()):
                if isinstance(value, Mapping) and ENCRYPTED in value:
                    yield f"{resource.name} has a secret in {where}: {name}"


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
    dead_letter_topics = _dead_letter_topics(program)
    for subscription in program.of(SUBSCRIPTION):
        if "deadLetterPolicy" not in subscription.inputs and subscription.inputs["topic"] not in dead_letter_topics:
            yield f"{subscription.name} has no dead letters"
        kept = _seconds(subscription.inputs.get("messageRetentionDuration", "0s"))
        if kept < LEAST_DAYS_OF_DEAD_LETTERS * SECONDS_A_DAY:
            yield f"{subscription.name} keeps messages for {kept} s"
    topics = {f"projects/{program.project}/topics/{topic.inputs['name']}" for topic in program.of(TOPIC)}
    for topic in sorted((topics | dead_letter_topics) - read):
        yield f"nobody reads {topic}; what it receives is lost"


def no_expiry(program: Program) -> Iterator[str]:
    """A line that stands still for a month finds its subscriptions again."""
    for subscription in program.of(SUBSCRIPTION):
        if subscription.inputs.get("expirationPolicy") != {"ttl": ""}:
            yield f"{subscription.name} expires"


def no_event_before_its_receiver(program: Program) -> Iterator[str]:
    """Nothing is announced or published before what receives it exists and may work; a new image is announced at once."""
    before = prerequisites(program.resources)
    for publisher, topic in _publishers(program):
        for subscription in program.of(SUBSCRIPTION):
            reads = _last(subscription.inputs["topic"])
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
        yield notification, _last(notification.inputs["topic"])
    for grant in program.of(*GRANTS):
        if PUBLISH in ROLES.get(grant.inputs["role"], {PUBLISH}):  # a role that is not known may let anybody publish
            yield grant, _last(grant.inputs["topic"]) if "topic" in grant.inputs else None


def _receivers(program: Program, bucket: Declared) -> Iterator[Declared]:
    """All that an image of this bucket needs on its way, but for grants on the bucket itself."""
    working = {
        *(_service_config(function).get("serviceAccountEmail") for function in program.of(FUNCTION)),
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


def every_topic_alarmed(program: Program) -> Iterator[str]:
    """A single dead letter, and a message that waits for more than an hour, wake somebody."""
    dead_letter_topics, alarms = _dead_letter_topics(program), list(_alarms(program))
    for subscription in program.of(SUBSCRIPTION):
        dead = subscription.inputs["topic"] in dead_letter_topics
        metric, most = ("num_undelivered_messages", 0) if dead else ("oldest_unacked_message_age", LONGEST_WAIT_SECONDS)
        watched = {
            'resource.type = "pubsub_subscription"',
            f'resource.labels.subscription_id = "{subscription.inputs["name"]}"',
            f'metric.type = "pubsub.googleapis.com/subscription/{metric}"',
        }
        if not any(terms == watched and limit <= most for terms, limit in alarms):
            yield f"{subscription.name} has no alert on {metric} above {most}"


def every_function_alarmed(program: Program) -> Iterator[str]:
    """A function that fails, or refuses pushes for long, wakes somebody.

    What Pub/Sub counts says so: Cloud Run's own count leaves out what reaches no instance.
    """
    failures, refusals = list(_alarms(program)), list(_alarms(program, lasting=LONGEST_REFUSAL_SECONDS))
    pushed = {
        push["pushEndpoint"]: subscription.inputs["name"]
        for subscription in program.of(SUBSCRIPTION)
        if (push := subscription.inputs.get("pushConfig"))
    }
    for function in program.of(FUNCTION):
        answers = {
            'resource.type = "pubsub_subscription"',
            f'resource.labels.subscription_id = "{pushed.get(function_uri(function.inputs["name"]))}"',
            'metric.type = "pubsub.googleapis.com/subscription/push_request_count"',
        }
        failed = answers | {f"metric.labels.response_class = {FAILED_PUSH}"}
        if not any(terms == failed and limit <= MOST_FAILURES for terms, limit in failures):
            yield f"{function.name} has no alert on more than {MOST_FAILURES} failures"
        refused = answers | {'metric.labels.response_class = "remote_server_4xx"'}
        if not any(terms == refused and limit <= MOST_FAILURES for terms, limit in refusals):
            yield f"{function.name} has no alert on refusals for {LONGEST_REFUSAL_SECONDS} seconds"


def every_wrong_folder_alarmed(program: Program) -> Iterator[str]:
    """A large share of unclear images, or of rejected ones, wakes somebody within hours."""
    queries = [
        query["query"]
        for alert in program.of(ALERT)
        if alert.inputs.get("enabled") is not False
        for condition in alert.inputs["conditions"]
        if (query := condition.get("conditionPrometheusQueryLanguage"))
    ]
    for folder in ("unclear", "rejected"):
        if not any(
            (share := re.fullmatch(_SHARE, query))
            and share["folder"] == folder
            and float(share["limit"]) <= LARGEST_SHARE
            and int(share["hours"]) <= int(share["evidence"]) <= LONGEST_SHARE_HOURS
            and int(share["least"]) <= MOST_EVIDENCE
            for query in queries
        ):
            yield f"nothing notices that most images are {folder}"


_SHARE = (
    r"sum\(increase\((?P<series>[\w:]+)\{(?P<of>[^{},]*),folder=\"(?P<folder>\w+)\"\}\[(?P<hours>\d+)h\]\)\)"
    r" / sum\(increase\((?P=series)\{(?P=of)\}\[(?P=hours)h\]\)\) > (?P<limit>[\d.]+)"
    r" and sum\(increase\((?P=series)\{(?P=of),folder=\"(?P=folder)\"\}\[(?P<evidence>\d+)h\]\)\) >= (?P<least>\d+)"
)


def _alarms(program: Program, *, lasting: int = 0) -> Iterator[tuple[set[str], float]]:
    """What the alerts watch, term by term, and the limit above which any one of them says so soon.

    Soon is `LONGEST_LOOK_SECONDS`, or `lasting` where that is longer.

    An alert that is off, waits for a second condition, or looks for what is below its limit is not among them.
    """
    for alert in program.of(ALERT):
        if alert.inputs.get("enabled") is False or alert.inputs.get("combiner") != "OR":
            continue
        for condition in alert.inputs["conditions"]:
            threshold: Mapping[str, Any] = condition.get("conditionThreshold") or {}
            looks = [look["alignmentPeriod"] for look in threshold.get("aggregations") or []]
            soon = all(_seconds(look) <= LONGEST_LOOK_SECONDS for look in looks) and _seconds(
                threshold.get("duration", "0s")
            ) <= max(LONGEST_LOOK_SECONDS, lasting)
            if threshold.get("comparison") == "COMPARISON_GT" and soon and not threshold.get("trigger"):
                yield set(threshold["filter"].split(" AND ")), threshold.get("thresholdValue", 0)


def somebody_is_told(program: Program) -> Iterator[str]:
    """In production every alert is on, and reaches a person."""
    reached = {
        channel.name
        for channel in program.of("gcp:monitoring/notificationChannel:NotificationChannel")
        if channel.inputs.get("enabled") is not False
    }
    for alert in program.of(ALERT):
        if alert.inputs.get("enabled") is False:
            yield f"{alert.name} is off"
        if not reached & set(alert.inputs.get("notificationChannels") or []):
            yield f"{alert.name} tells nobody"


def logs_are_kept(program: Program) -> Iterator[str]:
    """In production all logs of all that runs are kept, for long enough to look a picture up."""
    kept = {
        bucket.inputs["bucketId"]: bucket.inputs.get("retentionDays", DAYS_OF_LOGS_UNSAID)
        for bucket in program.of("gcp:logging/projectBucketConfig:ProjectBucketConfig")
    }
    for name, days in kept.items():
        if days < LEAST_DAYS_OF_LOGS:
            yield f"the log bucket {name} keeps logs for {days:.0f} days"
    sources: set[tuple[str, str]] = set()
    for sink in program.of("gcp:logging/projectSink:ProjectSink"):
        if sink.inputs.get("disabled") or sink.inputs.get("exclusions"):
            yield f"{sink.name} is off, or leaves lines out"
        elif not (sources_of := _whole_logs(sink.inputs["filter"])):
            yield f"{sink.name} takes something else than whole logs"
        elif any(sink.inputs["destination"].endswith(f"/buckets/{name}") for name in kept):
            sources |= sources_of
    for resource in program.of(FUNCTION, SERVICE):
        name = resource.inputs.get("service") or resource.inputs["name"]
        source = ("cloud_run_revision" if resource.type == FUNCTION else "gae_app", name)
        if name != "default" and source not in sources:
            yield f"the logs of {resource.name} are kept no longer than the project's"


_LOG_OF = r'\(resource\.type = "(\w+)" AND resource\.labels\.(?:service_name|module_id) = "([\w-]+)"\)'


def _whole_logs(text: str) -> set[tuple[str, str]]:
    """The sources whose lines a sink's filter takes, all of them; none if it says anything more."""
    whole = re.fullmatch(rf"{_LOG_OF}(?: OR {_LOG_OF})*", text)
    return set(re.findall(_LOG_OF, text)) if whole else set()


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


def _dead_letter_topics(program: Program) -> set[str]:
    policies = [subscription.inputs.get("deadLetterPolicy") for subscription in program.of(SUBSCRIPTION)]
    return {policy["deadLetterTopic"] for policy in policies if policy}


def _model_projects(program: Program) -> set[str]:
    """The project that a function's model is in."""
    variables = [_service_config(function).get("environmentVariables") or {} for function in program.of(FUNCTION)]
    return {found["MODEL_ID"].split("/")[1] for found in variables if "MODEL_ID" in found}


def _service_config(resource: Declared) -> Mapping[str, Any]:
    return resource.inputs.get("serviceConfig") or {}


def _last(path: str) -> str:
    """A topic's name, which some inputs give with its path."""
    return path.rpartition("/")[2]


def _seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  # whatever an input is
    """Every single value among the inputs with the name it has; what is encrypted is left out."""
    if isinstance(value, Mapping):
        mapping: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        if ENCRYPTED not in mapping:
            for key, part in mapping.items():
                yield from _leaves(part, key)
    elif isinstance(value, list | tuple):
        parts: Iterable[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for part in parts:
            yield from _leaves(part, name)
    else:
        yield name, value
