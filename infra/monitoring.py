"""What wakes somebody: each path of events has an alert for dead letters and one for messages that wait too long."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_gcp import monitoring, pubsub

from infra.delivery import Delivery
from infra.part import Part
from infra.settings import Settings

LONGEST_WAIT_SECONDS = 1800
"""A message older than this has met several failed attempts, or there are too few instances."""

_SAMPLE = "60s"


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """What is watched, and who hears of it."""

    settings: Settings
    """Without its `alertEmail`, alerts show in the console alone."""
    paths: Mapping[str, Delivery]


class Monitoring(Part):
    """Two alerts for each path."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Alerts close by themselves when what they are about is gone."""
        super().__init__("Monitoring", name, opts)
        self._settings = settings = args.settings
        self._channels = [self._email(f"{name}-email", settings.alert_email).id] if settings.alert_email else []
        for path, delivery in args.paths.items():
            self._alert(
                f"{name}-{path}-dead-letters",
                title=f"{settings.name}: {path} could not be delivered",
                advice="Every attempt failed; the function's log says why. `inspection redrive` sends them again.",
                subscription=delivery.dead_letters,
                metric="num_undelivered_messages",
                above=0,
            )
            self._alert(
                f"{name}-{path}-waiting",
                title=f"{settings.name}: {path} wait longer than {LONGEST_WAIT_SECONDS // 60} minutes",
                advice="The function fails, or has too few instances; its log and its instance count say which.",
                subscription=delivery.subscription,
                metric="oldest_unacked_message_age",
                above=LONGEST_WAIT_SECONDS,
            )
        self.register_outputs({})

    def _email(self, name: str, address: str) -> monitoring.NotificationChannel:
        return monitoring.NotificationChannel(
            name,
            type="email",
            display_name=f"{self._settings.name}: {address}",
            labels={"email_address": address},
            user_labels=self._settings.resource_labels,
            opts=self.child(),
        )

    def _alert(
        self, name: str, *, title: str, advice: str, subscription: pubsub.Subscription, metric: str, above: int
    ) -> None:
        threshold = monitoring.AlertPolicyConditionConditionThresholdArgs(
            filter=pulumi.Output.concat(
                'resource.type = "pubsub_subscription" AND resource.labels.subscription_id = "',
                subscription.name,
                f'" AND metric.type = "pubsub.googleapis.com/subscription/{metric}"',
            ),
            comparison="COMPARISON_GT",
            threshold_value=above,
            duration="0s",
            aggregations=[
                monitoring.AlertPolicyConditionConditionThresholdAggregationArgs(
                    alignment_period=_SAMPLE, per_series_aligner="ALIGN_MAX"
                )
            ],
        )
        monitoring.AlertPolicy(
            name,
            display_name=title,
            combiner="OR",
            conditions=[monitoring.AlertPolicyConditionArgs(display_name=title, condition_threshold=threshold)],
            documentation=monitoring.AlertPolicyDocumentationArgs(content=advice, mime_type="text/markdown"),
            notification_channels=self._channels,
            user_labels=self._settings.resource_labels,
            opts=self.child(),
        )
