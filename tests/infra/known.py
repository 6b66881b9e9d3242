"""What the policies know: kinds of resources, roles on a whole project, and the types that rules ask about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

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
ENCRYPTED = "4dabf18193072939515e22adb298388d"
"""The key by which Pulumi marks a value as secret (`pulumi.runtime.rpc._special_sig_key`)."""
