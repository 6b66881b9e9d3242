"""A function: its identity, its sources and who may call it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pulumi
from pulumi_gcp import cloudfunctionsv2, cloudrunv2, serviceaccount, storage

from infra.archive import build_archive
from infra.build import Build
from infra.part import Part
from infra.push import PushIdentity
from infra.settings import FunctionLimits, Settings

RUNTIME = "python312"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What all functions of the stack have in common."""

    root: Path
    """The repository, from whose `functions/` the zips are made."""
    settings: Settings
    build: Build
    sources: storage.Bucket
    push: PushIdentity


class Function(Part):
    """An HTTP function that takes pushes and nothing else. Its folder, entry point and account bear its name.

    What its account may do is granted by the function's own kind (`predict.py`, `move.py`).
    """

    account: serviceaccount.Account
    uri: pulumi.Output[str]
    """Where Pub/Sub pushes to."""
    service: pulumi.Output[str]
    """The function's own name, and that of the Cloud Run service behind it."""
    timeout_seconds: int

    def __init__(
        self,
        name: str,
        *,
        platform: Platform,
        limits: FunctionLimits,
        does: str,
        environment: pulumi.Input[Mapping[str, str]],
        kind: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`does` completes "Inspection: ..." in the console; `kind` chooses among the part's requirements, if it has several."""
        super().__init__("Function", name, opts)
        settings = platform.settings
        self.timeout_seconds = limits.timeout_seconds
        self.account = serviceaccount.Account(
            f"{name}-account",
            account_id=f"{settings.name}-{name}",
            display_name=f"Inspection: {does}",
            opts=self.child(),
        )
        archive = build_archive(name, root=platform.root, kind=kind)
        zipped = storage.BucketObject(
            f"{name}-sources",
            bucket=platform.sources.name,
            # The name changes with the contents, which is what makes the function deploy anew, and only then.
            name=archive.object_name,
            source=pulumi.FileAsset(str(archive.path)),
            content_type="application/zip",
            opts=self.child(),
        )
        function = cloudfunctionsv2.Function(
            f"{name}-function",
            name=f"{settings.name}-{name}",
            location=settings.region,
            description=f"Inspection: {does}",
            labels=settings.resource_labels,
            build_config=cloudfunctionsv2.FunctionBuildConfigArgs(
                runtime=RUNTIME,
                entry_point=name,
                service_account=platform.build.account.name,
                # Otherwise a repository `gcf-artifacts` is made, which nobody removes.
                docker_repository=platform.build.repository.id,
                # `generation` is left out: it would differ on every preview.
                source=cloudfunctionsv2.FunctionBuildConfigSourceArgs(
                    storage_source=cloudfunctionsv2.FunctionBuildConfigSourceStorageSourceArgs(
                        bucket=platform.sources.name, object=zipped.name
                    )
                ),
            ),
            service_config=cloudfunctionsv2.FunctionServiceConfigArgs(
                service_account_email=self.account.email,
                # Otherwise the functions framework answers four requests at a time on one CPU, and the rest queue.
                environment_variables=pulumi.Output.from_input(environment).apply(
                    lambda variables: {**variables, "THREADS": str(limits.concurrency)}
                ),
                # Pushes from the project's own Pub/Sub to the run.app address count as internal
                # (https://cloud.google.com/run/docs/securing/ingress); the internet does not get as far as IAM.
                ingress_settings="ALLOW_INTERNAL_ONLY",
                available_cpu="1",  # less than one takes a single request at a time
                available_memory=limits.memory,
                timeout_seconds=limits.timeout_seconds,
                min_instance_count=0,
                max_instance_count=limits.max_instances,
                max_instance_request_concurrency=limits.concurrency,
            ),
            opts=self.child(depends_on=[platform.build]),
        )
        cloudrunv2.ServiceIamMember(
            f"{name}-invoker",
            name=function.name,
            location=settings.region,
            role="roles/run.invoker",
            member=platform.push.account.member,
            # A replaced function comes with a new service of the same name, on which nobody has a role.
            opts=self.child(replace_with=[function]),
        )
        self.service = function.name
        self.uri = cast("pulumi.Output[str]", function.service_config.uri)  # only a function that is gone has none
        self.register_outputs({"uri": self.uri, "email": self.account.email})
