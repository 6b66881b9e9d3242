"""Answers the program as Google would, and keeps what it declared; for tests that run the whole program."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi

from infra.page import built_page
from local.deploy.program import ROOT, Declared, ProgramRun, Stack, run_program

PROJECT = "test-factory"
NUMBER = "123456789012"
STORAGE_AGENT = f"serviceAccount:service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
PUBSUB_AGENT = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
APP_ENGINE_BUILDER = f"serviceAccount:{PROJECT}@appspot.gserviceaccount.com"
APP_ENGINE_HOST = f"{PROJECT}.ey.r.appspot.com"

ENDPOINT = f"projects/{PROJECT}/locations/europe-west4/endpoints/42"
REVIEWERS = ("Anna@example.com", "bert@example.com")
REVIEWED: Mapping[str, Any] = {
    "reviewers": REVIEWERS,
    "createAppEngine": True,
    "signIn": "iap",
    "iapClientId": "1-a.apps.googleusercontent.com",
    "iapClientSecret": "do-not-tell",
}
"""With the review app and all that it can bring along."""

REQUIRED: Mapping[str, Any] = {"gcp:project": PROJECT, "gcp:region": "europe-west3", "modelId": ENDPOINT}

ANSWERS: Mapping[str, dict[str, Any]] = {
    "gcp:storage/getProjectServiceAccount:getProjectServiceAccount": {"member": STORAGE_AGENT},
    "gcp:organizations/getProject:getProject": {"number": NUMBER},
}
"""What the program may ask in any project; besides App Engine's account, anything else fails."""


def function_uri(name: str) -> str:
    """Where Pub/Sub pushes to."""
    return f"https://{name}-x.a.run.app"


class Google(pulumi.runtime.Mocks):
    """Gives each resource the outputs that the program reads."""

    def __init__(self, project: str = PROJECT) -> None:
        self.project = project
        self.seen: list[str] = []

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        self.seen.append(args.name)
        inputs: dict[str, Any] = args.inputs
        name = inputs.get("name", args.name)
        resource_id, outputs = name, dict[str, Any]()
        match args.typ:
            case "gcp:serviceaccount/account:Account":
                email = f"{inputs['accountId']}@{self.project}.iam.gserviceaccount.com"
                resource_id = f"projects/{self.project}/serviceAccounts/{email}"
                outputs = {"email": email, "member": f"serviceAccount:{email}", "name": resource_id}
            case "gcp:projects/serviceIdentity:ServiceIdentity":
                outputs = {"member": PUBSUB_AGENT}
            case "gcp:storage/bucket:Bucket":
                outputs = {"url": f"gs://{name}"}
            case "gcp:pubsub/topic:Topic":
                resource_id = f"projects/{self.project}/topics/{name}"
            case "gcp:pubsub/subscription:Subscription":
                resource_id = f"projects/{self.project}/subscriptions/{name}"
            case "gcp:artifactregistry/repository:Repository":
                resource_id = (
                    f"projects/{self.project}/locations/{inputs['location']}/repositories/{inputs['repositoryId']}"
                )
            case "gcp:cloudfunctionsv2/function:Function":
                outputs = {"serviceConfig": {**inputs["serviceConfig"], "uri": function_uri(name)}}
            case "gcp:logging/projectBucketConfig:ProjectBucketConfig":
                resource_id = f"projects/{self.project}/locations/{inputs['location']}/buckets/{inputs['bucketId']}"
            case "gcp:appengine/application:Application":
                resource_id, outputs = (
                    self.project,
                    {"defaultHostname": APP_ENGINE_HOST, "codeBucket": f"staging.{self.project}.appspot.com"},
                )
            case _:
                pass
        return resource_id, {**inputs, **outputs}

    def call(  # pyright: ignore[reportIncompatibleMethodOverride]  # the mocks take a bare dict as well
        self, args: pulumi.runtime.MockCallArgs
    ) -> dict[Any, Any]:
        if args.token == "gcp:appengine/getDefaultServiceAccount:getDefaultServiceAccount":
            return {"member": f"serviceAccount:{self.project}@appspot.gserviceaccount.com"}
        return ANSWERS[args.token]


SECRET_KEYS = frozenset({"automl-inspection:iapClientSecret"})


def stack_with(name: str = "test", *, secret_keys: frozenset[str] = SECRET_KEYS, **values: object) -> Stack:
    """A stack with these values besides the required ones; keys without their namespace."""
    keyed = {
        (key if ":" in key else f"automl-inspection:{key}"): value for key, value in {**REQUIRED, **values}.items()
    }
    config = {key: value for key, value in keyed.items() if value is not None}
    return Stack(project="automl-inspection", name=name, config=config, secret_keys=secret_keys)


def declare(stack: str = "test", *, root: Path = ROOT, **values: object) -> "Inventory":
    """Run the program with these values besides the required ones; keys without their namespace."""
    return Inventory(run_program(stack_with(stack, secret_keys=SECRET_KEYS, **values), Google(), root=root))


def copy_checkout(destination: Path) -> Path:
    """What deploys, as a fresh checkout elsewhere: other folder, other times."""
    ignore = shutil.ignore_patterns("__pycache__", "command", "node_modules", "dist")
    for part in ("infra", "inspection", "imaging", "functions", "webapp"):
        shutil.copytree(ROOT / part, destination / part, ignore=ignore, copy_function=shutil.copy)
    # The built page comes along: building it anew is what `test_page.py` tests.
    page = built_page(ROOT)
    shutil.copytree(page, destination / page.relative_to(ROOT))
    return destination


class Inventory:
    """What the program declared, by type and name."""

    def __init__(self, run: ProgramRun) -> None:
        self.outputs = run.outputs
        self.resources = run.resources

    def __iter__(self) -> Iterator[Declared]:
        return iter(self.resources)

    def of(self, kind: str) -> list[Declared]:
        """Those of one type, such as `pubsub/topic:Topic`; that there is none is never what a test means."""
        found = [resource for resource in self if resource.type == f"gcp:{kind}"]
        assert found, f"no {kind} is declared"
        return found

    def one(self, kind: str, name: str) -> Declared:
        """The one of this kind and Pulumi name."""
        found = [resource for resource in self.of(kind) if resource.name == name]
        assert len(found) == 1, f"{kind} {name}: {found}, of {[resource.name for resource in self.of(kind)]}"
        return found[0]

    def bindings(self) -> set[tuple[str, str, str, str]]:
        """(kind, resource, role, member) of every grant."""
        return {
            (kind, inputs[key], inputs["role"], inputs["member"])
            for kind, key in BINDINGS.items()
            for resource in self
            if resource.type == kind
            for inputs in [resource.inputs]
        }


BINDINGS = {
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": "repository",
    "gcp:cloudrunv2/serviceIamMember:ServiceIamMember": "name",
    "gcp:iap/appEngineServiceIamMember:AppEngineServiceIamMember": "service",
    "gcp:projects/iAMMember:IAMMember": "project",
    "gcp:pubsub/subscriptionIAMMember:SubscriptionIAMMember": "subscription",
    "gcp:pubsub/topicIAMMember:TopicIAMMember": "topic",
    "gcp:serviceaccount/iAMMember:IAMMember": "serviceAccountId",
    "gcp:storage/bucketIAMMember:BucketIAMMember": "bucket",
    "gcp:vertex/aiEndpointIamMember:AiEndpointIamMember": "endpoint",
}
"""Every kind of grant that the program uses, and the input that says on what. One that is not here fails a test."""


def is_subset(expected: object, actual: object) -> bool:
    """Whether everything expected is there, whatever else is."""
    if isinstance(expected, Mapping):
        if not isinstance(actual, Mapping):
            return False
        wanted: Mapping[str, object] = expected  # pyright: ignore[reportUnknownVariableType]
        given: Mapping[str, object] = actual  # pyright: ignore[reportUnknownVariableType]
        return all(key in given and is_subset(value, given[key]) for key, value in wanted.items())
    return expected == actual
