"""Requests on buckets."""

from collections.abc import Callable

from starlette.responses import Response

from local.google.gate import Gate
from local.google.storage import resources
from local.google.storage.policy import Policies, policy_resource
from local.google.storage.records import Fields, StorageError
from local.google.storage.requests import StorageRequest, merge_patch, page_size, page_start, page_token, passing
from local.google.storage.resources import Resource
from local.google.storage.store import ObjectStore
from local.google.storage.supported import (
    bucket_fields,
)


class BucketHandlers:
    """Answers requests on buckets."""

    def __init__(self, store: ObjectStore, gate: Gate, policies: Policies) -> None:
        """`policies(bucket)` are the bindings on a bucket."""
        self._store = store
        self._gate = gate
        self._policies = policies

    def list_buckets(self, request: StorageRequest) -> Response:
        """Answer `buckets.list`."""
        with passing(self._gate, request.call("storage.buckets.list")):
            found, next_start = self._store.buckets(
                prefix=request.query("prefix") or "", start=page_start(request), limit=page_size(request)
            )
        listing: Resource = {"kind": "storage#buckets"}
        if found:
            listing["items"] = [resources.bucket_resource(bucket, request.base) for bucket in found]
        if next_start is not None:
            listing["nextPageToken"] = page_token(next_start)
        return request.answer(listing)

    def insert_bucket(self, request: StorageRequest) -> Response:
        """Answer `buckets.insert`."""
        fields = request.json()
        name = fields.pop("name", None)
        if not isinstance(name, str):
            raise StorageError(400, "required", "Required: the bucket's name")
        with passing(self._gate, request.call("storage.buckets.create", bucket=name)):
            bucket = self._store.create_bucket(name, bucket_fields(fields))
        return request.answer(resources.bucket_resource(bucket, request.base))

    def get_bucket(self, request: StorageRequest) -> Response:
        """Answer `buckets.get`."""
        name = request.name("bucket")
        with passing(self._gate, request.call("storage.buckets.get", bucket=name)):
            bucket = self._store.bucket(name, request.preconditions())
            request.check_etag(resources.etag(bucket.metageneration))
        return request.answer(resources.bucket_resource(bucket, request.base))

    def patch_bucket(self, request: StorageRequest) -> Response:
        """Answer `buckets.patch`."""
        patch = request.json()
        return self._update_bucket(request, lambda fields: bucket_fields(merge_patch(fields, patch)))

    def update_bucket(self, request: StorageRequest) -> Response:
        """Answer `buckets.update`."""
        new = request.json()
        return self._update_bucket(request, lambda fields: bucket_fields({"location": fields["location"]} | new))

    def _update_bucket(self, request: StorageRequest, change: Callable[[Fields], Fields]) -> Response:
        name = request.name("bucket")
        with passing(self._gate, request.call("storage.buckets.update", bucket=name)):
            bucket = self._store.update_bucket(name, change, request.preconditions())
        return request.answer(resources.bucket_resource(bucket, request.base))

    def delete_bucket(self, request: StorageRequest) -> Response:
        """Answer `buckets.delete`."""
        name = request.name("bucket")
        with passing(self._gate, request.call("storage.buckets.delete", bucket=name)):
            self._store.delete_bucket(name, request.preconditions())
        return Response(status_code=204)

    def storage_layout(self, request: StorageRequest) -> Response:
        """Answer `buckets.getStorageLayout`."""
        name = request.name("bucket")
        with passing(self._gate, request.call("storage.objects.list", bucket=name)):
            bucket = self._store.bucket(name)
        return request.answer(
            {
                "kind": "storage#storageLayout",
                "bucket": name,
                "location": bucket.fields["location"],
                "locationType": bucket.fields.get("locationType", "region"),
                "hierarchicalNamespace": {"enabled": False},
            }
        )

    def get_iam_policy(self, request: StorageRequest) -> Response:
        """https://cloud.google.com/storage/docs/json_api/v1/buckets/getIamPolicy."""
        name = request.name("bucket")
        version = request.number("optionsRequestedPolicyVersion") or 1
        with passing(self._gate, request.call("storage.buckets.getIamPolicy", bucket=name)):
            self._store.bucket(name)
        return request.answer(policy_resource(name, self._policies(name), version=version))
