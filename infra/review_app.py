"""The review app: an App Engine service, what it may do, and who may look."""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import appengine, iap, organizations, serviceaccount, storage

from infra.app_engine import VERSION, AppEngine, handler, listens_on, runs, scaling
from infra.archive import build_review_archive
from infra.function import RUNTIME, Platform
from infra.naming import review_service
from infra.part import Part
from infra.settings import Settings
from inspection.environment import ReviewEnvironment, SignInMode

CONCURRENCY = 40
"""As many requests as the server has threads for; pictures come from Cloud Storage directly."""


@dataclass(frozen=True, kw_only=True)
class ReviewAppArgs:
    """Where it runs, and the bucket in which people decide."""

    platform: Platform
    app_engine: AppEngine
    prediction: storage.Bucket


class ReviewApp(Part):
    """A service of its own beside whatever else the project has in App Engine."""

    url: pulumi.Output[str]

    def __init__(self, name: str, args: ReviewAppArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Two grants: on the pictures that are sorted, and to sign links in its own name. None on those that arrive."""
        super().__init__("ReviewApp", name, opts)
        settings = args.platform.settings
        self.account = serviceaccount.Account(
            f"{name}-account",
            account_id=f"{settings.name}-{name}",
            display_name="Inspection: the review app",
            opts=self.child(),
        )
        grants = [
            # Claims are written on the objects, a decision moves one.
            storage.BucketIAMMember(
                f"{name}-image-decider",
                bucket=args.prediction.name,
                role="roles/storage.objectUser",
                member=self.account.member,
                opts=self.child(),
            ),
            serviceaccount.IAMMember(
                f"{name}-link-signer",
                service_account_id=self.account.name,
                role="roles/iam.serviceAccountTokenCreator",
                member=self.account.member,
                opts=self.child(),
            ),
        ]
        archive = build_review_archive(root=args.platform.root)
        by_login = settings.sign_in is SignInMode.APP_ENGINE
        version = appengine.StandardAppVersion(
            f"{name}-version",
            service=review_service(settings.name),
            version_id=VERSION,
            runtime=RUNTIME,
            service_account=self.account.email,
            # App Engine logs each request itself.
            entrypoint=runs(f"uvicorn webapp.main:app --host {listens_on(settings)} --port $PORT --no-access-log"),
            deployment=appengine.StandardAppVersionDeploymentArgs(
                zip=appengine.StandardAppVersionDeploymentZipArgs(
                    source_url=args.app_engine.zip_url(name, archive, self)
                )
            ),
            env_variables=self._environment(settings, args.prediction),
            # What the page asks for in the background cannot follow a redirect to Google; the page tells its user.
            handlers=[
                *([handler("/api/.*", settings.sign_in, unauthorized=True)] if by_login else []),
                handler("/.*", settings.sign_in),
            ],
            # App Engine's login is one of its bundled services.
            app_engine_apis=True if by_login else None,
            instance_class=settings.review.instance_class,
            automatic_scaling=scaling(max_instances=settings.review.max_instances, concurrency=CONCURRENCY),
            delete_service_on_destroy=True,
            opts=self.child(depends_on=[args.app_engine, *grants]),
        )
        if settings.sign_in is SignInMode.IAP:
            self._admit_reviewers(name, settings, version)
        self.url = pulumi.Output.concat("https://", version.service, "-dot-", args.app_engine.hostname)
        self.register_outputs({"url": self.url, "email": self.account.email})

    def _environment(self, settings: Settings, prediction: storage.Bucket) -> pulumi.Output[dict[str, str]]:
        audience: pulumi.Output[str] | None = None
        if settings.sign_in is SignInMode.IAP:
            number = organizations.get_project_output(project_id=settings.project, opts=self.question()).number
            audience = pulumi.Output.concat("/projects/", number, "/apps/", settings.project)
        development = settings.sign_in is SignInMode.DEVELOPMENT
        return pulumi.Output.all(bucket=prediction.name, audience=audience, signer=self.account.email).apply(
            lambda known: ReviewEnvironment(
                prediction_bucket=known["bucket"],
                labels=settings.labels,
                reviewers=frozenset(map(str.lower, settings.reviewers)),
                sign_in=settings.sign_in,
                iap_audience=known["audience"],
                development_reviewer=settings.reviewers[0] if development else None,
                signer_email=known["signer"],
            ).to_variables()
        )

    def _admit_reviewers(self, name: str, settings: Settings, version: appengine.StandardAppVersion) -> None:
        for reviewer in map(str.lower, settings.reviewers):
            iap.AppEngineServiceIamMember(
                f"{name}-reviewer-{reviewer}",
                project=settings.project,
                app_id=settings.project,
                service=version.service,
                role="roles/iap.httpsResourceAccessor",
                member=f"user:{reviewer}",
                opts=self.child(),
            )
