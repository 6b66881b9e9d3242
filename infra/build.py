"""Who builds the functions, and where the images go that it makes of them."""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import artifactregistry, projects, serviceaccount, storage

from infra.grants import settled
from infra.part import Part
from infra.settings import Settings


@dataclass(frozen=True, kw_only=True)
class BuildArgs:
    """Where to build from and to."""

    settings: Settings
    sources: storage.Bucket


class Build(Part):
    """An identity of its own: a project's default one may have no rights, or far too many."""

    account: serviceaccount.Account
    repository: artifactregistry.Repository

    def __init__(self, name: str, args: BuildArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Functions that are built here wait for the whole component: a build needs every one of its grants, in effect."""
        super().__init__("Build", name, opts)
        settings = args.settings
        self.account = serviceaccount.Account(
            f"{name}-account",
            account_id=f"{settings.name}-build",
            display_name="Inspection: builds the functions",
            opts=self.child(),
        )
        self.repository = artifactregistry.Repository(
            f"{name}-images",
            repository_id=settings.name,
            location=settings.region,
            format="DOCKER",
            description="Images of the inspection functions",
            labels=settings.resource_labels,
            # Each deployment leaves an image; two to fall back on are enough.
            cleanup_policies=[
                artifactregistry.RepositoryCleanupPolicyArgs(
                    id="keep-latest",
                    action="KEEP",
                    most_recent_versions=artifactregistry.RepositoryCleanupPolicyMostRecentVersionsArgs(keep_count=3),
                ),
                artifactregistry.RepositoryCleanupPolicyArgs(
                    id="delete-old",
                    action="DELETE",
                    condition=artifactregistry.RepositoryCleanupPolicyConditionArgs(older_than="2592000s"),
                ),
            ],
            opts=self.child(),
        )
        image_writer = artifactregistry.RepositoryIamMember(
            f"{name}-image-writer",
            repository=self.repository.repository_id,
            location=settings.region,
            role="roles/artifactregistry.writer",
            member=self.account.member,
            opts=self.child(),
        )
        source_reader = storage.BucketIAMMember(
            f"{name}-source-reader",
            bucket=args.sources.name,
            role="roles/storage.objectViewer",
            member=self.account.member,
            opts=self.child(),
        )
        # Cloud Functions copies the zip to a bucket that it makes itself when it first builds, so that there is none
        # yet to bind this to.
        copied_source_reader = projects.IAMMember(
            f"{name}-copied-source-reader",
            project=settings.project,
            role="roles/storage.objectViewer",
            member=self.account.member,
            condition=projects.IAMMemberConditionArgs(
                title="Only the sources of functions",
                expression='resource.name.startsWith("projects/_/buckets/gcf-v2-sources-")',
            ),
            opts=self.child(),
        )
        # The log of a build; there is no narrower place than the project to write one to.
        log_writer = projects.IAMMember(
            f"{name}-log-writer",
            project=settings.project,
            role="roles/logging.logWriter",
            member=self.account.member,
            opts=self.child(),
        )
        # A build that starts right after the grants to a new account fails.
        settled(
            f"{name}-grants-settled",
            [image_writer, source_reader, copied_source_reader, log_writer],
            seconds=settings.grant_wait_seconds,
            opts=self.child(),
        )
        self.register_outputs({"email": self.account.email, "repository": self.repository.id})
