"""The buckets that are there before any image arrives, and what every bucket has in common.

Deliberately absent: versioning (no object is ever overwritten or deleted in the prediction bucket by this system) and a
lifecycle for old zips (the engine removes a zip when a newer one has taken its place). The inbound bucket comes last:
`announcement.py`.
"""

import pulumi
from pulumi_gcp import storage

from infra.part import Part
from infra.settings import Settings


class Buckets(Part):
    """Where images lie sorted, where model files are, and where the sources of what runs are kept."""

    prediction: storage.Bucket
    sources: storage.Bucket
    models: storage.Bucket

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        """None of them can be made public."""
        super().__init__("Buckets", name, opts)
        self.prediction = image_bucket(
            f"{name}-prediction",
            settings.prediction_bucket,
            settings,
            self.child(protect=settings.protect_images),
        )
        self.sources = _bucket(
            f"{name}-sources",
            settings.sources_bucket,
            settings,
            delete_with_contents=True,  # nothing but zips, which any checkout can make again
            keep_deleted_seconds=0,
            opts=self.child(protect=False),
        )
        self.models = _bucket(
            f"{name}-models",
            settings.models_bucket,
            settings,
            delete_with_contents=settings.delete_buckets_with_contents,
            keep_deleted_seconds=settings.keep_deleted_images_seconds,
            opts=self.child(protect=settings.protect_images),
        )
        self.register_outputs(
            {"prediction": self.prediction.url, "sources": self.sources.url, "models": self.models.url}
        )


def image_bucket(name: str, bucket_name: str, settings: Settings, opts: pulumi.ResourceOptions) -> storage.Bucket:
    """A bucket that images lie in; whether it is protected is for `opts` to say."""
    # On the inbound bucket, soft deletion keeps a billed copy of every image that has moved on; it is also the only
    # way back to one that the camera replaced under the same name before its turn.
    return _bucket(
        name,
        bucket_name,
        settings,
        delete_with_contents=settings.delete_buckets_with_contents,
        keep_deleted_seconds=settings.keep_deleted_images_seconds,
        opts=opts,
    )


def _bucket(
    name: str,
    bucket_name: str,
    settings: Settings,
    *,
    delete_with_contents: bool,
    keep_deleted_seconds: int,
    opts: pulumi.ResourceOptions,
) -> storage.Bucket:
    return storage.Bucket(
        name,
        name=bucket_name,
        location=settings.bucket_location,
        labels=settings.resource_labels,
        uniform_bucket_level_access=True,
        public_access_prevention="enforced",
        # Always said: Cloud Storage would keep (and bill) deleted objects for a week by itself.
        soft_delete_policy=storage.BucketSoftDeletePolicyArgs(retention_duration_seconds=keep_deleted_seconds),
        force_destroy=delete_with_contents,
        opts=opts,
    )
