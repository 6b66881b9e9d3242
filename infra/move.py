"""The function that sorts an image into its folder, and what it may do."""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import storage

from infra.function import Function, Platform
from infra.part import Part
from inspection.environment import MoveEnvironment


@dataclass(frozen=True, kw_only=True)
class MoveArgs:
    """Where it runs, and where images go."""

    platform: Platform
    prediction: storage.Bucket


class Move(Part):
    """Rewrites an image to the folder that its prediction calls for, then deletes it at its source."""

    function: Function

    def __init__(self, name: str, args: MoveArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """It can neither overwrite nor delete where images end up.

        What it may do where they arrive is granted when that bucket exists: `announcement.py`.
        """
        super().__init__("Move", name, opts)
        settings = args.platform.settings
        self.function = Function(
            name,
            platform=args.platform,
            limits=settings.move,
            does="sorts each image by its prediction",
            environment=args.prediction.name.apply(
                lambda bucket: MoveEnvironment(prediction_bucket=bucket, thresholds=settings.routing).to_variables()
            ),
            opts=self.child(),
        )
        # Creating without deleting means that nothing can be overwritten, whatever the code does.
        self._grant(f"{name}-image-sorter", args.prediction, "roles/storage.objectCreator")
        # To see, when a name is taken, whether it is this very image from an earlier attempt.
        self._grant(f"{name}-image-checker", args.prediction, "roles/storage.objectViewer")
        self.register_outputs({"uri": self.function.uri})

    def _grant(self, name: str, bucket: storage.Bucket, role: str) -> None:
        storage.BucketIAMMember(
            name, bucket=bucket.name, role=role, member=self.function.account.member, opts=self.child()
        )
