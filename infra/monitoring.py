"""What wakes somebody, what shows how the line is doing, and how long its logs are kept.

Whether an alert's limit is passed is Cloud Monitoring's to say; what a picture became, Cloud Logging counts from move's
log lines. Deliberately absent: an alert on the bill, as budgets belong to a billing account and not to a stack.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_gcp import logging, monitoring

from infra.dashboard import dashboard_json
from infra.delivery import Delivery
from infra.function import Function
from infra.naming import review_service
from infra.part import Part
from infra.settings import Settings

LONGEST_WAIT_SECONDS = 1800
"""A message older than this has met several failed attempts, or there are too few instances."""

ERRORS_MINUTES = 10
"""Functions answer 503 to be called again later, so that a few failures in passing are nobody's business."""

UNCLEAR_HOURS = 6
UNCLEAR_PICTURES = 20
"""A share of fewer pictures says nothing."""

_SAMPLE = "60s"

_LOGS = "logs"


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """What is watched, and who hears of it."""

    settings: Settings
    """Without its `alertEmail`, alerts show in the console alone."""
    paths: Mapping[str, Delivery]
    """The first is how pictures arrive."""
    functions: Mapping[str, Function]
    """`move` logs what each picture became."""


class Monitoring(Part):
    """Alerts, a dashboard, and the metric and the log bucket behind them."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Alerts close by themselves when what they are about is gone."""
        super().__init__("Monitoring", name, opts)
        self._settings = settings = args.settings
        self._channels = [self._email(f"{name}-email", settings.alert_email).id] if settings.alert_email else []
        for path, delivery in args.paths.items():
            self._watch_delivery(f"{name}-{path}", path, delivery)
        for part, function in args.functions.items():
            self._watch_errors(f"{name}-{part}-errors", part, function)
        if settings.alert_hours_without_pictures:
            self._watch_arrival(f"{name}-no-pictures", args.paths["images"])
        pictures = self._count_pictures(f"{name}-pictures", args.functions["move"])
        if settings.alert_unclear_share < 1:
            self._watch_unclear(f"{name}-unclear", pictures)
        monitoring.Dashboard(
            f"{name}-dashboard",
            dashboard_json=dashboard_json(
                settings.name,
                pictures=pictures.name,
                subscriptions=[delivery.subscription.name for delivery in args.paths.values()],
                dead_letters=[delivery.dead_letters.name for delivery in args.paths.values()],
                functions=[function.service for function in args.functions.values()],
            ),
            opts=self.child(),
        )
        if settings.keep_logs_days:
            self._keep_logs(f"{name}-{_LOGS}", settings.keep_logs_days, args)
        self.register_outputs({})

    def _watch_delivery(self, name: str, path: str, delivery: Delivery) -> None:
        title = self._settings.name
        self._alert(
            f"{name}-dead-letters",
            title=f"{title}: {path} could not be delivered",
            advice="Every attempt failed; the function's log says why. `inspection redrive` sends them again.",
            threshold=_above(
                _metric(
                    "pubsub_subscription",
                    "subscription_id",
                    delivery.dead_letters.name,
                    "pubsub.googleapis.com/subscription/num_undelivered_messages",
                ),
                limit=0,
            ),
        )
        self._alert(
            f"{name}-waiting",
            title=f"{title}: {path} wait longer than {LONGEST_WAIT_SECONDS // 60} minutes",
            advice="The function fails, or has too few instances; its log and its instance count say which.",
            threshold=_above(
                _metric(
                    "pubsub_subscription",
                    "subscription_id",
                    delivery.subscription.name,
                    "pubsub.googleapis.com/subscription/oldest_unacked_message_age",
                ),
                limit=LONGEST_WAIT_SECONDS,
            ),
        )

    def _watch_errors(self, name: str, part: str, function: Function) -> None:
        limit = self._settings.alert_function_errors
        self._alert(
            name,
            title=f"{self._settings.name}: {part} failed more than {limit} times in {ERRORS_MINUTES} minutes",
            advice="Its log says why. Nothing is lost: what fails is delivered again, and kept as a dead letter at last.",
            threshold=_above(
                pulumi.Output.concat(
                    _metric("cloud_run_revision", "service_name", function.service, "run.googleapis.com/request_count"),
                    ' AND metric.labels.response_code_class = "5xx"',
                ),
                limit=limit,
                summed_over=f"{ERRORS_MINUTES * 60}s",
            ),
        )

    def _watch_arrival(self, name: str, images: Delivery) -> None:
        hours = self._settings.alert_hours_without_pictures
        self._alert(
            name,
            title=f"{self._settings.name}: no picture for {hours} hours",
            advice="Does the camera upload? If the line stands still for that long, raise alertHoursWithoutPictures, or "
            "set it to 0.",
            threshold=monitoring.AlertPolicyConditionConditionThresholdArgs(
                filter=_metric(
                    "pubsub_topic", "topic_id", images.topic.name, "pubsub.googleapis.com/topic/send_request_count"
                ),
                comparison="COMPARISON_LT",
                threshold_value=1,
                duration=_SAMPLE,
                # A topic to which nobody sends has no figures at all.
                evaluation_missing_data="EVALUATION_MISSING_DATA_ACTIVE",
                aggregations=[_sum_over(f"{hours * 3600}s")],
            ),
        )

    def _count_pictures(self, name: str, move: Function) -> logging.Metric:
        """Each picture that was moved, by the folder it went to."""
        return logging.Metric(
            name,
            name=f"{self._settings.name}-pictures",
            description="Pictures that the inspection line has sorted, by folder",
            # `moved` is said once for a picture; a second delivery says `moved before`.
            filter=pulumi.Output.concat(
                'resource.type = "cloud_run_revision" AND resource.labels.service_name = "',
                move.service,
                '" AND jsonPayload.outcome = "moved"',
            ),
            metric_descriptor=logging.MetricMetricDescriptorArgs(
                metric_kind="DELTA",
                value_type="INT64",
                unit="1",
                labels=[logging.MetricMetricDescriptorLabelArgs(key="folder", value_type="STRING")],
            ),
            label_extractors={"folder": "EXTRACT(jsonPayload.folder)"},
            opts=self.child(),
        )

    def _watch_unclear(self, name: str, pictures: logging.Metric) -> None:
        limit = self._settings.alert_unclear_share
        series = promql_name(f"{self._settings.name}-pictures")

        def count(labels: str) -> str:
            return f'sum(increase({series}{{monitored_resource="cloud_run_revision"{labels}}}[{UNCLEAR_HOURS}h]))'

        every, unclear = count(""), count(',folder="unclear"')
        title = f"{self._settings.name}: more than {limit:.0%} of the pictures are unclear"
        self._alert(
            name,
            title=title,
            advice=f"Of the last {UNCLEAR_HOURS} hours. Light, focus or the part itself has changed, or the thresholds are "
            "too strict. The pictures wait in `unclear/`; train with what people decide on them.",
            query=monitoring.AlertPolicyConditionConditionPrometheusQueryLanguageArgs(
                query=f"{unclear} / {every} > {limit} and {every} >= {UNCLEAR_PICTURES}",
                duration="0s",
                evaluation_interval="300s",
                # A metric made this minute is not known to Cloud Monitoring yet, which would refuse the alert.
                disable_metric_validation=True,
            ),
            depends_on=[pictures],
        )

    def _keep_logs(self, name: str, days: int, args: MonitoringArgs) -> None:
        """A bucket of the stack's own: the project's `_Default` one keeps everybody's logs, for 30 days."""
        settings = self._settings
        bucket = logging.ProjectBucketConfig(
            name,
            project=settings.project,
            location=settings.region,
            bucket_id=f"{settings.name}-{_LOGS}",
            description="What the inspection line did with each picture",
            retention_days=days,
            # Logs outlive the stack; a stack of the same name takes them up again.
            opts=self.child(retain_on_delete=True),
        )
        functions = [
            pulumi.Output.concat(
                '(resource.type = "cloud_run_revision" AND resource.labels.service_name = "', function.service, '")'
            )
            for function in args.functions.values()
        ]
        service = review_service(settings.name)
        services = [f'(resource.type = "gae_app" AND resource.labels.module_id = "{service}")']
        logging.ProjectSink(
            f"{name}-sink",
            name=f"{settings.name}-{_LOGS}",
            project=settings.project,
            destination=pulumi.Output.concat("logging.googleapis.com/", bucket.id),
            filter=pulumi.Output.all(*functions, *(services if settings.reviewers else [])).apply(" OR ".join),
            # To a bucket of the same project it needs no grant.
            unique_writer_identity=True,
            opts=self.child(),
        )

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
        self,
        name: str,
        *,
        title: str,
        advice: str,
        threshold: monitoring.AlertPolicyConditionConditionThresholdArgs | None = None,
        query: monitoring.AlertPolicyConditionConditionPrometheusQueryLanguageArgs | None = None,
        depends_on: list[pulumi.Resource] | None = None,
    ) -> None:
        monitoring.AlertPolicy(
            name,
            display_name=title,
            combiner="OR",
            conditions=[
                monitoring.AlertPolicyConditionArgs(
                    display_name=title, condition_threshold=threshold, condition_prometheus_query_language=query
                )
            ],
            documentation=monitoring.AlertPolicyDocumentationArgs(content=advice, mime_type="text/markdown"),
            notification_channels=self._channels,
            user_labels=self._settings.resource_labels,
            opts=self.child(depends_on=depends_on),
        )


def promql_name(metric: str) -> str:
    """A log-based metric's name in PromQL (https://cloud.google.com/monitoring/promql/promql-mapping)."""
    return "logging_googleapis_com:user_" + re.sub(r"[^A-Za-z0-9_]", "_", metric)


def _metric(resource: str, label: str, value: pulumi.Input[str], metric: str) -> pulumi.Output[str]:
    return pulumi.Output.concat(
        f'resource.type = "{resource}" AND resource.labels.{label} = "', value, f'" AND metric.type = "{metric}"'
    )


def _above(
    metric: pulumi.Input[str], *, limit: float, summed_over: str | None = None
) -> monitoring.AlertPolicyConditionConditionThresholdArgs:
    latest = monitoring.AlertPolicyConditionConditionThresholdAggregationArgs(
        alignment_period=_SAMPLE, per_series_aligner="ALIGN_MAX"
    )
    return monitoring.AlertPolicyConditionConditionThresholdArgs(
        filter=metric,
        comparison="COMPARISON_GT",
        threshold_value=limit,
        duration="0s",
        aggregations=[latest if summed_over is None else _sum_over(summed_over)],
    )


def _sum_over(period: str) -> monitoring.AlertPolicyConditionConditionThresholdAggregationArgs:
    return monitoring.AlertPolicyConditionConditionThresholdAggregationArgs(
        alignment_period=period, per_series_aligner="ALIGN_DELTA", cross_series_reducer="REDUCE_SUM"
    )
