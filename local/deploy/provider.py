"""Makes real, on this machine, each resource that the Pulumi program declares.

The engine's place is taken by Pulumi's own mocks: every resource arrives here with resolved inputs, after what it
depends on, in several threads at once. A resource type that is not in the tables below is an error, so that nothing
that the program declares is skipped silently.
"""

import json
import threading
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol, cast

import pulumi
from google.cloud import pubsub_v1, storage
from google.pubsub_v1.types import Subscription

from local.google.front import Front
from local.google.gate import ApiError
from local.google.http import HOST
from local.google.permissions import CONSUME, PUBLISH, READ, Binding, Need, Permissions, object_name

PROJECT_NUMBER = "123456789012"
STORAGE_AGENT = f"service-{PROJECT_NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
PUBSUB_AGENT = f"service-{PROJECT_NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"

_DOWNLOADS = "https://storage.googleapis.com/"
_WRITE_IMAGE = "artifactregistry.repositories.uploadArtifacts"

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]


class Runner(Protocol):
    """What can start a declared program. Each raises `CannotStartError` if the program does not come to listen."""

    def start_function(self, name: str, *, archive: bytes, entry_point: str, service: Inputs) -> int:
        """Start a function from its archive; returns the port that it listens on."""
        ...

    def start_service(
        self, name: str, *, archive: bytes, shell: str, identity: str, variables: Mapping[str, str]
    ) -> int:
        """Start an App Engine service from its archive; returns the port that it listens on."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Build:
    """What Google's builder does before anything runs; here nothing is built, but it is asked who may.

    https://cloud.google.com/functions/docs/securing/build-custom-sa; App Engine's build needs the same.
    """

    account: str
    bucket: str
    name: str
    """Of the zip in the bucket."""
    needs: tuple[Need, ...]
    """Besides reading the zip."""


class CannotUpdateError(Exception):
    """A resource that exists is declared with other inputs."""


class UnknownResourceError(Exception):
    """The program declares something that the local cloud cannot run and does not know to leave out."""


# What changes nothing on one machine; each is listed when the local cloud starts.
IGNORED = {
    "gcp:logging/metric:Metric": ("log metric", "log metrics"),
    "gcp:logging/projectBucketConfig:ProjectBucketConfig": ("log bucket", "log buckets"),
    "gcp:logging/projectSink:ProjectSink": ("log sink", "log sinks"),
    "gcp:monitoring/alertPolicy:AlertPolicy": ("alert policy", "alert policies"),
    "gcp:monitoring/notificationChannel:NotificationChannel": ("notification channel", "notification channels"),
    "gcp:monitoring/dashboard:Dashboard": ("dashboard", "dashboards"),
    "gcp:billing/budget:Budget": ("budget", "budgets"),
    "gcp:projects/service:Service": ("API enablement", "API enablements"),
    "time:index/sleep:Sleep": ("wait", "waits"),
}
"""Resource types that change nothing on one machine, with their names for the user (one, several)."""

# Of a bucket's arguments, those that count here; `forceDestroy` is for its end, which here is the cloud's.
_BUCKET_INPUTS = {
    "forceDestroy", "labels", "location", "name", "publicAccessPrevention", "softDeletePolicy", "uniformBucketLevelAccess",
}  # fmt: skip

# Type of the resource -> what the role is granted on, and the input that names it.
_BINDINGS = {
    "gcp:projects/iAMMember:IAMMember": ("project", "project"),
    "gcp:serviceaccount/iAMMember:IAMMember": ("service account", "serviceAccountId"),
    "gcp:storage/bucketIAMMember:BucketIAMMember": ("bucket", "bucket"),
    "gcp:pubsub/topicIAMMember:TopicIAMMember": ("topic", "topic"),
    "gcp:pubsub/subscriptionIAMMember:SubscriptionIAMMember": ("subscription", "subscription"),
    "gcp:cloudrunv2/serviceIamMember:ServiceIamMember": ("service", "name"),
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": ("repository", "repository"),
    "gcp:vertex/aiEndpointIamMember:AiEndpointIamMember": ("endpoint", "endpoint"),
    "gcp:iap/appEngineServiceIamMember:AppEngineServiceIamMember": ("App Engine service", "service"),
}


class LocalProvider(pulumi.runtime.Mocks):
    """Creates what the program declares through the clients of the local services."""

    def __init__(
        self,
        *,
        project: str,
        storage_client: storage.Client,
        publisher: pubsub_v1.PublisherClient,
        subscriber: pubsub_v1.SubscriberClient,
        runner: Runner,
        permissions: Permissions,
        front: Front,
        before_build: Callable[[str], None] = lambda _: None,
    ) -> None:
        """The clients speak as the engineer at the machine; bindings go to `permissions`, functions behind `front`.

        `before_build` is called with the name of each function and App Engine service when its build begins. The build
        takes as long as the call, and fails with the exception that it raises.
        """
        self._project = project
        self._storage = storage_client
        self._publisher = publisher
        self._subscriber = subscriber
        self._runner = runner
        self._permissions = permissions
        self._front = front
        self._before_build = before_build
        self._created: dict[tuple[str, str], tuple[str, tuple[str, Outputs]]] = {}
        """By type and name, what was declared and what came of it."""
        self._lock = threading.Lock()
        self._dead_letters: dict[str, str] = {}
        """The dead-letter topic of each subscription that has one."""
        self._builds: list[_Build] = []
        self.ignored: dict[str, int] = {}
        """How many resources of each type of :data:`IGNORED` the program declared."""
        self.addresses: dict[str, str] = {}
        """App Engine's address of a service, as the program makes it, and the one that it has here."""
        self._makers: dict[str, Callable[[Inputs], tuple[str, Outputs]]] = {
            "pulumi:index:Stash": self._stash,
            "gcp:projects/serviceIdentity:ServiceIdentity": self._service_identity,
            "gcp:serviceaccount/account:Account": self._account,
            "gcp:artifactregistry/repository:Repository": self._repository,
            "gcp:storage/bucket:Bucket": self._bucket,
            "gcp:storage/bucketObject:BucketObject": self._bucket_object,
            "gcp:storage/notification:Notification": self._notification,
            "gcp:pubsub/topic:Topic": self._topic,
            "gcp:pubsub/subscription:Subscription": self._subscription,
            "gcp:cloudfunctionsv2/function:Function": self._function,
            "gcp:appengine/application:Application": self._application,
            "gcp:appengine/standardAppVersion:StandardAppVersion": self._app_version,
        }

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        """One resource of the program: created, unless an earlier run of the program has created it.

        Raises:
            CannotUpdateError: it was created from other inputs.
        """
        key, declared = (args.typ, args.name), json.dumps(args.inputs, default=vars, sort_keys=True)
        if key not in self._created:
            self._created[key] = declared, self._make(args)
        before, outcome = self._created[key]
        if before != declared:
            raise CannotUpdateError(
                f"{args.name} has changed. The local cloud updates nothing: stop it and start it again"
            )
        return outcome

    @property
    def existing(self) -> AbstractSet[tuple[str, str]]:
        """Type and name of all that was created up to now."""
        return frozenset(self._created)

    def call(  # pyright: ignore[reportIncompatibleMethodOverride]  # the mocks take a bare dict as well
        self, args: pulumi.runtime.MockCallArgs
    ) -> dict[Any, Any]:
        """One invoke of the program."""
        invoke = args.token
        project: str = args.args.get("project") or args.args.get("projectId") or self._project
        if invoke == "gcp:storage/getProjectServiceAccount:getProjectServiceAccount":
            member = f"serviceAccount:{STORAGE_AGENT}"
            return {"emailAddress": STORAGE_AGENT, "member": member, "id": STORAGE_AGENT, "project": project}
        if invoke == "gcp:organizations/getProject:getProject":
            return {"number": PROJECT_NUMBER, "projectId": project, "id": f"projects/{project}", "name": project}
        if invoke == "gcp:appengine/getDefaultServiceAccount:getDefaultServiceAccount":
            email = f"{project}@appspot.gserviceaccount.com"
            return {"email": email, "member": f"serviceAccount:{email}", "id": email, "project": project}
        raise UnknownResourceError(f"the local cloud does not know the invoke {invoke!r}: add it to {__name__}")

    def _make(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, Outputs]:
        if not args.custom:  # a component only groups others
            return args.name, dict(args.inputs)
        if make := self._makers.get(args.typ):
            resource_id, outputs = make(args.inputs)
            return resource_id, {**args.inputs, **outputs}
        if args.typ in _BINDINGS:
            return self._bind(args)
        if args.typ in IGNORED:
            with self._lock:
                self.ignored[args.typ] = self.ignored.get(args.typ, 0) + 1
            return args.name, {"name": args.name, **args.inputs}
        message = (
            f"the program declares {args.name!r} of type {args.typ!r}, which the local cloud does not know: "
            f"make it in {__name__}, or list it there as what changes nothing on one machine"
        )
        raise UnknownResourceError(message)

    def _bind(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, Outputs]:
        kind, key = _BINDINGS[args.typ]
        condition = args.inputs.get("condition")
        if kind == "bucket" and self._storage.lookup_bucket(args.inputs[key]) is None:
            raise ApiError(404, "notFound", f"{args.name}: the bucket {args.inputs[key]} does not exist.")
        binding = Binding(
            name=args.name,
            kind=kind,
            resource=args.inputs[key],
            role=args.inputs["role"],
            member=args.inputs["member"],
            condition=condition["expression"] if condition else None,
        )
        self._permissions.grant(binding)
        return f"{binding.resource}/{binding.role}/{binding.member}", dict(args.inputs)

    def _stash(self, inputs: Inputs) -> tuple[str, Outputs]:
        """Kept in a stack's state alone; its hook has waited by now."""
        return "stash", {"output": inputs["input"]}

    def _service_identity(self, inputs: Inputs) -> tuple[str, Outputs]:
        agent = inputs["service"].split(".")[0]
        email = f"service-{PROJECT_NUMBER}@gcp-sa-{agent}.iam.gserviceaccount.com"
        return email, {"email": email, "member": f"serviceAccount:{email}"}

    def _account(self, inputs: Inputs) -> tuple[str, Outputs]:
        email = f"{inputs['accountId']}@{self._project}.iam.gserviceaccount.com"
        path = f"projects/{self._project}/serviceAccounts/{email}"
        return path, {"email": email, "member": f"serviceAccount:{email}", "name": path}

    def _bucket(self, inputs: Inputs) -> tuple[str, Outputs]:
        if others := sorted(inputs.keys() - _BUCKET_INPUTS):
            message = f"the bucket {inputs['name']!r} declares {', '.join(others)}, which the local cloud does not do"
            raise UnknownResourceError(message)
        bucket = self._storage.bucket(inputs["name"])
        bucket.labels = inputs.get("labels") or {}
        access = bucket.iam_configuration
        access.uniform_bucket_level_access_enabled = bool(inputs.get("uniformBucketLevelAccess"))
        access.public_access_prevention = inputs.get("publicAccessPrevention") or "inherited"
        if (kept := inputs.get("softDeletePolicy")) is not None:
            # Refused by the storage unless it is 0.
            bucket.soft_delete_policy.retention_duration_seconds = int(kept["retentionDurationSeconds"])
        self._storage.create_bucket(bucket, location=inputs["location"])
        return inputs["name"], {"url": f"gs://{inputs['name']}"}

    def _bucket_object(self, inputs: Inputs) -> tuple[str, Outputs]:
        source: pulumi.FileAsset = inputs["source"]
        blob = self._storage.bucket(inputs["bucket"]).blob(inputs["name"])
        blob.upload_from_filename(source.path)
        return f"{inputs['bucket']}-{inputs['name']}", {"outputName": inputs["name"]}

    def _notification(self, inputs: Inputs) -> tuple[str, Outputs]:
        topic = inputs["topic"].removeprefix("//pubsub.googleapis.com/")
        _, project, _, topic_name = topic.split("/")
        if not self._permissions.allows(f"serviceAccount:{STORAGE_AGENT}", Need(permission=PUBLISH, resource=topic)):
            message = (
                f"The service account '{STORAGE_AGENT}' does not have permission to publish messages to the Cloud "
                f"Pub/Sub topic '{inputs['topic']}', or that topic does not exist."
            )
            raise ApiError(403, "forbidden", message)
        notification = self._storage.bucket(inputs["bucket"]).notification(
            topic_name=topic_name,
            topic_project=project,
            event_types=inputs["eventTypes"],
            payload_format=inputs["payloadFormat"],
            custom_attributes=inputs.get("customAttributes"),
            blob_name_prefix=inputs.get("objectNamePrefix"),
        )
        notification.create()
        return str(notification.notification_id), {}

    def _topic(self, inputs: Inputs) -> tuple[str, Outputs]:
        path = f"projects/{self._project}/topics/{inputs['name']}"
        self._publisher.create_topic(name=path)
        return path, {}

    def _subscription(self, inputs: Inputs) -> tuple[str, Outputs]:
        path = f"projects/{self._project}/subscriptions/{inputs['name']}"
        # Of the API, but for the words: what it does not support, it refuses by name.
        declared = {key: value for key, value in inputs.items() if key not in {"name", "topic"} and value is not None}
        if (expiry := declared.get("expirationPolicy")) is not None and not expiry.get("ttl"):
            declared["expirationPolicy"] = {}
        if dead := declared.get("deadLetterPolicy"):
            topic = self._topic_path(dead["deadLetterTopic"])
            declared["deadLetterPolicy"] = {**dead, "deadLetterTopic": topic}
            self._dead_letters[path] = topic
        request = {"name": path, "topic": self._topic_path(inputs["topic"]), **declared}
        subscription = cast("Subscription", Subscription.from_json(json.dumps(request)))
        self._subscriber.create_subscription(request=subscription)
        return path, {}

    def without_dead_letters(self) -> list[str]:
        """The paths of the subscriptions that forward none, as Pub/Sub's agent lacks one of its two permissions."""
        member = f"serviceAccount:{PUBSUB_AGENT}"
        return [
            path
            for path, topic in self._dead_letters.items()
            if not self._permissions.allows(member, Need(permission=PUBLISH, resource=topic))
            or not self._permissions.allows(member, Need(permission=CONSUME, resource=path))
        ]

    def _topic_path(self, topic: str) -> str:
        return topic if topic.startswith("projects/") else f"projects/{self._project}/topics/{topic}"

    def _function(self, inputs: Inputs) -> tuple[str, Outputs]:
        build, service = inputs["buildConfig"], inputs["serviceConfig"]
        source = build["source"]["storageSource"]
        # Google reads the zip, and then, as the account that builds, a copy of it in a bucket of its own.
        copy = object_name(f"gcf-v2-sources-{PROJECT_NUMBER}-{inputs['location']}", inputs["name"])
        archive = self._build(
            _Build(
                account=build["serviceAccount"].rpartition("/")[2],
                bucket=source["bucket"],
                name=source["object"],
                needs=(
                    Need(permission=READ, resource=copy),
                    Need(permission=_WRITE_IMAGE, resource=build["dockerRepository"]),
                    self._write_log,
                ),
            )
        )
        self._before_build(inputs["name"])
        port = self._runner.start_function(
            inputs["name"], archive=archive, entry_point=build["entryPoint"], service=service
        )
        path = f"projects/{self._project}/locations/{inputs['location']}"
        resource = f"{path}/services/{inputs['name']}"
        address = self._front.open(inputs["name"], resource=resource, port=port, seconds=int(service["timeoutSeconds"]))
        outputs = {
            "url": address,
            "serviceConfig": {**service, "uri": address, "service": resource},
        }
        return f"{path}/functions/{inputs['name']}", outputs

    @property
    def _write_log(self) -> Need:
        return Need(permission="logging.logEntries.create", resource=f"projects/{self._project}")

    def _build(self, build: "_Build") -> bytes:
        """The zip to run, if whoever builds from it has all the permissions that Google's builder needs."""
        for need in (Need(permission=READ, resource=object_name(build.bucket, build.name)), *build.needs):
            self._permissions.require(build.account, need)
        with self._lock:
            if build not in self._builds:
                self._builds.append(build)
        return self._storage.bucket(build.bucket).blob(build.name).download_as_bytes()

    def build_again(self) -> None:
        """Build all that runs once more, as the next deployment does.

        Raises:
            PermissionDeniedError: who builds may not.
        """
        for build in list(self._builds):
            self._build(build)

    def _repository(self, inputs: Inputs) -> tuple[str, Outputs]:
        """Of images, which are not made here."""
        return f"projects/{self._project}/locations/{inputs['location']}/repositories/{inputs['repositoryId']}", {}

    def _application(self, _: Inputs) -> tuple[str, Outputs]:
        """Made or found: here, every project has one. What is only looked up has no inputs."""
        self._storage.create_bucket(self._staging)
        return self._project, {"defaultHostname": self._app_engine_host(), "codeBucket": self._staging}

    @property
    def _staging(self) -> str:
        return f"staging.{self._app_engine_host()}"

    def _app_version(self, inputs: Inputs) -> tuple[str, Outputs]:
        service = inputs["service"]
        bucket, _, name = inputs["deployment"]["zip"]["sourceUrl"].removeprefix(_DOWNLOADS).partition("/")
        images = f"projects/{self._project}/locations/-/repositories/gae-standard"
        # App Engine copies the zip to its staging bucket, from which it builds.
        staged = object_name(self._staging, name)
        needs = (
            Need(permission=READ, resource=staged),
            Need(permission=_WRITE_IMAGE, resource=images),
            self._write_log,
        )
        archive = self._build(
            _Build(account=f"{self._project}@appspot.gserviceaccount.com", bucket=bucket, name=name, needs=needs)
        )
        self._before_build(service)
        port = self._runner.start_service(
            service,
            archive=archive,
            shell=inputs["entrypoint"]["shell"],
            identity=inputs["serviceAccount"],
            variables=inputs.get("envVariables", {}),
        )
        prefix = "" if service == "default" else f"{service}-dot-"
        with self._lock:
            self.addresses[f"https://{prefix}{self._app_engine_host()}"] = f"http://{HOST}:{port}"
        path = f"apps/{self._project}/services/{service}/versions/{inputs['versionId']}"
        return path, {"name": path}

    def _app_engine_host(self) -> str:
        return f"{self._project}.appspot.com"
