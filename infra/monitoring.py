"""What wakes somebody, what shows how the line is doing, and how long its logs are kept.

Whether an alert's limit is passed is Cloud Monitoring's to say; what a picture became, Cloud Logging counts from move's
log lines. Deliberately absent: an alert on the bill, as budgets belong to a billing account and not to a stack.
"""

import re
from collections.abc import Mapping, Sequence
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

PUSH_MINUTES = 10
"""Functions answer 503 to be called again later, so that a few failures in passing are nobody's business."""

REFUSED_MINUTES = 30
"""Cloud Run answers 429 while it starts instances; only pushes that are refused for longer concern anybody."""

_FAILED = 'one_of("remote_server_5xx", "deadline_exceeded", "unreachable")'
_REFUSED = '"remote_server_4xx"'
"""How Pub/Sub classes the answers to its pushes (https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-pubsub).

Deliberately not Cloud Run's own `request_count`: that leaves out whatever reaches no instance, the 429 of a function
whose instances are all busy among it (https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run).
"""


@dataclass(frozen=True, kw_only=True)
class ShareWindow:
    """Over which images a folder's share is taken."""

    hours: int
    least_there: int
    """Fewer images in the folder within `EVIDENCE_HOURS` say nothing."""


EVIDENCE_HOURS = 6
"""Longer than a share's own window, so that a camera with few images an hour is noticed as well."""

UNCLEAR_WINDOW = ShareWindow(hours=6, least_there=6)
REJECTED_WINDOW = ShareWindow(hours=1, least_there=5)
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
            self._watch_errors(f"{name}-{_FUNCTION_OF[path]}-errors", path, delivery)
            self._watch_refusals(f"{name}-{_FUNCTION_OF[path]}-refused", path, delivery)
        if settings.alert_hours_without_pictures:
            self._watch_arrival(f"{name}-no-pictures", args.paths["images"], args.inbound)
        pictures = self._count_pictures(f"{name}-pictures", args.functions["move"])
        self._watch_share(
            f"{name}-unclear",
            pictures,
            folder=UNCLEAR,
            limit=settings.alert_unclear_share,
            window=UNCLEAR_WINDOW,
            shows=("label", "score"),
            advice="Light, focus or the part itself has changed, or the thresholds are too strict. The images wait in "
            f"`{UNCLEAR}/`; train with the reviewers' decisions on them.",
        )
        self._watch_share(
            f"{name}-rejected",
            pictures,
            folder=REJECTED,
            limit=settings.alert_rejected_share,
            window=REJECTED_WINDOW,
            shows=("error",),
            advice="The function could not read these files; `error` says why. A camera that writes another format, or whose "
            "uploads break off, sends everything there.",
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
            advice="Every attempt failed. The command lists each dead letter with the reason that the function logged last. Remove "
            "the cause, then redeliver them with `--yes`. Nothing is lost meanwhile.",
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
            first=self._read_problems(_FUNCTION_OF[path]),
            advice="The function fails, or has too few instances (429): its log says which.",
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

    def _watch_errors(self, name: str, path: str, delivery: Delivery) -> None:
        part, limit = _FUNCTION_OF[path], self._settings.alert_function_errors
        self._alert(
            name,
            title=f"{self._settings.name}: {part} failed more than {limit} times in {PUSH_MINUTES} minutes",
            first=self._read_problems(part),
            advice="Nothing is lost: Pub/Sub redelivers what fails, and keeps it as a dead letter after the last attempt.",
            threshold=_above(_pushes(delivery, _FAILED), limit=limit, summed_over=PUSH_MINUTES),
        )

    def _watch_refusals(self, name: str, path: str, delivery: Delivery) -> None:
        part, limit = _FUNCTION_OF[path], self._settings.alert_refused_pushes
        self._alert(
            name,
            title=f"{self._settings.name}: {part} has refused pushes for {REFUSED_MINUTES} minutes",
            first=self._read_problems(part),
            advice="429 means that every instance is busy. Each refusal counts as a delivery attempt, so that good images become "
            f"dead letters when it lasts for hours. Raise `{part}.maxInstances`: "
            f"`pulumi config set --stack {pulumi.get_stack()} --path '{part}.maxInstances' NUMBER`, then `pulumi up`. "
            "403 means that Pub/Sub may not call the function: `pulumi up --refresh` restores the grant.",
            # In every window of that time, and not in one alone.
            threshold=_above(
                _pushes(delivery, _REFUSED), limit=limit, summed_over=PUSH_MINUTES, lasting=f"{REFUSED_MINUTES * 60}s"
            ),
        )

    @property
    def _redrive(self) -> str:
        return f"`inspection redrive --stack {pulumi.get_stack()}`"

    def _read_problems(self, part: str) -> str:
        """Cloud Run's own lines have a status and a text, the function's a message."""
        shows = ("httpRequest.status", "jsonPayload.message", "textPayload")
        return self._read_log(part, "severity>=WARNING", hours=1, shows=shows)

    def _read_log(self, part: str, lines: str, *, hours: int, shows: Sequence[str]) -> str:
        """A command; `value` separates what it shows by tabs (https://cloud.google.com/sdk/gcloud/reference/logging/read)."""
        log = f'resource.type="cloud_run_revision" AND resource.labels.service_name="{self._settings.name}-{part}"'
        return (
            f"`gcloud logging read '{log} AND {lines}' --project {self._settings.project} --freshness {hours}h --limit 20 "
            f"--format 'value({','.join(('timestamp', *shows))})'`"
        )

    def _watch_arrival(self, name: str, images: Delivery, inbound: storage.Bucket) -> None:
        hours = self._settings.alert_hours_without_pictures
        self._alert(
            name,
            title=f"{self._settings.name}: no picture for {hours} hours",
            first=pulumi.Output.concat("`gcloud storage ls --long --recursive ", inbound.url, "`"),
            advice="An image that stays there means that its notification is missing; none at all, that the camera does not "
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
        shows: Sequence[str],
        advice: str,
    ) -> None:
        """An alert when more than this share of the moved images went to a folder; a limit of 1 means none."""
        if limit >= 1:
            return
        series = promql_name(f"{self._settings.name}-pictures")

        def count(labels: str, hours: int = window.hours) -> str:
            return f'sum(increase({series}{{monitored_resource="cloud_run_revision"{labels}}}[{hours}h]))'

        there = f',folder="{folder}"'
        self._alert(
            name,
            title=f"{self._settings.name}: more than {limit * 100:g}% of the images are {folder}",
            first=self._read_log(
                "move",
                f'jsonPayload.folder="{folder}"',
                hours=window.hours,
                shows=[f"jsonPayload.{field}" for field in ("image", *shows)],
            ),
            advice=f"Of the last {'hour' if window.hours == 1 else f'{window.hours} hours'}. {advice}",
            query=monitoring.AlertPolicyConditionConditionPrometheusQueryLanguageArgs(
                query=f"{count(there)} / {count('')} > {limit} "
                f"and {count(there, EVIDENCE_HOURS)} >= {window.least_there}",
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


def _pushes(delivery: Delivery, answer: str) -> pulumi.Output[str]:
    return pulumi.Output.concat(
        _metric(
            "pubsub_subscription",
            "subscription_id",
            delivery.subscription.name,
            "pubsub.googleapis.com/subscription/push_request_count",
        ),
        f" AND metric.labels.response_class = {answer}",
    )


def _above(
    metric: pulumi.Input[str], *, limit: float, summed_over: int | None = None, lasting: str = _SAMPLE
) -> monitoring.AlertPolicyConditionConditionThresholdArgs:
    """Above the limit: the latest figure at once, or the sum over so many minutes, in each window while it lasts."""
    if summed_over is None:
        latest = monitoring.AlertPolicyConditionConditionThresholdAggregationArgs(
            alignment_period=_SAMPLE, per_series_aligner="ALIGN_MAX"
        )
        return monitoring.AlertPolicyConditionConditionThresholdArgs(
            filter=metric,
            comparison="COMPARISON_GT",
            threshold_value=limit,
            duration="0s",
            aggregations=[latest],
        )
    return monitoring.AlertPolicyConditionConditionThresholdArgs(
        filter=metric,
        comparison="COMPARISON_GT",
        threshold_value=limit,
        # No figures mean that nothing fails any more. Without saying so, the alert would stay open for a week; to say so
        # takes a duration of a minute or longer.
        evaluation_missing_data="EVALUATION_MISSING_DATA_INACTIVE",
        duration=lasting,
        aggregations=[_sum_over(f"{summed_over * 60}s")],
    )


def _sum_over(period: str) -> monitoring.AlertPolicyConditionConditionThresholdAggregationArgs:
    return monitoring.AlertPolicyConditionConditionThresholdAggregationArgs(
        alignment_period=period, per_series_aligner="ALIGN_DELTA", cross_series_reducer="REDUCE_SUM"
    )
