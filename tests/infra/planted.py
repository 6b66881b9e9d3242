"""Violations of each policy, planted into the program one at a time: what shows that the policy notices them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.infra.google_stand_in import NUMBER, PROJECT, REVIEWED
from tests.infra.known import ENCRYPTED
from tests.infra.program import Program

OWN = f"@{PROJECT}.iam.gserviceaccount.com"
PREDICT, PUSH, BUILD = (f"inspection-test-{part}{OWN}" for part in ("predict", "push", "build"))
PREDICT_ELSEWHERE = "inspection-test-predict@elsewhere.iam.gserviceaccount.com"
PRODUCTION: Mapping[str, Any] = {"alertEmail": "line@example.com", "keepLogsDays": 90, **REVIEWED}
"""The config of a stack for which every policy counts."""

OF_CLOUD_RUN = (
    'resource.type = "cloud_run_revision" AND resource.labels.service_name = "inspection-test-move"'
    ' AND metric.type = "run.googleapis.com/request_count"'
)
"""Counts nothing that reaches no instance, so that an alert on it would stay silent about an overload."""

Plant = Callable[[Program], Program]


def with_inputs(name: str, **inputs: object) -> Plant:
    """The same program with other inputs of one resource; None takes one away, a mapping changes what it names.

    A mapping that is encrypted as a whole is replaced.
    """

    def plant(program: Program) -> Program:
        (found,) = [resource for resource in program.resources if resource.name == name]
        changed = replace(found, inputs=_changed(found.inputs, inputs))
        return replace(
            program, resources=[changed if resource is found else resource for resource in program.resources]
        )

    return plant


def _changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = {
        key: _changed(values[key], change)
        if isinstance(change, Mapping) and isinstance(values.get(key), Mapping) and ENCRYPTED not in values[key]
        else change
        for key, change in changes.items()
    }
    return {key: value for key, value in {**values, **merged}.items() if value is not None}


def with_threshold(name: str, **changes: object) -> Plant:
    """The same program with another condition of one alert."""

    def plant(program: Program) -> Program:
        (alert,) = [resource for resource in program.resources if resource.name == name]
        (condition,) = alert.inputs["conditions"]
        return with_inputs(name, conditions=[_changed(condition, {"conditionThreshold": changes})])(program)

    return plant


def with_query(name: str, change: Callable[[str], str]) -> Plant:
    """The same program with another query of one alert."""

    def plant(program: Program) -> Program:
        (alert,) = [resource for resource in program.resources if resource.name == name]
        (condition,) = alert.inputs["conditions"]
        query = change(condition["conditionPrometheusQueryLanguage"]["query"])
        changes = {"conditionPrometheusQueryLanguage": {"query": query}}
        return with_inputs(name, conditions=[_changed(condition, changes)])(program)

    return plant


def with_filter(name: str, change: Callable[[str], str]) -> Plant:
    """The same program with a sink that takes other lines."""

    def plant(program: Program) -> Program:
        (sink,) = [resource for resource in program.resources if resource.name == name]
        return with_inputs(name, filter=change(sink.inputs["filter"]))(program)

    return plant


def without(name: str) -> Plant:
    return lambda program: replace(
        program, resources=[resource for resource in program.resources if resource.name != name]
    )


def with_one_more(like: str, kind: str | None = None, **inputs: object) -> Plant:
    """The same program with a resource that resembles another."""

    def plant(program: Program) -> Program:
        (found,) = [resource for resource in program.resources if resource.name == like]
        more = replace(
            found,
            name="planted",
            urn=f"{found.urn}-planted",
            type=kind or found.type,
            inputs=_changed(found.inputs, inputs),
        )
        return replace(program, resources=[*program.resources, more])

    return plant


def waiting_only_for(name: str, *others: str) -> Plant:
    """The same program with one resource that waits for these alone."""

    def plant(program: Program) -> Program:
        urns = {resource.name: resource.urn for resource in program.resources if resource.custom}
        depends_on = tuple(urns[other] for other in others)
        return replace(
            program,
            resources=[
                replace(resource, depends_on=depends_on) if resource.name == name else resource
                for resource in program.resources
            ],
        )

    return plant


def not_waited_for(name: str) -> Plant:
    """The same program with one resource for which nothing waits."""

    def plant(program: Program) -> Program:
        (found,) = [resource for resource in program.resources if resource.name == name]
        return replace(
            program,
            resources=[
                replace(resource, depends_on=tuple(urn for urn in resource.depends_on if urn != found.urn))
                for resource in program.resources
            ],
        )

    return plant


def without_wait(name: str) -> Plant:
    """The same program, in which this resource is created without a wait."""
    return lambda program: replace(
        program,
        resources=[
            replace(resource, waits=False) if resource.name == name else resource for resource in program.resources
        ],
    )


def unprotected(program: Program) -> Program:
    return replace(program, resources=[replace(resource, protect=False) for resource in program.resources])


def with_config(**values: object) -> Plant:
    return lambda program: replace(program, config=values)


PLANTED: Mapping[str, Sequence[Plant]] = {
    "no-public-principal": [
        with_inputs("predict-invoker", member="allUsers"),
        with_inputs("predict-image-reader", member="allAuthenticatedUsers"),
        with_one_more("move-invoker", kind="gcp:cloudrunv2/service:Service", invokerIamDisabled=True),
    ],
    "internal-ingress": [
        with_inputs("move-function", serviceConfig={"ingressSettings": "ALLOW_ALL"}),
        with_inputs("move-function", serviceConfig=None),
    ],
    "uniform-bucket-access": [with_inputs("buckets-inbound", uniformBucketLevelAccess=False)],
    "public-access-prevention": [
        with_inputs("buckets-sources", publicAccessPrevention="inherited"),
        with_inputs("buckets-prediction", publicAccessPrevention=None),
    ],
    "no-basic-role": [with_inputs("build-log-writer", role="roles/editor")],
    "no-broad-grant": [
        with_one_more("build-log-writer", role="roles/storage.objectViewer"),
        with_inputs("build-log-writer", role="roles/artifactregistry.writer"),
        with_inputs("build-log-writer", member=f"serviceAccount:{PREDICT}"),
        with_inputs("build-log-writer", member=f"serviceAccount:{BUILD.replace(PROJECT, 'elsewhere')}"),
        with_inputs("build-log-writer", project="elsewhere"),
        with_inputs("build-copied-source-reader", condition=None),
        with_inputs("build-copied-source-reader", condition={"expression": "true"}),
    ],
    "known-kinds": [
        with_one_more("predict-publisher", kind="gcp:pubsub/topicIAMBinding:TopicIAMBinding"),
        with_one_more("predict-publisher", kind="gcp:storage/bucketIAMPolicy:BucketIAMPolicy"),
        with_one_more("build-log-writer", kind="gcp:folder/iAMMember:IAMMember"),
        with_one_more("build-log-writer", kind="gcp:projects/iAMCustomRole:IAMCustomRole"),
        with_one_more("buckets-inbound", kind="gcp:storage/bucketACL:BucketACL"),
        with_one_more("buckets-inbound", kind="gcp:storage/bucketAccessControl:BucketAccessControl"),
        with_one_more("buckets-inbound", kind="gcp:storage/defaultObjectAccessControl:DefaultObjectAccessControl"),
        with_one_more("buckets-inbound", kind="gcp:storage/objectACL:ObjectACL"),
        with_one_more("move-function", kind="gcp:cloudrunv2/service:Service"),
    ],
    "known-roles": [
        with_inputs("move-image-taker", role="roles/storage.objectAdmin"),
        with_inputs("predict-publisher", role="roles/pubsub.admin"),
        with_inputs("review-link-signer", role="roles/iam.serviceAccountAdmin"),
        with_inputs("move-image-checker", role=f"projects/{PROJECT}/roles/anything"),
    ],
    "known-members": [
        with_inputs("move-image-taker", member="serviceAccount:other@elsewhere.iam.gserviceaccount.com"),
        with_inputs("move-image-taker", member=f"serviceAccount:{PREDICT_ELSEWHERE}"),
        with_inputs("move-image-taker", member="serviceAccount:elsewhere@appspot.gserviceaccount.com"),
        with_inputs("push-signer", member="serviceAccount:service-1@gcp-sa-pubsub.iam.gserviceaccount.com"),
        with_inputs("push-signer", member=f"serviceAccount:service-{NUMBER}@gcp-sa-logging.iam.gserviceaccount.com"),
        with_inputs("move-image-taker", member="user:anna@example.com"),
        with_inputs("move-image-taker", member=f"user:{PREDICT}"),
        with_inputs("move-image-taker", member="group:everybody@example.com"),
        with_inputs("move-image-taker", member="serviceAccount:1-compute@developer.gserviceaccount.com"),
    ],
    "own-account": [
        with_inputs("move-function", serviceConfig={"serviceAccountEmail": PREDICT}),
        with_inputs("move-function", serviceConfig={"serviceAccountEmail": PREDICT_ELSEWHERE}),
        with_inputs("move-function", serviceConfig={"serviceAccountEmail": PUSH}),
        with_inputs("move-function", serviceConfig={"serviceAccountEmail": BUILD}),
        with_inputs("move-function", serviceConfig={"serviceAccountEmail": None}),
        with_inputs("move-function", buildConfig={"serviceAccount": None}),
        with_inputs(
            "move-function",
            buildConfig={
                "serviceAccount": f"projects/{PROJECT}/serviceAccounts/1-compute@developer.gserviceaccount.com"
            },
        ),
        with_inputs("move-function", buildConfig={"serviceAccount": f"projects/{PROJECT}/serviceAccounts/{PREDICT}"}),
        with_inputs("images-subscription", pushConfig={"oidcToken": None}),
        with_inputs("images-subscription", pushConfig={"oidcToken": {"serviceAccountEmail": BUILD}}),
        with_inputs("review-version", serviceAccount=None),
        with_inputs("review-version", serviceAccount=f"{PROJECT}@appspot.gserviceaccount.com"),
    ],
    "no-key": [
        with_one_more("move-account", kind="gcp:serviceaccount/key:Key"),
        with_one_more("move-account", kind="gcp:storage/hmacKey:HmacKey"),
    ],
    "no-plain-secret": [
        with_inputs("app-engine-application", iap={"oauth2ClientSecret": "do-not-tell"}),
        with_inputs("review-version", envVariables={"API_TOKEN": "abc"}),
        with_inputs("review-version", envVariables={"NOTE": "GOCSPX-abc"}),
        with_inputs("move-function", serviceConfig={"environmentVariables": {"DB_PASSWORD": "abc"}}),
        with_inputs("review-version", envVariables={"X": {ENCRYPTED: "", "value": "abc"}}),
        with_inputs("move-function", serviceConfig={ENCRYPTED: "", "value": {}}),
        with_inputs("move-function", serviceConfig={"secretEnvironmentVariables": [{"key": "X", "secret": ""}]}),
        with_inputs("move-function", buildConfig={"environmentVariables": {"X": {ENCRYPTED: "", "value": "abc"}}}),
        with_inputs("review-version", envVariables={"DB_PWD": "abc"}),
        with_inputs("review-version", envVariables={"DB_PASS": "abc"}),
        with_inputs("review-version", envVariables={"SESSION_KEY": "abc"}),
        with_inputs("review-version", envVariables={"PASSPHRASE": "abc"}),
        with_inputs("review-version", envVariables={"AUTHORIZATION": "Bearer abc"}),
        with_inputs("review-version", envVariables={"NOTE": "ghp_" + "a1" * 18}),
        with_config(**{"automl-inspection:iapClientSecret": "do-not-tell"}),
        with_config(note="GOCSPX-abc"),
    ],
    "images-are-kept": [
        unprotected,
        with_inputs("buckets-inbound", forceDestroy=True),
        with_inputs("buckets-prediction", softDeletePolicy={"retentionDurationSeconds": 0}),
        with_inputs("buckets-prediction", softDeletePolicy=None),
        with_inputs("buckets-prediction", lifecycleRules=[{"action": {"type": "Delete"}, "condition": {"age": 1}}]),
        with_one_more("buckets-sources"),
    ],
    "dead-letters-everywhere": [
        with_inputs("images-subscription", deadLetterPolicy=None),
        with_inputs("images-dead-letters-subscription", messageRetentionDuration="600s"),
        without("predictions-dead-letters-subscription"),
        with_inputs("images-subscription", deadLetterPolicy={"deadLetterTopic": f"projects/{PROJECT}/topics/nowhere"}),
    ],
    "no-expiry": [
        with_inputs("images-subscription", expirationPolicy=None),
        with_inputs("images-dead-letters-subscription", expirationPolicy={"ttl": "2678400s"}),
    ],
    "no-event-before-its-receiver": [
        waiting_only_for("buckets-inbound"),
        waiting_only_for("buckets-inbound", "images-subscription", "predict-function"),
        waiting_only_for("announcement-publisher", "images-topic"),
        waiting_only_for("predict-publisher", "predictions-topic", "predict-account"),
        waiting_only_for("images-dead-letters-publisher", "images-dead-letters-topic"),
        waiting_only_for("announcement-notification", "announcement-publisher"),
        waiting_only_for("announcement-notification", "buckets-inbound", "predict-image-reader"),
        not_waited_for("move-function"),
        not_waited_for("images-subscription"),
        not_waited_for("predictions-dead-letters-subscription"),
        not_waited_for("predict-invoker"),
        not_waited_for("predict-publisher"),
        not_waited_for("predict-model-user"),
        not_waited_for("move-image-sorter"),
        not_waited_for("push-signer"),
        not_waited_for("images-forwarder"),
        with_one_more("images-subscription"),
        with_one_more("predict-publisher", topic="inspection-test-images-dead-letters"),
        with_one_more("build-log-writer", role="roles/pubsub.publisher"),
        with_inputs("announcement-notification", bucket="elsewhere"),
        without_wait("announcement-grants-settled"),
        not_waited_for("announcement-grants-settled"),
        waiting_only_for("announcement-grants-settled"),
    ],
    "no-build-before-its-grants": [
        without_wait("build-grants-settled"),
        without_wait("app-engine-grants-settled"),
        not_waited_for("build-grants-settled"),
        not_waited_for("app-engine-grants-settled"),
        waiting_only_for("build-grants-settled", "build-log-writer"),
        not_waited_for("build-image-writer"),
        not_waited_for("app-engine-source-reader"),
        with_one_more("build-log-writer"),
    ],
    "every-topic-alarmed": [
        without("monitoring-images-dead-letters"),
        without("monitoring-predictions-waiting"),
        with_inputs("monitoring-images-dead-letters", enabled=False),
        with_inputs("monitoring-images-dead-letters", combiner="AND"),
        with_threshold("monitoring-images-dead-letters", comparison="COMPARISON_LT"),
        with_threshold("monitoring-images-dead-letters", thresholdValue=1),
        with_threshold("monitoring-images-dead-letters", duration="86400s"),
        with_threshold("monitoring-images-dead-letters", trigger={"count": 2}),
        with_threshold("monitoring-images-waiting", comparison="COMPARISON_LT"),
        with_threshold("monitoring-images-waiting", thresholdValue=3601),
        with_threshold("monitoring-images-waiting", aggregations=[{"alignmentPeriod": "86400s"}]),
        with_one_more("images-subscription", name="another"),
    ],
    "every-function-alarmed": [
        without("monitoring-move-errors"),
        with_one_more("move-function", name="another"),
        with_inputs("monitoring-move-errors", combiner="AND_WITH_MATCHING_RESOURCE"),
        with_threshold("monitoring-move-errors", comparison="COMPARISON_LT"),
        with_threshold("monitoring-move-errors", thresholdValue=1_000_000),
        with_threshold(
            "monitoring-move-errors", filter=OF_CLOUD_RUN + ' AND metric.labels.response_code_class = "5xx"'
        ),
        without("monitoring-predict-refused"),
        with_threshold("monitoring-predict-refused", thresholdValue=101),
        with_threshold("monitoring-predict-refused", duration="86400s"),
        with_threshold("monitoring-predict-refused", filter=OF_CLOUD_RUN + ' AND metric.labels.response_code = "429"'),
    ],
    "every-wrong-folder-alarmed": [
        without("monitoring-unclear"),
        without("monitoring-rejected"),
        with_inputs("monitoring-rejected", enabled=False),
        with_query("monitoring-rejected", lambda query: query.replace(" > 0.1 ", " > 0.9 ")),
        with_query("monitoring-rejected", lambda query: query.replace("[1h]", "[24h]")),
        with_query("monitoring-rejected", lambda query: query.replace("[6h]", "[24h]")),
        with_query("monitoring-rejected", lambda query: query.replace(">= 5", ">= 50")),
        with_query("monitoring-rejected", lambda query: query.replace('"rejected"', '"ok"', 1)),
        with_query("monitoring-rejected", lambda query: query.replace('"rejected"', '"ok"')),
        with_query("monitoring-rejected", lambda query: query.replace(" > ", " < ")),
        with_query("monitoring-rejected", lambda query: f"{query} and on() vector(0)"),
    ],
    "somebody-is-told": [
        with_inputs("monitoring-unclear", notificationChannels=[]),
        with_inputs("monitoring-unclear", enabled=False),
        with_inputs("monitoring-email", enabled=False),
        without("monitoring-email"),
    ],
    "logs-are-kept": [
        without("monitoring-logs"),
        without("monitoring-logs-sink"),
        with_inputs("monitoring-logs", retentionDays=30),
        with_inputs("monitoring-logs", retentionDays=None),
        with_inputs("monitoring-logs-sink", disabled=True),
        with_inputs("monitoring-logs-sink", exclusions=[{"name": "all", "filter": "true"}]),
        with_filter("monitoring-logs-sink", lambda text: f"NOT ({text})"),
        with_filter("monitoring-logs-sink", lambda text: f"({text}) AND severity >= ERROR"),
        with_filter("monitoring-logs-sink", lambda text: text.replace(" AND ", " AND severity >= ERROR AND ", 1)),
        with_one_more("move-function", name="another"),
    ],
    "over-tls-only": [
        with_inputs("review-version", handlers=[{"urlRegex": "/.*", "securityLevel": "SECURE_OPTIONAL"}]),
        with_inputs("review-version", handlers=[]),
    ],
    "labels": [
        with_inputs("buckets-inbound", labels=None),
        with_inputs("images-topic", labels={"environment": None}),
        with_inputs("monitoring-unclear", userLabels=None),
    ],
}
