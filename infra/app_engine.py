"""The project's App Engine application: made here, or the one that is there already.

A project has exactly one, in one place for good; nothing can delete it, nor its service `default`. So both stay when the
stack is destroyed, and with them the buckets and images that App Engine keeps for itself.
"""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import appengine, projects, serviceaccount, storage

from infra.archive import Archive, build_default_archive
from infra.function import RUNTIME, Platform
from infra.grants import settled
from infra.part import Part
from infra.services import Services
from infra.settings import Settings
from inspection.environment import SignInMode

VERSION = "current"
"""Each service has one version, which a deployment replaces."""

DEFAULT_SERVICE = "default"


@dataclass(frozen=True, kw_only=True)
class AppEngineArgs:
    """Where it is, and what its builds read."""

    platform: Platform
    services: Services


class AppEngine(Part):
    """The application, and who builds its services. A service waits for the whole component."""

    hostname: pulumi.Output[str]
    """Of the service `default`; other services put `<service>-dot-` in front of it."""

    def __init__(self, name: str, args: AppEngineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """The builder's grants: on this stack's own zips, on the bucket that App Engine stages in, and on the project.

        The last three are one grant for all stacks of a project, which `pulumi destroy` of one stack leaves in place: the
        others need them, and the application with its builder is never deleted either.
        """
        super().__init__("AppEngine", name, opts)
        self._platform = args.platform
        settings = args.platform.settings
        application = self._create(name, settings) if settings.create_app_engine else self._find(name, args)
        self.hostname = application.default_hostname
        # What builds a service, whichever account the service then runs as.
        builder = appengine.get_default_service_account_output(
            project=settings.project, opts=self.question(depends_on=[application])
        ).member
        shared = self.child(retain_on_delete=True, depends_on=[application])
        grants: list[pulumi.CustomResource] = [
            storage.BucketIAMMember(
                f"{name}-source-reader",
                bucket=args.platform.sources.name,
                role="roles/storage.objectViewer",
                member=builder,
                opts=self.child(),
            ),
            # App Engine copies a zip to a bucket of its own, `staging.PROJECT.appspot.com`, which comes with the application.
            storage.BucketIAMMember(
                f"{name}-staged-source-reader",
                bucket=application.code_bucket,
                role="roles/storage.objectViewer",
                member=builder,
                opts=shared,
            ),
            # In a project since May 2024, App Engine's own account may have no rights. It keeps its images in a repository
            # that it makes at its first build, so that there is none yet to bind this to; logs have no narrower place.
            *(
                projects.IAMMember(f"{name}-{grant}", project=settings.project, role=role, member=builder, opts=shared)
                for grant, role in (
                    ("image-writer", "roles/artifactregistry.writer"),
                    ("log-writer", "roles/logging.logWriter"),
                )
            ),
        ]
        usable = settled(f"{name}-grants-settled", grants, seconds=settings.grant_wait_seconds, opts=self.child())
        if settings.create_app_engine:
            self._declare_default(name, settings, application, usable)
        self.register_outputs({"hostname": self.hostname})

    def zip_url(self, name: str, archive: Archive, parent: Part) -> pulumi.Output[str]:
        """Upload a service's zip; returns the address that App Engine takes it from."""
        zipped = storage.BucketObject(
            f"{name}-sources",
            bucket=self._platform.sources.name,
            name=archive.object_name,
            source=pulumi.FileAsset(str(archive.path)),
            content_type="application/zip",
            opts=parent.child(),
        )
        return pulumi.Output.concat("https://storage.googleapis.com/", zipped.bucket, "/", zipped.name)

    def _create(self, name: str, settings: Settings) -> appengine.Application:
        iap = None
        if settings.sign_in is SignInMode.IAP and settings.iap_client_id and settings.iap_client_secret:
            iap = appengine.ApplicationIapArgs(
                enabled=True,
                oauth2_client_id=settings.iap_client_id,
                oauth2_client_secret=pulumi.Output.secret(settings.iap_client_secret.get_secret_value()),
            )
        return appengine.Application(
            f"{name}-application",
            project=settings.project,
            location_id=settings.app_engine_location,
            iap=iap,
            opts=self.child(retain_on_delete=True),
        )

    def _find(self, name: str, args: AppEngineArgs) -> appengine.Application:
        # The project's id, known only when the API is enabled: without that nobody can be asked.
        known = args.services.apis["appengine"].id.apply(lambda _: args.platform.settings.project)
        return appengine.Application.get(f"{name}-existing", known, opts=self.child())

    def _declare_default(
        self, name: str, settings: Settings, application: appengine.Application, usable: pulumi.Resource
    ) -> None:
        archive = build_default_archive(root=self._platform.root)
        account = serviceaccount.Account(
            f"{name}-default-account",
            account_id=f"{settings.name}-{DEFAULT_SERVICE}",
            display_name="Inspection: App Engine's default service, which does nothing",
            opts=self.child(),
        )
        appengine.StandardAppVersion(
            f"{name}-default",
            service=DEFAULT_SERVICE,
            version_id=VERSION,
            runtime=RUNTIME,
            service_account=account.email,
            entrypoint=runs(f"python3 main.py {listens_on(settings)}"),
            deployment=appengine.StandardAppVersionDeploymentArgs(
                zip=appengine.StandardAppVersionDeploymentZipArgs(
                    source_url=self.zip_url(f"{name}-default", archive, self)
                )
            ),
            handlers=[handler("/.*", SignInMode.IAP)],
            instance_class="F1",
            automatic_scaling=scaling(max_instances=1, concurrency=10),
            noop_on_destroy=True,
            opts=self.child(depends_on=[application, usable]),
        )


def runs(command: str) -> appengine.StandardAppVersionEntrypointArgs:
    """The command of a service's instance, in the folder of its zip; the port is in PORT."""
    return appengine.StandardAppVersionEntrypointArgs(shell=command)


def listens_on(settings: Settings) -> str:
    """The address that a service binds to: one that asks nobody to sign in is for its own machine alone."""
    return "127.0.0.1" if settings.sign_in is SignInMode.DEVELOPMENT else "0.0.0.0"  # noqa: S104  # App Engine's front end is outside


def scaling(*, max_instances: int, concurrency: int) -> appengine.StandardAppVersionAutomaticScalingArgs:
    """None when nobody is there, and a cap on the bill."""
    return appengine.StandardAppVersionAutomaticScalingArgs(
        max_concurrent_requests=concurrency,
        standard_scheduler_settings=appengine.StandardAppVersionAutomaticScalingStandardSchedulerSettingsArgs(
            min_instances=0, max_instances=max_instances
        ),
    )


def handler(
    url_regex: str, sign_in: SignInMode, *, unauthorized: bool = False
) -> appengine.StandardAppVersionHandlerArgs:
    """Everything goes to the program, over TLS. With App Engine's own login, only for who has signed in.

    `unauthorized`: who has not is told so by a 401, instead of being sent to Google's page.
    """
    return appengine.StandardAppVersionHandlerArgs(
        url_regex=url_regex,
        security_level="SECURE_ALWAYS",
        # Also said where it is what App Engine would take anyway: it answers with both, which would look like a change.
        login="LOGIN_REQUIRED" if sign_in is SignInMode.APP_ENGINE else "LOGIN_OPTIONAL",
        auth_fail_action="AUTH_FAIL_ACTION_UNAUTHORIZED" if unauthorized else "AUTH_FAIL_ACTION_REDIRECT",
        script=appengine.StandardAppVersionHandlerScriptArgs(script_path="auto"),
    )
