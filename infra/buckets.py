"""The three buckets, and how a new image in the first one is announced.

Deliberately absent: versioning (no object is ever overwritten or deleted in the prediction bucket by this system) and a
lifecycle for old zips (the engine removes a zip when a newer one has taken its place).
"""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import pubsub, storage

from infra.part import Part
from infra.settings import Settings


class Buckets(Part):
    """Where images arrive, where they lie sorted, and where the sources of what runs are kept."""

    inbound: storage.Bucket
    prediction: storage.Bucket
    sources: storage.Bucket

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        """None of them can be made public."""
        super().__init__("Buckets", name, opts)
        self._settings = settings
        self.inbound = self._image_bucket(f"{name}-inbound", settings.inbound_bucket)
        self.prediction = self._image_bucket(f"{name}-prediction", settings.prediction_bucket)
        self.sources = self._bucket(
            f"{name}-sources",
            settings.sources_bucket,
            delete_with_contents=True,  # nothing but zips, which any checkout can make again
            keep_deleted_seconds=0,
            protect=False,
        )
        self.register_outputs(
            {"inbound": self.inbound.url, "prediction": self.prediction.url, "sources": self.sources.url}
        )

    def _image_bucket(self, name: str, bucket_name: str) -> storage.Bucket:
        # On the inbound bucket, soft deletion keeps a billed copy of every image that has moved on; it is also the only
        # way back to one that the camera replaced under the same name before its turn.
        return self._bucket(
            name,
            bucket_name,
            delete_with_contents=self._settings.delete_buckets_with_contents,
            keep_deleted_seconds=self._settings.keep_deleted_images_seconds,
            protect=self._settings.protect_images,
        )

    def _bucket(
        self, name: str, bucket_name: str, *, delete_with_contents: bool, keep_deleted_seconds: int, protect: bool
    ) -> storage.Bucket:
        return storage.Bucket(
            name,
            name=bucket_name,
            location=self._settings.bucket_location,
            labels=self._settings.resource_labels,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            # Always said: Cloud Storage would keep (and bill) deleted objects for a week by itself.
            soft_delete_policy=storage.BucketSoftDeletePolicyArgs(retention_duration_seconds=keep_deleted_seconds),
            force_destroy=delete_with_contents,
            opts=self.child(protect=protect),
        )


@dataclass(frozen=True, kw_only=True)
class AnnouncementArgs:
    """Which bucket is watched, where its news go, and who carries them."""

    bucket: storage.Bucket
    topic: pubsub.Topic
    storage_agent: pulumi.Input[str]


class Announcement(Part):
    """Each finished upload becomes a message with the object's name and generation."""

    def __init__(self, name: str, args: AnnouncementArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """The agent's grant comes first: Cloud Storage tries it out when the notification is created."""
        super().__init__("Announcement", name, opts)
        publisher = pubsub.TopicIAMMember(
            f"{name}-publisher",
            topic=args.topic.name,
            role="roles/pubsub.publisher",
            member=args.storage_agent,
            opts=self.child(),
        )
        storage.Notification(
            f"{name}-notification",
            bucket=args.bucket.name,
            topic=args.topic.id,
            event_types=["OBJECT_FINALIZE"],
            payload_format="JSON_API_V1",
            opts=self.child(depends_on=[publisher]),
        )
        self.register_outputs({})
