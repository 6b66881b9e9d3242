"""One path of events: topic, push subscription with retries, and the dead letters that are kept when all fail."""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import pubsub

from infra.function import Function
from infra.part import Part
from infra.push import PushIdentity
from infra.settings import Settings


@dataclass(frozen=True, kw_only=True)
class DeliveryArgs:
    """Where messages go, and as whom."""

    settings: Settings
    to: Function
    push: PushIdentity


class Delivery(Part):
    """Messages arrive at least once, or lie among the dead letters until somebody sends them again."""

    topic: pubsub.Topic
    subscription: pubsub.Subscription
    dead_letters: pubsub.Subscription
    """Holds what could not be delivered."""

    def __init__(self, name: str, args: DeliveryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """`name` says what the messages are: images, predictions."""
        super().__init__("Delivery", name, opts)
        self._settings = settings = args.settings
        dead_letters = f"{name}-dead-letters"
        self.topic = self._topic(name)
        dead_letter_topic = self._topic(dead_letters)
        # Without a subscription of its own, what a topic receives is lost. It is a pull subscription: a person or
        # `inspection redrive` reads it.
        self.dead_letters = pubsub.Subscription(
            f"{dead_letters}-subscription",
            name=f"{settings.name}-{dead_letters}",
            topic=dead_letter_topic.id,
            message_retention_duration=settings.message_retention,
            expiration_policy=_never(),
            labels=settings.resource_labels,
            opts=self.child(),
        )
        self.subscription = pubsub.Subscription(
            f"{name}-subscription",
            name=f"{settings.name}-{name}",
            topic=self.topic.id,
            # A shorter one would deliver a slow image a second time while the first is still in work.
            ack_deadline_seconds=args.to.timeout_seconds,
            message_retention_duration=settings.message_retention,
            expiration_policy=_never(),
            push_config=pubsub.SubscriptionPushConfigArgs(
                push_endpoint=args.to.uri,
                oidc_token=pubsub.SubscriptionPushConfigOidcTokenArgs(
                    service_account_email=args.push.account.email, audience=args.to.uri
                ),
            ),
            retry_policy=pubsub.SubscriptionRetryPolicyArgs(
                minimum_backoff=f"{settings.minimum_backoff_seconds}s",
                maximum_backoff=f"{settings.maximum_backoff_seconds}s",
            ),
            dead_letter_policy=pubsub.SubscriptionDeadLetterPolicyArgs(
                dead_letter_topic=dead_letter_topic.id, max_delivery_attempts=settings.delivery_attempts
            ),
            labels=settings.resource_labels,
            opts=self.child(),
        )
        # Pub/Sub's agent carries a dead letter over: it publishes it there and acknowledges it here.
        pubsub.TopicIAMMember(
            f"{dead_letters}-publisher",
            topic=dead_letter_topic.name,
            role="roles/pubsub.publisher",
            member=args.push.pubsub_agent,
            opts=self.child(depends_on=[self.dead_letters]),
        )
        pubsub.SubscriptionIAMMember(
            f"{name}-forwarder",
            subscription=self.subscription.name,
            role="roles/pubsub.subscriber",
            member=args.push.pubsub_agent,
            opts=self.child(),
        )
        self.register_outputs({"topic": self.topic.id, "deadLetters": self.dead_letters.id})

    def _topic(self, name: str) -> pubsub.Topic:
        return pubsub.Topic(
            f"{name}-topic",
            name=f"{self._settings.name}-{name}",
            labels=self._settings.resource_labels,
            opts=self.child(),
        )


def _never() -> pubsub.SubscriptionExpirationPolicyArgs:
    # Otherwise a line that stands still for a month comes back to a subscription that is gone.
    return pubsub.SubscriptionExpirationPolicyArgs(ttl="")
