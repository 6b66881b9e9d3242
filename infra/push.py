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
        # Only for projects that used Pub/Sub before April 2021: since then its agent may sign without being told
        # (https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions). On this one account, it does no harm.
        serviceaccount.IAMMember(
            f"{name}-signer",
            service_account_id=self.account.name,
            role="roles/iam.serviceAccountTokenCreator",
            member=pubsub_agent,
            opts=self.child(),
        )
        self.register_outputs({"email": self.account.email})
