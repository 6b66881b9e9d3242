"""The door of the line: the inbound bucket, and how a new image in it is announced. It opens last and closes first.

Pub/Sub drops what is published to a topic without a subscription. So `__main__.py` makes this component wait for
everything that an image needs, and `pulumi destroy`, which goes the other way, begins here.
"""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import pubsub, storage

from infra.buckets import Buckets, image_bucket
from infra.grants import settled
from infra.move import Move
from infra.part import Part
from infra.predict import Predict
from infra.settings import Settings


@dataclass(frozen=True, kw_only=True)
class AnnouncementArgs:
    """Where announcements go, who publishes them, and who then takes the image."""

    settings: Settings
    topic: pubsub.Topic
    storage_agent: pulumi.Input[str]
    predict: Predict
    move: Move
    buckets: Buckets
    """The parent that the inbound bucket had in stacks of earlier versions."""


class Announcement(Part):
    """Each finished upload becomes a message with the object's name and generation."""

    bucket: storage.Bucket

    def __init__(self, name: str, args: AnnouncementArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the agent's grant, wait, then create the bucket, and at once its notification beside the grants on the bucket.

        An image that arrives before the notification lies in the bucket, where `inspection redrive` lists it. One that
        is announced before the grants take effect is refused (403), and Pub/Sub retries its message.
        """
        super().__init__("Announcement", name, opts)
        settings = args.settings
        # Cloud Storage checks it when the notification is created.
        publisher = pubsub.TopicIAMMember(
            f"{name}-publisher",
            topic=args.topic.name,
            role="roles/pubsub.publisher",
            member=args.storage_agent,
            opts=self.child(),
        )
        usable = settled(f"{name}-grants-settled", [publisher], seconds=settings.grant_wait_seconds, opts=self.child())
        self.bucket = image_bucket(
            "buckets-inbound",
            settings.inbound_bucket,
            settings,
            self.child(protect=settings.protect_images, depends_on=[usable], moved_from=args.buckets),
        )
        storage.Notification(
            f"{name}-notification",
            bucket=self.bucket.name,
            topic=args.topic.id,
            event_types=["OBJECT_FINALIZE"],
            payload_format="JSON_API_V1",
            opts=self.child(depends_on=[usable]),
        )
        self._grant(
            "predict-image-reader", "roles/storage.objectViewer", args.predict.function.account.member, args.predict
        )
        # It reads and deletes. No predefined role has objects.get and objects.delete alone; this one adds create and
        # update, and leaves the bucket itself and its policy out of reach.
        self._grant("move-image-taker", "roles/storage.objectUser", args.move.function.account.member, args.move)
        self.register_outputs({"bucket": self.bucket.url})

    def _grant(self, name: str, role: str, member: pulumi.Input[str], moved_from: Part) -> None:
        storage.BucketIAMMember(
            name, bucket=self.bucket.name, role=role, member=member, opts=self.child(moved_from=moved_from)
        )
