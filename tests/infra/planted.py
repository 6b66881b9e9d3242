"""Violations of each policy, planted into the program one at a time: what shows that the policy notices them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from local.program import Declared
from tests.infra.google_stand_in import PROJECT, REVIEWED
from tests.infra.policies import ENCRYPTED

PREDICT = f"inspection-test-predict@{PROJECT}.iam.gserviceaccount.com"
PRODUCTION: Mapping[str, Any] = {"alertEmail": "line@example.com", "keepLogsDays": 90, **REVIEWED}
"""The config of a stack for which every policy counts."""

Plant = Callable[[Sequence[Declared]], list[Declared]]


def with_inputs(name: str, **inputs: object) -> Plant:
    """The same program with other inputs of one resource; None takes one away."""

    def plant(resources: Sequence[Declared]) -> list[Declared]:
        (found,) = [resource for resource in resources if resource.name == name]
        changed = {key: value for key, value in {**found.inputs, **inputs}.items() if value is not None}
        return [replace(found, inputs=changed) if resource is found else resource for resource in resources]

    return plant


def without(name: str) -> Plant:
    return lambda resources: [resource for resource in resources if resource.name != name]


def with_one_more(like: str, kind: str | None = None, **inputs: object) -> Plant:
    """The same program with a resource that resembles another."""

    def plant(resources: Sequence[Declared]) -> list[Declared]:
        (found,) = [resource for resource in resources if resource.name == like]
        more = replace(found, name="planted", type=kind or found.type, inputs={**found.inputs, **inputs})
        return [*resources, more]

    return plant


def unprotected(resources: Sequence[Declared]) -> list[Declared]:
    return [replace(resource, protect=False) for resource in resources]


PLANTED: Mapping[str, Sequence[Plant]] = {
    "no-public-principal": [
        with_inputs("predict-invoker", member="allUsers"),
        with_inputs("predict-image-reader", member="allAuthenticatedUsers"),
    ],
    "internal-ingress": [with_inputs("move-function", serviceConfig={"ingressSettings": "ALLOW_ALL"})],
    "uniform-bucket-access": [with_inputs("buckets-inbound", uniformBucketLevelAccess=False)],
    "public-access-prevention": [
        with_inputs("buckets-sources", publicAccessPrevention="inherited"),
        with_inputs("buckets-prediction", publicAccessPrevention=None),
    ],
    "no-basic-role": [with_inputs("build-log-writer", role="roles/editor")],
    "no-broad-grant": [
        with_one_more("build-log-writer", role="roles/storage.objectViewer"),
        with_inputs("build-copied-source-reader", condition=None),
        with_inputs("build-copied-source-reader", condition={"expression": "true"}),
    ],
    "added-grants-only": [
        with_one_more("predict-publisher", kind="gcp:pubsub/topicIAMBinding:TopicIAMBinding"),
        with_one_more("predict-publisher", kind="gcp:storage/bucketIAMPolicy:BucketIAMPolicy"),
    ],
    "known-members": [
        with_inputs("move-image-taker", member="serviceAccount:other@elsewhere.iam.gserviceaccount.com"),
        with_inputs("move-image-taker", member="user:anna@example.com"),
        with_inputs("move-image-taker", member="group:everybody@example.com"),
        with_inputs("move-image-taker", member="serviceAccount:1-compute@developer.gserviceaccount.com"),
    ],
    "own-account": [
        with_inputs("move-function", serviceConfig={"serviceAccountEmail": PREDICT}),
        with_inputs("review-version", serviceAccount=None),
        with_inputs("review-version", serviceAccount="test-factory@appspot.gserviceaccount.com"),
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
    ],
    "images-are-kept": [
        unprotected,
        with_inputs("buckets-inbound", forceDestroy=True),
        with_inputs("buckets-prediction", softDeletePolicy={"retentionDurationSeconds": 0}),
    ],
    "dead-letters-everywhere": [
        with_inputs("images-subscription", deadLetterPolicy=None),
        with_inputs("images-dead-letters-subscription", messageRetentionDuration="600s"),
        without("predictions-dead-letters-subscription"),
    ],
    "no-expiry": [
        with_inputs("images-subscription", expirationPolicy=None),
        with_inputs("images-dead-letters-subscription", expirationPolicy={"ttl": "2678400s"}),
    ],
    "every-topic-alarmed": [
        without("monitoring-images-dead-letters"),
        without("monitoring-predictions-waiting"),
        with_inputs("monitoring-images-dead-letters", enabled=False),
        with_one_more("images-subscription", name="another"),
    ],
    "every-function-alarmed": [without("monitoring-move-errors"), with_one_more("move-function", name="another")],
    "somebody-is-told": [with_inputs("monitoring-unclear", notificationChannels=[])],
    "logs-are-kept": [
        without("monitoring-logs"),
        without("monitoring-logs-sink"),
        with_inputs("monitoring-logs", retentionDays=30),
        with_one_more("move-function", name="another"),
    ],
    "over-tls-only": [
        with_inputs("review-version", handlers=[{"urlRegex": "/.*", "securityLevel": "SECURE_OPTIONAL"}]),
        with_inputs("review-version", handlers=[]),
    ],
    "labels": [
        with_inputs("buckets-inbound", labels=None),
        with_inputs("images-topic", labels={"application": "automl-inspection"}),
        with_inputs("monitoring-unclear", userLabels={}),
    ],
}
