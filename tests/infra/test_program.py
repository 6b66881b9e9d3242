"""What the program declares: everything by type with the inputs that matter, and what waits for what."""

from collections import Counter
from typing import Any

import pytest

from infra.settings import Settings
from tests.infra.google_stand_in import (
    APP_ENGINE_BUILDER,
    APP_ENGINE_HOST,
    BINDINGS,
    ENDPOINT,
    PROJECT,
    PUBSUB_AGENT,
    REVIEWED,
    STORAGE_AGENT,
    Inventory,
    declare,
    is_subset,
)
from tests.infra.order import prerequisites, stages_of_destruction

NAME = "inspection-test"
INBOUND, PREDICTED, SOURCES, MODELS = (
    f"{PROJECT}-{NAME}-{part}" for part in ("inbound", "predicted", "sources", "models")
)
URI = {part: f"https://{NAME}-{part}-x.a.run.app" for part in ("predict", "move")}


def account(part: str) -> str:
    return f"serviceAccount:{NAME}-{part}@{PROJECT}.iam.gserviceaccount.com"


def topic(name: str) -> str:
    return f"projects/{PROJECT}/topics/{NAME}-{name}"


@pytest.fixture(scope="module")
def line() -> Inventory:
    return declare(alertEmail="line@example.com", **REVIEWED)


def test_nothing_more_and_nothing_less_is_declared(line: Inventory):
    assert Counter(resource.type for resource in line) == {
        "inspection:part:Announcement": 1,
        "inspection:part:AppEngine": 1,
        "inspection:part:Buckets": 1,
        "inspection:part:Build": 1,
        "inspection:part:Delivery": 2,
        "inspection:part:Function": 2,
        "inspection:part:Monitoring": 1,
        "inspection:part:Move": 1,
        "inspection:part:Predict": 1,
        "inspection:part:PushIdentity": 1,
        "inspection:part:ReviewApp": 1,
        "inspection:part:Services": 1,
        "gcp:appengine/application:Application": 1,
        "gcp:appengine/standardAppVersion:StandardAppVersion": 2,
        "gcp:artifactregistry/repository:Repository": 1,
        "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": 1,
        "gcp:cloudfunctionsv2/function:Function": 2,
        "gcp:cloudrunv2/serviceIamMember:ServiceIamMember": 2,
        "gcp:iap/appEngineServiceIamMember:AppEngineServiceIamMember": 2,
        "gcp:logging/metric:Metric": 1,
        "gcp:monitoring/alertPolicy:AlertPolicy": 11,
        "gcp:monitoring/dashboard:Dashboard": 1,
        "gcp:monitoring/notificationChannel:NotificationChannel": 1,
        "gcp:projects/iAMMember:IAMMember": 4,
        "gcp:projects/service:Service": 15,
        "gcp:projects/serviceIdentity:ServiceIdentity": 1,
        "gcp:pubsub/subscription:Subscription": 4,
        "gcp:pubsub/subscriptionIAMMember:SubscriptionIAMMember": 2,
        "gcp:pubsub/topic:Topic": 4,
        "gcp:pubsub/topicIAMMember:TopicIAMMember": 4,
        "gcp:serviceaccount/account:Account": 6,
        "gcp:serviceaccount/iAMMember:IAMMember": 2,
        "gcp:storage/bucket:Bucket": 4,
        "gcp:storage/bucketIAMMember:BucketIAMMember": 8,
        "gcp:storage/bucketObject:BucketObject": 4,
        "gcp:storage/notification:Notification": 1,
        "gcp:vertex/aiEndpointIamMember:AiEndpointIamMember": 1,
        "pulumi:index:Stash": 3,
    }


KEY_INPUTS: list[tuple[str, str, dict[str, Any]]] = [
    ("storage/bucket:Bucket", "buckets-inbound", {"name": INBOUND, "location": "europe-west3", "forceDestroy": False}),
    ("storage/bucket:Bucket", "buckets-prediction", {"name": PREDICTED, "forceDestroy": False}),
    ("storage/bucket:Bucket", "buckets-sources", {"name": SOURCES, "forceDestroy": True}),
    (
        "storage/notification:Notification",
        "announcement-notification",
        {
            "bucket": INBOUND,
            "topic": topic("images"),
            "eventTypes": ["OBJECT_FINALIZE"],
            "payloadFormat": "JSON_API_V1",
        },
    ),
    (
        "pubsub/subscription:Subscription",
        "images-subscription",
        {
            "topic": topic("images"),
            "ackDeadlineSeconds": 120,
            "messageRetentionDuration": "2678400s",
            "pushConfig": {
                "pushEndpoint": URI["predict"],
                "oidcToken": {
                    "serviceAccountEmail": account("push").partition(":")[2],
                    "audience": URI["predict"],
                },
            },
            "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
            "deadLetterPolicy": {"deadLetterTopic": topic("images-dead-letters"), "maxDeliveryAttempts": 40},
        },
    ),
    (
        "pubsub/subscription:Subscription",
        "predictions-subscription",
        {
            "topic": topic("predictions"),
            "pushConfig": {"pushEndpoint": URI["move"]},
            "deadLetterPolicy": {"deadLetterTopic": topic("predictions-dead-letters")},
        },
    ),
    (
        "cloudfunctionsv2/function:Function",
        "predict-function",
        {
            "name": f"{NAME}-predict",
            "location": "europe-west3",
            "buildConfig": {
                "runtime": "python312",
                "entryPoint": "predict",
                "serviceAccount": f"projects/{PROJECT}/serviceAccounts/{account('build').partition(':')[2]}",
                "dockerRepository": f"projects/{PROJECT}/locations/europe-west3/repositories/{NAME}",
                "source": {"storageSource": {"bucket": SOURCES}},
            },
            "serviceConfig": {
                "serviceAccountEmail": account("predict").partition(":")[2],
                "environmentVariables": {
                    "MODEL_ID": ENDPOINT,
                    "PREDICTIONS_TOPIC": topic("predictions"),
                    "THREADS": "4",
                },
                "ingressSettings": "ALLOW_INTERNAL_ONLY",
                "availableCpu": "1",
                "availableMemory": "2Gi",
                "timeoutSeconds": 120,
                "minInstanceCount": 0,
                "maxInstanceCount": 10,
                "maxInstanceRequestConcurrency": 4,
            },
        },
    ),
    (
        "cloudfunctionsv2/function:Function",
        "move-function",
        {
            "buildConfig": {"entryPoint": "move"},
            "serviceConfig": {
                "availableMemory": "512Mi",
                "maxInstanceRequestConcurrency": 8,
                "serviceAccountEmail": account("move").partition(":")[2],
                "environmentVariables": {
                    "PREDICTION_BUCKET": PREDICTED,
                    "LABELS": '["ok", "defect"]',
                    "THRESHOLD": "0.8",
                    "THREADS": "8",
                    "THRESHOLDS": "{}",
                },
            },
        },
    ),
    (
        "monitoring/notificationChannel:NotificationChannel",
        "monitoring-email",
        {"labels": {"email_address": "line@example.com"}},
    ),
]


@pytest.mark.parametrize(("kind", "name", "expected"), KEY_INPUTS, ids=[name for _, name, _ in KEY_INPUTS])
def test_key_inputs(line: Inventory, kind: str, name: str, expected: dict[str, Any]):
    inputs = line.one(kind, name).inputs
    assert is_subset(expected, inputs), f"{expected}\nis not all in\n{inputs}"


def test_every_grant_is_one_of_these(line: Inventory):
    grants = {(resource, role, member) for _, resource, role, member in line.bindings()}
    assert grants == {
        # predict
        (INBOUND, "roles/storage.objectViewer", account("predict")),
        (f"{NAME}-predictions", "roles/pubsub.publisher", account("predict")),
        ("42", "roles/aiplatform.user", account("predict")),
        # move
        (INBOUND, "roles/storage.objectUser", account("move")),
        (PREDICTED, "roles/storage.objectCreator", account("move")),
        (PREDICTED, "roles/storage.objectViewer", account("move")),
        # push
        (f"{NAME}-predict", "roles/run.invoker", account("push")),
        (f"{NAME}-move", "roles/run.invoker", account("push")),
        # build
        (NAME, "roles/artifactregistry.writer", account("build")),
        (SOURCES, "roles/storage.objectViewer", account("build")),
        (PROJECT, "roles/storage.objectViewer", account("build")),
        (PROJECT, "roles/logging.logWriter", account("build")),
        # review
        (PREDICTED, "roles/storage.objectUser", account("review")),
        (
            f"projects/{PROJECT}/serviceAccounts/{account('review').partition(':')[2]}",
            "roles/iam.serviceAccountTokenCreator",
            account("review"),
        ),
        (f"{NAME}-review", "roles/iap.httpsResourceAccessor", "user:anna@example.com"),
        (f"{NAME}-review", "roles/iap.httpsResourceAccessor", "user:bert@example.com"),
        # App Engine's own account, which builds
        (SOURCES, "roles/storage.objectViewer", APP_ENGINE_BUILDER),
        (f"staging.{PROJECT}.appspot.com", "roles/storage.objectViewer", APP_ENGINE_BUILDER),
        (PROJECT, "roles/artifactregistry.writer", APP_ENGINE_BUILDER),
        (PROJECT, "roles/logging.logWriter", APP_ENGINE_BUILDER),
        # Google's agents
        (f"{NAME}-images", "roles/pubsub.publisher", STORAGE_AGENT),
        (f"{NAME}-images-dead-letters", "roles/pubsub.publisher", PUBSUB_AGENT),
        (f"{NAME}-predictions-dead-letters", "roles/pubsub.publisher", PUBSUB_AGENT),
        (f"{NAME}-images", "roles/pubsub.subscriber", PUBSUB_AGENT),
        (f"{NAME}-predictions", "roles/pubsub.subscriber", PUBSUB_AGENT),
        (
            f"projects/{PROJECT}/serviceAccounts/{account('push').partition(':')[2]}",
            "roles/iam.serviceAccountOpenIdTokenCreator",
            PUBSUB_AGENT,
        ),
    }


def test_reading_objects_of_the_whole_project_is_limited_to_copies_of_the_sources(line: Inventory):
    condition = line.one("projects/iAMMember:IAMMember", "build-copied-source-reader").inputs["condition"]
    assert condition["expression"] == 'resource.name.startsWith("projects/_/buckets/gcf-v2-sources-")'


def test_a_model_of_another_project_is_granted_there():
    there = declare(modelId="projects/models-of-all/locations/us-central1/endpoints/7")
    grant = there.of("vertex/aiEndpointIamMember:AiEndpointIamMember")[0].inputs
    assert is_subset({"project": "models-of-all", "location": "us-central1", "endpoint": "7"}, grant)


def test_an_automl_model_is_completed_and_granted_on_its_project():
    automl = declare(modelId="ICN7")
    grant = automl.one("projects/iAMMember:IAMMember", "predict-model-user").inputs
    assert is_subset({"project": PROJECT, "role": "roles/automl.predictor", "member": account("predict")}, grant)
    function = automl.one("cloudfunctionsv2/function:Function", "predict-function").inputs
    model = function["serviceConfig"]["environmentVariables"]["MODEL_ID"]
    assert model == f"projects/{PROJECT}/locations/us-central1/models/ICN7"
    apis = {api.inputs["service"] for api in automl.of("projects/service:Service")}
    assert "automl.googleapis.com" in apis
    assert "aiplatform.googleapis.com" not in apis


@pytest.mark.parametrize("bucket", [MODELS, "models-of-all"])
def test_a_model_file_is_read_from_its_bucket_and_no_model_service_is_needed(bucket: str):
    own = declare(modelId=f"gs://{bucket}/models/castings-3.onnx", labels=["ok", "defect"])
    grant = own.one("storage/bucketIAMMember:BucketIAMMember", "predict-model-user").inputs
    assert is_subset({"bucket": bucket, "role": "roles/storage.objectViewer", "member": account("predict")}, grant)
    function = own.one("cloudfunctionsv2/function:Function", "predict-function").inputs
    environment = function["serviceConfig"]["environmentVariables"]
    assert environment["MODEL_ID"] == f"gs://{bucket}/models/castings-3.onnx"
    assert environment["LABELS"] == '["ok", "defect"]'
    apis = {api.inputs["service"] for api in own.of("projects/service:Service")}
    assert not {"automl.googleapis.com", "aiplatform.googleapis.com"} & apis


@pytest.mark.parametrize("model_id", ["ICN7", "projects/models-of-all/locations/us-central1/endpoints/7"])
def test_no_other_model_may_have_the_models_bucket_read(model_id: str):
    declared = declare(modelId=model_id)
    assert not [
        grant for grant in declared.of("storage/bucketIAMMember:BucketIAMMember") if grant.inputs["bucket"] == MODELS
    ]


def test_what_a_user_gets_told(line: Inventory):
    assert line.outputs == {
        "inboundBucket": f"gs://{INBOUND}",
        "reviewUrl": f"https://{NAME}-review-dot-{APP_ENGINE_HOST}",
        "predictionBucket": f"gs://{PREDICTED}",
        "modelsBucket": f"gs://{MODELS}",
        "uploadCommand": f"gcloud storage cp IMAGE gs://{INBOUND}",
        "deadLetters": {
            path: f"projects/{PROJECT}/subscriptions/{NAME}-{path}-dead-letters" for path in ("images", "predictions")
        },
        "topics": {path: f"projects/{PROJECT}/topics/{NAME}-{path}" for path in ("images", "predictions")},
    }


# Rules for all of it; those that guard images, rights and alerts are in policies.py.


def test_a_push_waits_no_shorter_than_the_function_may_take():
    slow = declare(predict={"timeoutSeconds": 300})
    assert slow.one("pubsub/subscription:Subscription", "images-subscription").inputs["ackDeadlineSeconds"] == 300
    assert slow.one("pubsub/subscription:Subscription", "predictions-subscription").inputs["ackDeadlineSeconds"] == 120


def test_apis_stay_enabled_on_destroy(line: Inventory):
    assert all(api.inputs["disableOnDestroy"] is False for api in line.of("projects/service:Service"))


def test_everything_waits_for_the_apis_and_the_notification_for_its_grant(line: Inventory):
    apis = {api.urn for api in line.of("projects/service:Service")}
    for resource in line:
        if resource.custom and resource.urn not in apis and "ServiceIdentity" not in resource.type:
            assert apis <= set(resource.depends_on), resource.name
    publisher = line.one("pubsub/topicIAMMember:TopicIAMMember", "announcement-publisher")
    notification = line.one("storage/notification:Notification", "announcement-notification")
    assert publisher.urn in prerequisites(line)[notification.urn]


def test_the_engine_waits_again_where_a_grant_joins_or_replaces_another(line: Inventory):
    waits = [resource for resource in line if resource.waits]
    assert {wait.name: set(wait.inputs["input"]) for wait in waits} == {
        f"{part}-grants-settled": {
            grant.name
            for grant in line
            if grant.type in BINDINGS and grant.inputs["member"] == member and grant.name.startswith(f"{part}-")
        }
        for part, member in (
            ("build", account("build")),
            ("app-engine", APP_ENGINE_BUILDER),
            ("announcement", STORAGE_AGENT),
        )
    }
    assert sum(len(wait.inputs["input"]) for wait in waits) == 4 + 4 + 1


def test_in_a_new_project_the_wait_is_as_long_as_grants_take_as_a_rule():
    """Google: "Typically 2 minutes" (https://cloud.google.com/iam/docs/access-change-propagation)."""
    assert Settings.model_fields["grant_wait_seconds"].default >= 120


def test_destroy_closes_the_door_first(line: Inventory):
    stage = {name: number for number, names in enumerate(stages_of_destruction(line.resources)) for name in names}
    assert stage["announcement-notification"] == 0
    assert stage["buckets-inbound"] == 1
    needed = ("images-subscription", "predict-function", "predictions-subscription", "move-function", "move-invoker")
    assert [name for name in needed if stage[name] <= stage["buckets-inbound"]] == []
    assert stage["images-subscription"] < stage["images-topic"]


def test_a_stack_of_an_earlier_version_keeps_its_inbound_bucket_and_the_grants_on_it(line: Inventory):
    moved = {resource.name: resource.former_parents for resource in line if resource.former_parents}
    parents = {part.type.rpartition(":")[2]: part.urn for part in line if not part.custom}
    assert moved == {
        "buckets-inbound": (parents["Buckets"],),
        "predict-image-reader": (parents["Predict"],),
        "move-image-taker": (parents["Move"],),
    }


def test_a_function_is_built_only_when_its_builder_has_all_its_grants(line: Inventory):
    grants = {grant.urn for grant in line if grant.name.startswith("build-") and grant.type in BINDINGS}
    assert len(grants) == 4
    for function in line.of("cloudfunctionsv2/function:Function"):
        assert grants <= set(function.depends_on)


def test_an_overload_of_three_hours_makes_no_dead_letter(line: Inventory):
    for subscription in line.of("pubsub/subscription:Subscription"):
        if policy := subscription.inputs.get("deadLetterPolicy"):
            backoff = {key: int(value.removesuffix("s")) for key, value in subscription.inputs["retryPolicy"].items()}
            # https://cloud.google.com/pubsub/docs/handling-failures#exponential_backoff
            pauses = [
                min(backoff["minimumBackoff"] * 2**number, backoff["maximumBackoff"])
                for number in range(int(policy["maxDeliveryAttempts"]) - 1)
            ]
            assert sum(pauses) > 1.5 * 3 * 3600, subscription.name
