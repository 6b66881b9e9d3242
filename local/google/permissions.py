"""Who may do what: the program's bindings, the permissions of their roles, and the gate that holds calls to them.

A call of a service account passes if a binding that the program has declared up to now grants each permission that the
call needs, on the very resource; otherwise the answer is 403 in Google's words. Nothing is granted by default. The
engineer at the machine, who has no identity here, may do everything, as the owner of a project may.

Deliberately absent: deny policies and groups, which the program does not use, and answering 403 for a missing
object to somebody who may read but not list: each role here that reads objects lists them as well.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from local.google.gate import ApiError, Call, Gate

ANONYMOUS: Final = "allUsers"
"""Whoever calls without saying who; no binding of the program may name it."""

INVOKE: Final = "run.routes.invoke"
PUBLISH: Final = "pubsub.topics.publish"
READ: Final = "storage.objects.get"
CONSUME: Final = "pubsub.subscriptions.consume"
SIGN_PUSH: Final = "iam.serviceAccounts.getOpenIdToken"

# A role's permissions, from https://cloud.google.com/iam/docs/roles-permissions/<service>. A role of hundreds is cut
# down to what something here asks for, and says so.
ROLES: Final[Mapping[str, frozenset[str]]] = {
    "roles/storage.objectViewer": frozenset(
        {
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
            "storage.folders.get",
            "storage.folders.list",
            "storage.managedFolders.get",
            "storage.managedFolders.list",
            "storage.objects.get",
            "storage.objects.list",
        }
    ),
    "roles/storage.objectCreator": frozenset(
        {
            "orgpolicy.policy.get",
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
            "storage.folders.create",
            "storage.managedFolders.create",
            "storage.multipartUploads.abort",
            "storage.multipartUploads.create",
            "storage.multipartUploads.listParts",
            "storage.objects.create",
        }
    ),
    # Less those for folders, which this storage does not have.
    "roles/storage.objectUser": frozenset(
        {
            "orgpolicy.policy.get",
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
            "storage.multipartUploads.abort",
            "storage.multipartUploads.create",
            "storage.multipartUploads.list",
            "storage.multipartUploads.listParts",
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.get",
            "storage.objects.list",
            "storage.objects.move",
            "storage.objects.restore",
            "storage.objects.update",
        }
    ),
    "roles/pubsub.publisher": frozenset({PUBLISH}),
    "roles/pubsub.subscriber": frozenset(
        {"pubsub.snapshots.seek", CONSUME, "pubsub.topics.attachSubscription"},
    ),
    # Of hundreds.
    "roles/aiplatform.user": frozenset({"aiplatform.endpoints.predict"}),
    "roles/automl.predictor": frozenset(
        {"automl.models.predict", "resourcemanager.projects.get", "resourcemanager.projects.list"}
    ),
    "roles/run.invoker": frozenset({"run.jobs.run", INVOKE}),
    "roles/iam.serviceAccountTokenCreator": frozenset(
        {
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getAccessToken",
            SIGN_PUSH,
            "iam.serviceAccounts.implicitDelegation",
            "iam.serviceAccounts.list",
            "iam.serviceAccounts.signBlob",
            "iam.serviceAccounts.signJwt",
            "resourcemanager.projects.get",
            "resourcemanager.projects.list",
        }
    ),
    "roles/iam.serviceAccountOpenIdTokenCreator": frozenset({SIGN_PUSH}),
    "roles/iap.httpsResourceAccessor": frozenset(
        {
            "iap.webServiceVersions.accessViaIAP",
        }
    ),
    # Less what no build here asks for.
    "roles/artifactregistry.writer": frozenset(
        {"artifactregistry.repositories.downloadArtifacts", "artifactregistry.repositories.uploadArtifacts"}
    ),
    "roles/logging.logWriter": frozenset({"logging.logEntries.create", "logging.logEntries.route"}),
}

# What a binding's kind is called in a resource's full name. Bucket and project have rules of their own.
_COLLECTIONS: Final = {
    "topic": "topics",
    "subscription": "subscriptions",
    "service": "services",
    "service account": "serviceAccounts",
    "endpoint": "endpoints",
    "repository": "repositories",
    "App Engine service": "services",
}
# The only condition that the program sets (https://cloud.google.com/iam/docs/conditions-overview is a whole language).
_CONDITION = re.compile(r'resource\.name\.startsWith\("(?P<prefix>[^"]*)"\)')


class UnknownGrantError(Exception):
    """A declared binding that nothing is known about here; the text says what to add where."""


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One role, granted to one member on one resource."""

    name: str
    """The Pulumi resource's name."""
    kind: str
    """What it is granted on: bucket, topic, project..."""
    resource: str
    role: str
    member: str
    condition: str | None = None


@dataclass(frozen=True, kw_only=True)
class Need:
    """A permission on a resource, by its full name without the service: `projects/P/topics/T`."""

    permission: str
    resource: str


class PermissionDeniedError(ApiError):
    """A call that no binding permits; the message is Google's."""

    def __init__(self, identity: str, need: Need) -> None:
        """403, whatever the protocol."""
        super().__init__(403, "forbidden", _message(identity, need))


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What was refused, for whoever wants to see why something did not happen."""

    identity: str
    need: Need


class Permissions:
    """The bindings that hold now. Usable from any thread; a change counts from the next call on."""

    def __init__(self, project: str, *, grants_take_seconds: float = 0) -> None:
        """Nothing is granted yet.

        Args:
            project: where resources are whose names do not say so.
            grants_take_seconds: after which a new binding counts, as IAM is eventually consistent.
        """
        self._project = project
        self._grants_take_seconds = grants_take_seconds
        self._granted_at: dict[Binding, float] = {}
        self._lock = threading.Lock()
        self._bindings: list[Binding] = []
        self._refusals: list[Refusal] = []

    @property
    def bindings(self) -> list[Binding]:
        """What is granted now."""
        with self._lock:
            return list(self._bindings)

    def on(self, kind: str, resource: str) -> list[Binding]:
        """What is granted now on this very resource."""
        return [binding for binding in self.bindings if (binding.kind, binding.resource) == (kind, resource)]

    def grant(self, binding: Binding) -> None:
        """One more binding.

        Raises:
            UnknownGrantError: its role, its kind or its condition is not known here.
        """
        if binding.role not in ROLES:
            raise UnknownGrantError(
                f"{binding.name} grants {binding.role}, whose permissions are not known here: add them to ROLES in "
                f"{__name__} (known are {', '.join(sorted(ROLES))})"
            )
        if binding.kind not in _COLLECTIONS and binding.kind not in {"bucket", "project"}:
            raise UnknownGrantError(
                f"{binding.name} grants on a {binding.kind}, which is not known here: add it to {__name__}"
            )
        if binding.condition is not None and not _CONDITION.fullmatch(binding.condition):
            raise UnknownGrantError(
                f"{binding.name} has the condition {binding.condition!r}; known here is "
                f'resource.name.startsWith("...") alone: add it to {__name__}'
            )
        with self._lock:
            self._bindings.append(binding)
            self._granted_at[binding] = time.monotonic()

    def revoke(self, binding: Binding) -> None:
        """One binding less."""
        with self._lock:
            self._bindings.remove(binding)

    def allows(self, member: str, need: Need) -> bool:
        """Whether a binding gives `member` (`serviceAccount:...`, `user:...`) what is needed."""
        return any(
            binding.member in {member, ANONYMOUS}
            and need.permission in ROLES[binding.role]
            and self._covers(binding, need.resource)
            and time.monotonic() >= self._granted_at[binding] + self._grants_take_seconds
            for binding in self.bindings
        )

    def require(self, identity: str | None, need: Need) -> None:
        """Return if the service account may; None is the engineer at the machine, who may everything.

        Raises:
            PermissionDeniedError: it may not.
        """
        if identity is None or self.allows(f"serviceAccount:{identity}", need):
            return
        with self._lock:
            self._refusals.append(Refusal(identity=identity, need=need))
        raise PermissionDeniedError(identity, need)

    @property
    def refusals(self) -> list[Refusal]:
        """All that was refused so far, in order."""
        with self._lock:
            return list(self._refusals)

    def _covers(self, binding: Binding, resource: str) -> bool:
        if binding.condition is not None:
            match = _CONDITION.fullmatch(binding.condition)
            if match is None or not resource.startswith(match["prefix"]):
                return False
        project, *path = resource.split("/")[1:]
        match binding.kind:
            case "project":
                return binding.resource == (self._project if project in {"_", "-"} else project)
            case "bucket":
                return path[:2] == ["buckets", binding.resource]
            case kind:
                return path[-2:] == [_COLLECTIONS[kind], binding.resource.rpartition("/")[2]]


class PermissionGate:
    """Holds every call to the permissions, before `inner` sees it."""

    def __init__(self, permissions: Permissions, inner: Gate, *, exists: Callable[[str, str], bool]) -> None:
        """`exists(bucket, object)` tells whether a name is taken, as overwriting needs more than creating."""
        self._permissions = permissions
        self._inner = inner
        self._exists = exists

    def enter(self, call: Call) -> None:
        """Refuse, or let the inner gate decide.

        Raises:
            PermissionDeniedError: the caller may not.
        """
        if call.identity is not None:
            for need in needs(call, self._exists):
                self._permissions.require(call.identity, need)
        self._inner.enter(call)

    def leave(self, call: Call) -> None:
        """Let the inner gate decide."""
        self._inner.leave(call)


# Methods of one object that ask for one permission on it
# (https://cloud.google.com/storage/docs/access-control/iam-json).
_ON_OBJECT: Final = {
    "storage.objects.get": "storage.objects.get",
    "storage.objects.update": "storage.objects.update",
    "storage.objects.delete": "storage.objects.delete",
}
# https://cloud.google.com/pubsub/docs/access-control#required_permissions; other methods are the engineer's alone.
_CONSUMING: Final = {
    f"Subscriber/{method}": CONSUME for method in ("Acknowledge", "ModifyAckDeadline", "Pull", "StreamingPull")
}
_COPIES: Final = {"storage.objects.rewrite", "storage.objects.copy"}


def needs(call: Call, exists: Callable[[str, str], bool]) -> list[Need]:
    """What a call needs. A method that is not known here needs a permission of its own name, which nobody has."""
    if call.bucket is None:
        return [Need(permission=_CONSUMING.get(call.method, call.method), resource=_resource_name(call))]
    if call.object is None:
        return [Need(permission=call.method, resource=_bucket_name(call.bucket))]
    at = object_name(call.bucket, call.object)
    if call.method in _ON_OBJECT:
        return [Need(permission=_ON_OBJECT[call.method], resource=at)]
    if call.method == "storage.objects.insert":
        return _writing(call, call.bucket, call.object, exists)
    if call.method == "storage.multipartUploads.create":
        return [Need(permission=call.method, resource=at), *_writing(call, call.bucket, call.object, exists)]
    if call.destination_bucket is None or call.destination_object is None:
        return [Need(permission=call.method, resource=at)]
    writing = _writing(call, call.destination_bucket, call.destination_object, exists)
    if call.method in _COPIES:
        return [Need(permission="storage.objects.get", resource=at), *writing]
    # Or get and delete (https://cloud.google.com/storage/docs/json_api/v1/objects/move); every role that has those
    # two has this one.
    return [Need(permission="storage.objects.move", resource=at), *writing]


def _writing(call: Call, bucket: str, name: str, exists: Callable[[str, str], bool]) -> list[Need]:
    at = object_name(bucket, name)
    creating = Need(permission="storage.objects.create", resource=at)
    # With ifGenerationMatch=0 nothing is ever overwritten: a taken name is answered with 412.
    if call.only_if_absent or not exists(bucket, name):
        return [creating]
    return [creating, Need(permission="storage.objects.delete", resource=at)]


def _bucket_name(bucket: str) -> str:
    return f"projects/_/buckets/{bucket}"


def object_name(bucket: str, name: str) -> str:
    """As IAM conditions see it (https://cloud.google.com/iam/docs/conditions-resource-attributes)."""
    return f"{_bucket_name(bucket)}/objects/{name}"


def account_name(email: str) -> str:
    """A service account's full name, whichever project it is in."""
    return f"projects/-/serviceAccounts/{email}"


def _resource_name(call: Call) -> str:
    resource = call.resource or "projects/-"
    return account_name(resource) if call.method.startswith("iam.serviceAccounts.") else resource


def _message(identity: str, need: Need) -> str:
    service = need.permission.partition(".")[0]
    match service:
        case "storage":
            what = "object" if "/objects/" in need.resource else "bucket"
            return (
                f"{identity} does not have {need.permission} access to the Google Cloud Storage {what}. "
                f"Permission '{need.permission}' denied on resource (or it may not exist)."
            )
        case "pubsub":
            return "User not authorized to perform this action."
        case "run":
            return "Your client does not have permission to get URL / from this server."
        case "iam":
            return f"Permission '{need.permission}' denied on resource (or it may not exist)."
        case _:
            resource = f"//{service}.googleapis.com/{need.resource}"
            return f"Permission '{need.permission}' denied on resource '{resource}' (or it may not exist)."
