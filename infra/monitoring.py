"""What wakes somebody, what shows how the line is doing, and how long its logs are kept.

Whether an alert's limit is passed is Cloud Monitoring's to say; what a picture became, Cloud Logging counts from move's
log lines. Deliberately absent: an alert on the bill, as budgets belong to a billing account and not to a stack.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_gcp import logging, monitoring, storage

from infra.dashboard import dashboard_json
from infra.delivery import Delivery
from infra.function import Function
from infra.naming import review_service
from infra.part import Part
from infra.settings import Settings
from inspection.labels import REJECTED, UNCLEAR

LONGEST_WAIT_SECONDS = 1800
"""A message older than this has met several failed attempts, or there are too few instances."""

ERRORS_MINUTES = 10
"""Functions answer 503 to be called again later, so that a few failures in passing are nobody's business."""

OVERLOAD_MINUTES = 30
"""Cloud Run answers 429 while it starts instances; only a line that stays overloaded concerns anybody."""


@dataclass(frozen=True, kw_only=True)
class ShareWindow:
    """Over which images a folder's share is taken."""

    hours: int
    least_images: int
    """A share of fewer says nothing."""


UNCLEAR_WINDOW = ShareWindow(hours=6, least_images=20)
REJECTED_WINDOW = ShareWindow(hours=1, least_images=10)
"""A camera that has switched to another format sends everything there: the next shift is too late."""

RUNBOOK = "docs/runbook.md"
"""Has a heading for each alert, of the alert's name."""

_SAMPLE = "60s"
_FUNCTION_OF = {"images": "predict", "predictions": "move"}
"""Whose log says why messages of a path wait."""

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
    inbound: storage.Bucket
    prediction: storage.Bucket


class Monitoring(Part):
    """Alerts, a dashboard, and the metric and the log bucket behind them."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Alerts close by themselves when what they are about is gone."""
        super().__init__("Monitoring", name, opts)
        self._name = name
        self._settings = settings = args.settings
        self._channels = [self._email(f"{name}-email", settings.alert_email).id] if settings.alert_email else []
        for path, delivery in args.paths.items():
            self._watch_delivery(f"{name}-{path}", path, delivery)
        for part, function in args.functions.items():
            self._watch_errors(f"{name}-{part}-errors", part, function)
            self._watch_overload(f"{name}-{part}-overload", part, function)
        if settings.alert_hours_without_pictures:
            self._watch_arrival(f"{name}-no-pictures", args.paths["images"], args.inbound)
        pictures = self._count_pictures(f"{name}-pictures", args.functions["move"])
        self._watch_share(
            f"{name}-unclear",
            pictures,
            folder=UNCLEAR,
            limit=settings.alert_unclear_share,
            window=UNCLEAR_WINDOW,
            first="open the review page and look at the newest images.",
            advice="Light, focus or the part itself has changed, or the thresholds are too strict. The images wait in "
            f"`{UNCLEAR}/`; train with what people decide on them.",
        )
        self._watch_share(
            f"{name}-rejected",
            pictures,
            folder=REJECTED,
            limit=settings.alert_rejected_share,
            window=REJECTED_WINDOW,
            first=pulumi.Output.concat("`gcloud storage ls --long ", args.prediction.url, f"/{REJECTED}/`"),
            advice="No model was asked about these files: the metadata `error` of each says why. A camera that writes another "
            "format, or whose uploads break off, sends everything there.",
        )
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
            first=self._redrive,
            advice="Every attempt failed. The command shows each with the reason that the function logged last; when that is "
            "mended, it sends them again. Nothing is lost meanwhile.",
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
            first=self._read_log(_FUNCTION_OF[path]),
            advice="The function fails, or has too few instances (`maxInstances`): its log and its instance count say which.",
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
            first=self._read_log(part),
            advice="Nothing is lost: Pub/Sub delivers again what fails, and keeps it as a dead letter after the last attempt.",
            threshold=_above(
                pulumi.Output.concat(
                    _metric("cloud_run_revision", "service_name", function.service, "run.googleapis.com/request_count"),
                    ' AND metric.labels.response_code_class = "5xx"',
                ),
                limit=limit,
                summed_over=f"{ERRORS_MINUTES * 60}s",
            ),
        )

    def _watch_overload(self, name: str, part: str, function: Function) -> None:
        self._alert(
            name,
            title=f"{self._settings.name}: {part} has been overloaded for {OVERLOAD_MINUTES} minutes",
            first=f"raise `{part}.maxInstances` (`pulumi config set --path '{part}.maxInstances' NUMBER`, then `pulumi up`).",
            advice="Every instance is busy, so Cloud Run refuses pushes with 429, and each refusal counts as a delivery attempt. "
            "If it goes on beyond the last attempt, good images become dead letters.",
            threshold=_above(
                pulumi.Output.concat(
                    _metric("cloud_run_revision", "service_name", function.service, "run.googleapis.com/request_count"),
                    ' AND metric.labels.response_code = "429"',
                ),
                limit=0,
                summed_over=f"{ERRORS_MINUTES * 60}s",
                # In every window of that time, and not in one alone.
                lasting=f"{OVERLOAD_MINUTES * 60}s",
            ),
        )

    @property
    def _redrive(self) -> str:
        return f"`inspection redrive --stack {pulumi.get_stack()}`"

    def _read_log(self, part: str) -> str:
        service = f"{self._settings.name}-{part}"
        return f"`gcloud run services logs read {service} --region {self._settings.region} --limit 20`"

    def _watch_arrival(self, name: str, images: Delivery, inbound: storage.Bucket) -> None:
        hours = self._settings.alert_hours_without_pictures
        self._alert(
            name,
            title=f"{self._settings.name}: no picture for {hours} hours",
            first=pulumi.Output.concat("`gcloud storage ls --long ", inbound.url, "`"),
            advice="An image there that stays means that its notification is missing; none at all, that the camera does not "
            "upload. If the line stands still for that long, raise `alertHoursWithoutPictures`, or set it to 0.",
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

    def _watch_share(
        self,
        name: str,
        pictures: logging.Metric,
        *,
        folder: str,
        limit: float,
        window: ShareWindow,
        first: pulumi.Input[str],
        advice: str,
    ) -> None:
        """An alert when more than this share of the moved images went to a folder; a limit of 1 means none."""
        if limit >= 1:
            return
        series = promql_name(f"{self._settings.name}-pictures")

        def count(labels: str) -> str:
            return f'sum(increase({series}{{monitored_resource="cloud_run_revision"{labels}}}[{window.hours}h]))'

        every, there = count(""), count(f',folder="{folder}"')
        self._alert(
            name,
            title=f"{self._settings.name}: more than {limit:.0%} of the images are {folder}",
            first=first,
            advice=f"Of the last {'hour' if window.hours == 1 else f'{window.hours} hours'}. {advice}",
            query=monitoring.AlertPolicyConditionConditionPrometheusQueryLanguageArgs(
                query=f"{there} / {every} > {limit} and {every} >= {window.least_images}",
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
        first: pulumi.Input[str],
        advice: str,
        threshold: monitoring.AlertPolicyConditionConditionThresholdArgs | None = None,
        query: monitoring.AlertPolicyConditionConditionPrometheusQueryLanguageArgs | None = None,
        depends_on: list[pulumi.Resource] | None = None,
    ) -> None:
        """`name` ends in what the runbook's heading is called; `first` completes "First: "."""
        heading = name.removeprefix(f"{self._name}-")
        monitoring.AlertPolicy(
            name,
            display_name=title,
            combiner="OR",
            conditions=[
                monitoring.AlertPolicyConditionArgs(
                    display_name=title, condition_threshold=threshold, condition_prometheus_query_language=query
                )
            ],
            documentation=monitoring.AlertPolicyDocumentationArgs(
                content=pulumi.Output.concat("First: ", first, f"\n\n{advice}\n\nMore: `{RUNBOOK}#{heading}`"),
                mime_type="text/markdown",
            ),
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
    metric: pulumi.Input[str], *, limit: float, summed_over: str | None = None, lasting: str = "0s"
) -> monitoring.AlertPolicyConditionConditionThresholdArgs:
    latest = monitoring.AlertPolicyConditionConditionThresholdAggregationArgs(
        alignment_period=_SAMPLE, per_series_aligner="ALIGN_MAX"
    )
    return monitoring.AlertPolicyConditionConditionThresholdArgs(
        filter=metric,
        comparison="COMPARISON_GT",
        threshold_value=limit,
        duration=lasting,
        aggregations=[latest if summed_over is None else _sum_over(summed_over)],
    )


def _sum_over(period: str) -> monitoring.AlertPolicyConditionConditionThresholdAggregationArgs:
    return monitoring.AlertPolicyConditionConditionThresholdAggregationArgs(
        alignment_period=period, per_series_aligner="ALIGN_DELTA", cross_series_reducer="REDUCE_SUM"
    )
