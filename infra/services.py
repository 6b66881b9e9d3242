"""The APIs that the stack uses, and Google's own agents that act for it."""

import pulumi
from pulumi_gcp import projects, storage

from infra.part import Part
from infra.settings import Settings
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
_MODEL_APIS = {Backend.AUTOML: "automl", Backend.VERTEX: "aiplatform"}


class Services(Part):
    """Enabled APIs and the agents behind them. Everything else waits for this component."""

    storage_agent: pulumi.Output[str]
    """Publishes the notifications of the project's buckets (an IAM member)."""
    pubsub_agent: pulumi.Output[str]
    """Forwards dead letters and signs pushes (an IAM member)."""

    def __init__(self, name: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        """Enable what the pipeline and the service behind its model need."""
        super().__init__("Services", name, opts)
        apis = {
            api: projects.Service(
                f"{name}-{api}",
                service=f"{api}.googleapis.com",
                # The project is not the stack's own: another stack, or somebody else, may use the API as well.
                disable_on_destroy=False,
                opts=self.child(),
            )
            for api in sorted((*_APIS, _MODEL_APIS[settings.model.backend]))
        }
        # An agent appears when it is first needed, which is too late for its grants; asking makes it now.
        pubsub = projects.ServiceIdentity(
            f"{name}-pubsub-agent", service="pubsub.googleapis.com", opts=self.child(depends_on=[apis["pubsub"]])
        )
        self.pubsub_agent = pubsub.member
        # Cloud Storage's agent has a question of its own. Waiting for the API also keeps a first preview off the network.
        self.storage_agent = storage.get_project_service_account_output(
            opts=pulumi.InvokeOutputOptions(parent=self, depends_on=[apis["storage"]])
        ).member
        self.register_outputs({"storageAgent": self.storage_agent, "pubsubAgent": self.pubsub_agent})
