"""The identity with which Pub/Sub calls the functions."""

import pulumi
from pulumi_gcp import serviceaccount

from infra.part import Part
from infra.settings import Settings


class PushIdentity(Part):
    """Who a push says it is. It may call the functions, and nothing else anywhere."""

    account: serviceaccount.Account
    pubsub_agent: pulumi.Input[str]
    """Who speaks as it (an IAM member)."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        pubsub_agent: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The account, and Pub/Sub's right to speak as it."""
        super().__init__("PushIdentity", name, opts)
        self.pubsub_agent = pubsub_agent
        self.account = serviceaccount.Account(
            f"{name}-account",
            account_id=f"{settings.name}-push",
            display_name="Inspection: pushes images and predictions to the functions",
            opts=self.child(),
        )
        # Only for projects whose Pub/Sub agent was made on or before April 8, 2021: a later one may sign without being told
        # (https://cloud.google.com/run/docs/tutorials/pubsub). Google names Token Creator there; a push bears an ID token,
        # which asks for getOpenIdToken alone, and this role has nothing else.
        serviceaccount.IAMMember(
            f"{name}-signer",
            service_account_id=self.account.name,
            role="roles/iam.serviceAccountOpenIdTokenCreator",
            member=pubsub_agent,
            opts=self.child(),
        )
        self.register_outputs({"email": self.account.email})
