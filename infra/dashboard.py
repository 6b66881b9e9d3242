"""The dashboard: what becomes of the pictures, what waits, what fails, and how long answers take.

https://cloud.google.com/monitoring/api/ref_v3/rest/v1/projects.dashboards
"""

from collections.abc import Sequence
from typing import Any

import pulumi

_COLUMNS = 48
_TILE_HEIGHT = 16
_MINUTE = "60s"
_HOUR = "3600s"


def dashboard_json(
    title: str,
    *,
    pictures: pulumi.Input[str],
    subscriptions: Sequence[pulumi.Input[str]],
    dead_letters: Sequence[pulumi.Input[str]],
    functions: Sequence[pulumi.Input[str]],
) -> pulumi.Output[str]:
    """The same text for the same line, so that a preview shows no change.

    Args:
        title: what the console lists it as.
        pictures: the name of the log-based metric that counts pictures by `folder`.
        subscriptions: of messages on their way.
        dead_letters: subscriptions that keep what could not be delivered.
        functions: Cloud Run's names of them.
    """
    waiting = _any_of("pubsub_subscription", "subscription_id", subscriptions)
    kept = _any_of("pubsub_subscription", "subscription_id", dead_letters)
    running = _any_of("cloud_run_revision", "service_name", functions)
    sorted_pictures = pulumi.Output.concat(
        'resource.type = "cloud_run_revision" AND metric.type = "logging.googleapis.com/user/', pictures, '"'
    )
    charts = [
        _chart(
            "Pictures an hour, by folder", sorted_pictures, "ALIGN_DELTA", _HOUR, "metric.label.folder", stacked=True
        ),
        _chart(
            "Seconds that the oldest message has waited",
            _of(waiting, "pubsub.googleapis.com/subscription/oldest_unacked_message_age"),
            "ALIGN_MAX",
            _MINUTE,
            "resource.label.subscription_id",
        ),
        _chart(
            "Dead letters",
            _of(kept, "pubsub.googleapis.com/subscription/num_undelivered_messages"),
            "ALIGN_MAX",
            _MINUTE,
            "resource.label.subscription_id",
        ),
        _chart(
            # Cloud Run's own count leaves out what reaches no instance, such as the 429 of a function that is overloaded.
            "Pushes to the functions a minute, by answer",
            _of(waiting, "pubsub.googleapis.com/subscription/push_request_count"),
            "ALIGN_DELTA",
            _MINUTE,
            "metric.label.response_class",
            stacked=True,
        ),
        _chart(
            "Milliseconds to answer, 95th percentile",
            _of(running, "run.googleapis.com/request_latencies"),
            "ALIGN_PERCENTILE_95",
            _MINUTE,
            "resource.label.service_name",
            reducer="REDUCE_MAX",
        ),
        _chart(
            "Instances",
            _of(running, "run.googleapis.com/container/instance_count"),
            "ALIGN_MAX",
            _MINUTE,
            "resource.label.service_name",
        ),
    ]
    width = _COLUMNS // 2
    tiles = [
        # Google's API leaves out a position of 0; said here, it would be a change in every preview.
        {
            **{key: at for key, at in (("xPos", place % 2 * width), ("yPos", place // 2 * _TILE_HEIGHT)) if at},
            "width": width,
            "height": _TILE_HEIGHT,
            "widget": chart,
        }
        for place, chart in enumerate(charts)
    ]
    dashboard = {"displayName": title, "mosaicLayout": {"columns": _COLUMNS, "tiles": tiles}}
    return pulumi.Output.json_dumps(dashboard, sort_keys=True)


def _any_of(resource: str, label: str, values: Sequence[pulumi.Input[str]]) -> pulumi.Output[str]:
    quoted = [pulumi.Output.concat('"', value, '"') for value in values]
    names = pulumi.Output.all(*quoted).apply(", ".join)
    return pulumi.Output.concat(f'resource.type = "{resource}" AND resource.labels.{label} = one_of(', names, ")")


def _of(resources: pulumi.Output[str], metric: str) -> pulumi.Output[str]:
    return pulumi.Output.concat(resources, f' AND metric.type = "{metric}"')


def _chart(
    title: str,
    metric: pulumi.Output[str],
    aligner: str,
    period: str,
    group_by: str,
    *,
    stacked: bool = False,
    reducer: str = "REDUCE_SUM",
) -> dict[str, Any]:
    aggregation = {
        "alignmentPeriod": period,
        "perSeriesAligner": aligner,
        "crossSeriesReducer": reducer,
        "groupByFields": [group_by],
    }
    data_set = {
        "plotType": "STACKED_BAR" if stacked else "LINE",
        "targetAxis": "Y1",
        "timeSeriesQuery": {"timeSeriesFilter": {"filter": metric, "aggregation": aggregation}},
    }
    return {"title": title, "xyChart": {"dataSets": [data_set]}}
