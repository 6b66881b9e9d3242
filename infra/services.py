"""The APIs that the stack uses, and Google's own agents that act for it."""

from collections.abc import Mapping

import pulumi
from pulumi_gcp import projects, storage

from infra.part import Part
from infra.settings import Settings
from inspection.environment import SignInMode
from inspection.model_id import Backend

_APIS = (
    "artifactregistry",
    "cloudbuild",
    "cloudfunctions",
    "cloudresourcemanager",
    "iam",
    "iamcredentials",
    "logging",
    "monitoring",
    "pubsub",
    "run",
    "serviceusage",
    "storage",
)
_MODEL_APIS = {Backend.AUTOML: ("automl",), Backend.VERTEX: ("aiplatform",), Backend.OWN: ()}
_REVIEW_APIS = {
    SignInMode.IAP: ("appengine", "iap"),
    SignInMode.APP_ENGINE: ("appengine",),
    SignInMode.DEVELOPMENT: ("appengine",),
}


class Services(Part):
    """Enabled APIs and the agents behind them. Everything else waits for this component."""

    apis: Mapping[str, projects.Service]
    """By the name in front of `.googleapis.com`."""
    storage_agent: pulumi.Output[str]
    """Publishes the notifications of the project's buckets (an IAM member)."""
    pubsub_agent: pulumi.Output[str]
    """Forwards dead letters and signs pushes (an IAM member)."""

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        """Enable what the pipeline, the service behind its model and, where somebody reviews, the review app need."""
        super().__init__("Services", name, opts)
        needed = (
            *_APIS,
            *_MODEL_APIS[settings.model.backend],
            *(_REVIEW_APIS[settings.sign_in] if settings.reviewers else ()),
        )
        self.apis = {
            api: projects.Service(
                f"{name}-{api}",
                service=f"{api}.googleapis.com",
                # The project is not the stack's own: another stack, or somebody else, may use the API as well.
                disable_on_destroy=False,
                opts=self.child(),
            )
            for api in sorted(needed)
        }
        # An agent appears when it is first needed, which is too late for its grants; asking makes it now.
        pubsub = projects.ServiceIdentity(
            f"{name}-pubsub-agent", service="pubsub.googleapis.com", opts=self.child(depends_on=[self.apis["pubsub"]])
        )
        self.pubsub_agent = pubsub.member
        # Cloud Storage's agent has a question of its own. Waiting for the API also keeps a first preview off the network.
        self.storage_agent = storage.get_project_service_account_output(
            opts=pulumi.InvokeOutputOptions(parent=self, depends_on=[self.apis["storage"]])
        ).member
        self.register_outputs({"storageAgent": self.storage_agent, "pubsubAgent": self.pubsub_agent})
