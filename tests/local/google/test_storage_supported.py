"""What the local Cloud Storage does not do, it refuses by its name; what it is asked beyond its routes, in JSON."""

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import pulumi
import pytest
import requests
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from local.deploy.provider import LocalProvider, UnknownResourceError
from local.google.http import serve
from local.google.permissions import Binding, PermissionGate, Permissions
from local.google.storage.server import storage_app
from local.google.storage.store import ObjectStore
from tests.local.conftest import LocalStorage, existing

MEMBER = "serviceAccount:review@factory.iam.gserviceaccount.com"

BUCKET_SETTINGS: list[tuple[str, Any, str]] = [
    ("versioning", {"enabled": True}, "object versioning"),
    ("retentionPolicy", {"retentionPeriod": "60"}, "retention policies"),
    ("defaultEventBasedHold", True, "holds"),
    ("autoclass", {"enabled": True}, "Autoclass"),
    ("softDeletePolicy", {"retentionDurationSeconds": "604800"}, "soft deletion"),
    ("lifecycle", {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 1}}]}, "lifecycle rules"),
    ("cors", [{"origin": ["*"]}], "cross-origin"),
    ("billing", {"requesterPays": True}, "requester pays"),
    ("website", {"mainPageSuffix": "index.html"}, "websites"),
    ("logging", {"logBucket": "logs"}, "usage logs"),
    ("encryption", {"defaultKmsKeyName": "key"}, "encryption settings"),
    ("hierarchicalNamespace", {"enabled": True}, "hierarchical namespace"),
    ("rpo", "ASYNC_TURBO", "turbo replication"),
    ("acl", [{"entity": "allUsers", "role": "READER"}], "access control lists"),
    ("ipFilter", {"mode": "Enabled"}, "IP filtering"),
    ("somethingNew", {"enabled": True}, "'somethingNew' of a bucket"),
]
OBJECT_SETTINGS: list[tuple[str, Any, str]] = [
    ("temporaryHold", True, "holds"),
    ("eventBasedHold", True, "holds"),
    ("retention", {"mode": "Locked", "retainUntilTime": "2030-01-01T00:00:00Z"}, "retention"),
    ("acl", [{"entity": "allUsers", "role": "READER"}], "access control lists"),
    ("kmsKeyName", "key", "customer-managed"),
    ("contexts", {"custom": {"a": {"value": "b"}}}, "object contexts"),
    ("somethingNew", 1, "'somethingNew' of an object"),
]


def refused(answer: requests.Response, feature: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["errors"][0]["reason"]) == (400, "notImplemented"), answer.text
    assert feature in error["message"]


@pytest.mark.parametrize(("key", "value", "feature"), BUCKET_SETTINGS)
def test_a_bucket_s_setting_without_effect_is_refused_by_name(
    local_storage: LocalStorage,
    bucket: storage.Bucket,
    key: str,
    value: Any,  # noqa: ANN401  # any JSON
    feature: str,
) -> None:
    address = f"{local_storage.url}/storage/v1/b"
    refused(requests.post(address, json={"name": "never-made", key: value}), feature)
    assert requests.get(f"{address}/never-made").status_code == 404
    for method in ("PATCH", "PUT"):
        refused(requests.request(method, f"{address}/{bucket.name}", json={key: value}), feature)
    bucket.reload()
    assert bucket.metageneration == 1


def test_a_setting_that_says_off_is_no_request_for_it(bucket_names: Callable[[], str], client: storage.Client) -> None:
    bucket = client.bucket(bucket_names())
    bucket.versioning_enabled = False
    bucket.requester_pays = False
    bucket.soft_delete_policy.retention_duration_seconds = 0
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.iam_configuration.public_access_prevention = "enforced"
    bucket.labels = {"line": "castings"}
    client.create_bucket(bucket, location="europe-west3")
    bucket.lifecycle_rules = []
    bucket.cors = []
    bucket.patch()
    bucket.reload()
    assert bucket.labels == {"line": "castings"}
    assert bucket.iam_configuration.public_access_prevention == "enforced"
    bucket.update()  # sends the whole resource back


@pytest.mark.parametrize(("key", "value", "feature"), OBJECT_SETTINGS)
def test_an_object_s_setting_without_effect_is_refused_by_name(
    local_storage: LocalStorage,
    bucket: storage.Bucket,
    key: str,
    value: Any,  # noqa: ANN401  # any JSON
    feature: str,
) -> None:
    bucket.blob("a").upload_from_string(b"a")
    uploads = f"{local_storage.url}/upload/storage/v1/b/{bucket.name}/o?name=b&uploadType="
    objects = f"{local_storage.url}/storage/v1/b/{bucket.name}/o"
    parts = f"--x\r\n\r\n{json.dumps({key: value})}\r\n--x\r\n\r\nb\r\n--x--".encode()
    kind = {"Content-Type": "multipart/related; boundary=x"}
    refused(requests.post(f"{uploads}multipart", data=parts, headers=kind), feature)
    refused(requests.post(f"{uploads}resumable", json={key: value}), feature)
    refused(requests.patch(f"{objects}/a", json={key: value}), feature)
    refused(requests.put(f"{objects}/a", json={key: value}), feature)
    refused(requests.post(f"{objects}/a/rewriteTo/b/{bucket.name}/o/b", json={key: value}), feature)
    composed = {"sourceObjects": [{"name": "a"}], "destination": {key: value}}
    refused(requests.post(f"{objects}/b/compose", json=composed), feature)
    assert [blob.name for blob in bucket.list_blobs()] == ["a"]
    assert existing(bucket, "a").metageneration == 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "feature"),
    [
        ("GET", "/storage/v1/b?userProject=p", {}, "requester pays"),
        ("POST", "/storage/v1/b?predefinedAcl=publicRead", {}, "access control lists"),
        ("POST", "/storage/v1/b?enableObjectRetention=true", {}, "retention"),
        ("POST", "/upload/storage/v1/b/B/o?uploadType=media&name=a&predefinedAcl=private", {}, "access control lists"),
        ("POST", "/upload/storage/v1/b/B/o?uploadType=media&name=a&kmsKeyName=k", {}, "customer-managed"),
        (
            "POST",
            "/upload/storage/v1/b/B/o?uploadType=resumable&name=a",
            {"X-Goog-Encryption-Algorithm": "AES256"},
            "customer-supplied",
        ),
        ("GET", "/storage/v1/b/B/o?softDeleted=true", {}, "soft deletion"),
        ("GET", "/storage/v1/b/B/o/a", {"X-Goog-User-Project": "p"}, "requester pays"),
        ("GET", "/storage/v1/b/B/acl", {}, "access control lists"),
        ("PUT", "/storage/v1/b/B/o/a/acl/allUsers", {}, "access control lists"),
        ("POST", "/storage/v1/b/B/o/a/restore?generation=1", {}, "soft deletion"),
        ("POST", "/storage/v1/b/B/lockRetentionPolicy", {}, "retention policies"),
        ("POST", "/storage/v1/b/B/folders", {}, "hierarchical namespace"),
        ("POST", "/storage/v1/b/B/managedFolders", {}, "managed folders"),
        ("PUT", "/storage/v1/b/B/iam", {}, "changing IAM policies"),
        ("POST", "/storage/v1/projects/p/hmacKeys", {}, "HMAC keys"),
        ("POST", "/batch/storage/v1", {}, "batch requests"),
    ],
)
def test_a_request_for_what_is_not_done_is_refused_by_name(
    local_storage: LocalStorage,
    bucket: storage.Bucket,
    method: str,
    path: str,
    headers: dict[str, str],
    feature: str,
) -> None:
    address = local_storage.url + path.replace("/B", f"/{bucket.name}")
    refused(requests.request(method, address, headers=headers), feature)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/storage/v1/b/B/nothing"),
        ("GET", "/storage/v1/nothing"),
        ("DELETE", "/storage/v1/b/B/o"),
        ("POST", "/storage/v2/b"),
        ("POST", "/upload/storage/v1/b/B"),
        ("GET", "/download/storage/v1/b/B"),
        ("GET", "/v1/projects/p/secrets"),
    ],
)
def test_an_unknown_route_of_an_api_is_not_found_in_json(
    local_storage: LocalStorage, bucket: storage.Bucket, method: str, path: str
) -> None:
    answer = requests.request(method, local_storage.url + path.replace("/B", f"/{bucket.name}"))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["errors"][0]["reason"]) == (404, 404, "notFound")
    assert f"does not know {method} /" in error["message"]


def test_a_custom_time_only_goes_forward(bucket: storage.Bucket, local_storage: LocalStorage) -> None:
    bucket.blob("a").upload_from_string(b"a")
    address = f"{local_storage.url}/storage/v1/b/{bucket.name}/o/a"
    assert requests.patch(address, json={"customTime": "2026-11-26T08:30:00.5Z"}).status_code == 200
    for earlier in (None, "2026-11-26T09:29:00+01:00", "yesterday"):
        answer = requests.patch(address, json={"customTime": earlier})
        assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalid")
    assert requests.patch(address, json={"customTime": "2026-11-27T00:00:00Z"}).status_code == 200


def test_etags_hold_what_is_only_read(bucket: storage.Bucket) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"a")
    assert blob.download_as_bytes(if_etag_match=blob.etag) == b"a"
    old = blob.etag
    blob.metadata = {"a": "b"}
    blob.patch()
    with pytest.raises(api.PreconditionFailed):
        bucket.get_blob("a", if_etag_match=old)
    with pytest.raises(api.PreconditionFailed):
        blob.download_as_bytes(if_etag_match=old)
    with pytest.raises(api.NotModified):
        blob.download_as_bytes(if_etag_not_match=blob.etag)
    assert blob.download_as_bytes(if_etag_not_match=old) == b"a"


def test_a_bucket_s_policy_is_what_was_declared(tmp_path: Any) -> None:  # noqa: ANN401  # a path
    permissions = Permissions("factory")

    def grant(role: str, resource: str, condition: str | None = None) -> None:
        permissions.grant(
            Binding(name="b", kind="bucket", resource=resource, role=role, member=MEMBER, condition=condition)
        )

    condition = 'resource.name.startsWith("projects/_/buckets/pictures/objects/ok/")'
    with ObjectStore(tmp_path) as store:
        gate = PermissionGate(permissions, cast("Any", _Open()), exists=store.exists)
        app = storage_app(store, gate=gate, policies=lambda name: permissions.on("bucket", name))
        with serve(app) as server:
            client = storage.Client("factory", AnonymousCredentials(), client_options={"api_endpoint": server.url})
            bucket = client.create_bucket("pictures")
            assert [*bucket.get_iam_policy().bindings] == []
            grant("roles/storage.objectViewer", "pictures")
            grant("roles/storage.objectCreator", "pictures", condition)
            grant("roles/storage.objectUser", "others")
            told = {line["role"]: line for line in bucket.get_iam_policy(requested_policy_version=3).bindings}
            assert told.keys() == {"roles/storage.objectViewer", "roles/storage.objectCreator"}
            assert told["roles/storage.objectViewer"]["members"] == {MEMBER}
            assert told["roles/storage.objectCreator"]["condition"]["expression"] == condition
            simple = [line["role"] for line in bucket.get_iam_policy().bindings]
            assert any(role.startswith("roles/storage.objectCreator_withcond_") for role in simple)
            with pytest.raises(api.NotFound):
                client.bucket("nowhere").get_iam_policy()
            asker = requests.get(f"{server.url}/as/{MEMBER.partition(':')[2]}/storage/v1/b/pictures/iam")
            assert asker.status_code == 403
            assert "storage.buckets.getIamPolicy" in asker.text


class _Open:
    def enter(self, call: object) -> None:
        pass

    def leave(self, call: object) -> None:
        pass


def declared_bucket(client: storage.Client, **inputs: object) -> None:
    nothing = cast("Any", None)
    provider = LocalProvider(
        project="factory",
        storage_client=client,
        publisher=nothing,
        subscriber=nothing,
        runner=nothing,
        permissions=Permissions("factory"),
        front=nothing,
    )
    given: Mapping[str, object] = {"location": "EUROPE-WEST3", **inputs}
    provider.new_resource(
        pulumi.runtime.MockResourceArgs(typ="gcp:storage/bucket:Bucket", name="b", inputs=dict(given), custom=True)
    )


def test_a_declared_bucket_is_made_as_declared(client: storage.Client, bucket_names: Callable[[], str]) -> None:
    name = bucket_names()
    declared_bucket(
        client,
        name=name,
        labels={"stack": "local"},
        uniformBucketLevelAccess=True,
        publicAccessPrevention="enforced",
        softDeletePolicy={"retentionDurationSeconds": 0},
        forceDestroy=True,
    )
    made = client.get_bucket(name)
    assert (made.location, made.labels) == ("EUROPE-WEST3", {"stack": "local"})
    assert made.iam_configuration.uniform_bucket_level_access_enabled
    assert made.iam_configuration.public_access_prevention == "enforced"


def test_a_declared_setting_that_is_not_done_stops_the_program(
    client: storage.Client, bucket_names: Callable[[], str]
) -> None:
    name = bucket_names()
    with pytest.raises(UnknownResourceError, match="retentionPolicy, versioning"):
        declared_bucket(client, name=name, versioning={"enabled": True}, retentionPolicy={"retentionPeriod": 1})
    with pytest.raises(api.BadRequest, match="soft deletion"):
        declared_bucket(client, name=name, softDeletePolicy={"retentionDurationSeconds": 604800})
    assert client.lookup_bucket(name) is None
