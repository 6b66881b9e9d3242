"""Who is woken by what, what is shown, and how long logs are kept."""

import json
import re
from typing import Any

import pytest

from infra.monitoring import RUNBOOK, promql_name
from local.deploy.program import ROOT
from tests.infra.google_stand_in import PROJECT, REVIEWED, Inventory, declare, is_subset

NAME = "inspection-test"


@pytest.fixture(scope="module")
def line() -> Inventory:
    return declare(alertEmail="line@example.com", keepLogsDays=90, **REVIEWED)


def condition(inventory: Inventory, name: str) -> dict[str, Any]:
    (found,) = inventory.one("monitoring/alertPolicy:AlertPolicy", name).inputs["conditions"]
    return found.get("conditionThreshold") or found["conditionPrometheusQueryLanguage"]


def names(inventory: Inventory) -> set[str]:
    return {alert.name.removeprefix("monitoring-") for alert in inventory.of("monitoring/alertPolicy:AlertPolicy")}


def test_every_alert_says_what_to_do_and_goes_to_the_address(line: Inventory):
    for alert in line.of("monitoring/alertPolicy:AlertPolicy"):
        assert alert.inputs["notificationChannels"] == ["monitoring-email"]
        assert len(alert.inputs["documentation"]["content"]) > 40, alert.name
        assert alert.inputs["displayName"].startswith(f"{NAME}: ")


def test_without_an_address_alerts_show_in_the_console_alone():
    silent = declare()
    assert all(not alert.inputs["notificationChannels"] for alert in silent.of("monitoring/alertPolicy:AlertPolicy"))


def test_each_path_and_each_function_has_its_alerts(line: Inventory):
    assert names(line) == {
        "images-dead-letters",
        "images-waiting",
        "predictions-dead-letters",
        "predictions-waiting",
        "predict-errors",
        "move-errors",
        "predict-overload",
        "move-overload",
        "no-pictures",
        "unclear",
        "rejected",
    }


@pytest.mark.parametrize("reviewed", [True, False])
def test_the_runbook_has_a_heading_for_each_alert_and_each_alert_names_it(*, reviewed: bool):
    alerts = declare(**(REVIEWED if reviewed else {}))
    headings = set(re.findall(r"^## ([\w-]+)$", (ROOT / RUNBOOK).read_text(), re.MULTILINE))
    assert headings == names(alerts)
    for alert in alerts.of("monitoring/alertPolicy:AlertPolicy"):
        text = alert.inputs["documentation"]["content"]
        assert text.startswith("First: "), alert.name
        assert text.endswith(f"`{RUNBOOK}#{alert.name.removeprefix('monitoring-')}`")


@pytest.mark.parametrize("part", ["predict", "move"])
def test_an_overload_that_lasts_wakes_somebody_before_messages_become_dead_letters(line: Inventory, part: str):
    assert condition(line, f"monitoring-{part}-overload") == {
        "filter": f'resource.type = "cloud_run_revision" AND resource.labels.service_name = "{NAME}-{part}"'
        ' AND metric.type = "run.googleapis.com/request_count" AND metric.labels.response_code = "429"',
        "comparison": "COMPARISON_GT",
        "thresholdValue": 0,
        "duration": "1800s",
        "aggregations": [
            {"alignmentPeriod": "600s", "perSeriesAligner": "ALIGN_DELTA", "crossSeriesReducer": "REDUCE_SUM"}
        ],
    }


@pytest.mark.parametrize("path", ["images", "predictions"])
@pytest.mark.parametrize(
    ("alert", "subscription", "metric", "limit"),
    [
        ("dead-letters", "-dead-letters", "num_undelivered_messages", 0),
        ("waiting", "", "oldest_unacked_message_age", 1800),
    ],
)
def test_one_dead_letter_and_half_an_hour_of_waiting_wake_somebody_at_once(
    line: Inventory, path: str, alert: str, subscription: str, metric: str, limit: int
):
    assert condition(line, f"monitoring-{path}-{alert}") == {
        "filter": f'resource.type = "pubsub_subscription" AND resource.labels.subscription_id = "{NAME}-{path}{subscription}"'
        f' AND metric.type = "pubsub.googleapis.com/subscription/{metric}"',
        "comparison": "COMPARISON_GT",
        "thresholdValue": limit,
        "duration": "0s",
        "aggregations": [{"alignmentPeriod": "60s", "perSeriesAligner": "ALIGN_MAX"}],
    }


def test_every_alert_is_on_and_needs_no_second_condition(line: Inventory):
    for alert in line.of("monitoring/alertPolicy:AlertPolicy"):
        assert alert.inputs["combiner"] == "OR", alert.name
        assert alert.inputs.get("enabled", True) is True, alert.name
        assert len(alert.inputs["conditions"]) == 1, alert.name


def test_a_function_may_fail_in_passing():
    errors = condition(declare(alertFunctionErrors=3), "monitoring-move-errors")
    assert is_subset({"comparison": "COMPARISON_GT", "thresholdValue": 3}, errors)
    assert f'resource.labels.service_name = "{NAME}-move"' in errors["filter"]
    assert 'metric.labels.response_code_class = "5xx"' in errors["filter"]
    assert errors["aggregations"] == [
        {"alignmentPeriod": "600s", "perSeriesAligner": "ALIGN_DELTA", "crossSeriesReducer": "REDUCE_SUM"}
    ]


def test_silence_is_noticed_also_where_there_are_no_figures_at_all():
    silence = condition(declare(alertHoursWithoutPictures=8), "monitoring-no-pictures")
    assert is_subset(
        {
            "comparison": "COMPARISON_LT",
            "thresholdValue": 1,
            "evaluationMissingData": "EVALUATION_MISSING_DATA_ACTIVE",
        },
        silence,
    )
    assert f'resource.labels.topic_id = "{NAME}-images"' in silence["filter"]
    assert silence["aggregations"][0]["alignmentPeriod"] == f"{8 * 3600}s"


def test_a_line_that_stands_still_wakes_nobody_if_so_configured():
    assert "no-pictures" not in names(declare(alertHoursWithoutPictures=0))
    assert "unclear" not in names(declare(alertUnclearShare=1))
    assert "rejected" not in names(declare(alertRejectedShare=1))


@pytest.mark.parametrize(
    ("folder", "key", "hours", "least"),
    [("unclear", "alertUnclearShare", 6, 20), ("rejected", "alertRejectedShare", 1, 10)],
)
def test_a_folders_share_is_of_the_images_that_were_moved(
    line: Inventory, folder: str, key: str, hours: int, least: int
):
    metric = line.one("logging/metric:Metric", "monitoring-pictures").inputs
    assert metric["filter"].endswith(f'service_name = "{NAME}-move" AND jsonPayload.outcome = "moved"')
    assert metric["labelExtractors"] == {"folder": "EXTRACT(jsonPayload.folder)"}
    series = promql_name(metric["name"])
    assert series == "logging_googleapis_com:user_inspection_test_pictures"
    values: dict[str, Any] = {key: 0.25}
    query = condition(declare(**values), f"monitoring-{folder}")["query"]
    share, enough = query.split(" and ")
    there, rest = share.split(" / ")
    assert series in there
    assert f'folder="{folder}"' in there
    assert f"[{hours}h]" in there
    every, limit = rest.split(" > ")
    assert "folder" not in every
    assert limit == "0.25"
    assert enough == f"{every} >= {least}"


def test_the_dashboard_is_the_same_text_each_time_and_shows_all_that_runs(line: Inventory):
    text = line.one("monitoring/dashboard:Dashboard", "monitoring-dashboard").inputs["dashboardJson"]
    again = declare(alertEmail="other@example.com").one("monitoring/dashboard:Dashboard", "monitoring-dashboard")
    assert text == again.inputs["dashboardJson"]
    dashboard = json.loads(text)
    assert dashboard["displayName"] == NAME
    tiles = dashboard["mosaicLayout"]["tiles"]
    places = {(tile.get("xPos", 0), tile.get("yPos", 0)) for tile in tiles}
    assert len(places) == len(tiles) == 6
    filters = text.replace('\\"', '"')
    for shown in ("images", "predictions", "images-dead-letters", "predict", "move", "pictures"):
        assert f'{NAME}-{shown}"' in filters


def test_logs_are_kept_apart_and_outlive_the_stack(line: Inventory):
    bucket = line.one("logging/projectBucketConfig:ProjectBucketConfig", "monitoring-logs")
    assert is_subset({"bucketId": f"{NAME}-logs", "location": "europe-west3", "retentionDays": 90}, bucket.inputs)
    assert bucket.retain_on_delete
    sink = line.one("logging/projectSink:ProjectSink", "monitoring-logs-sink").inputs
    assert sink["destination"] == (
        f"logging.googleapis.com/projects/{PROJECT}/locations/europe-west3/buckets/{NAME}-logs"
    )
    assert sink["filter"].count(" OR ") == 2
    assert not {"disabled", "exclusions"} & sink.keys()
    assert f'module_id = "{NAME}-review"' in sink["filter"]
    without_review = declare(keepLogsDays=1).one("logging/projectSink:ProjectSink", "monitoring-logs-sink")
    assert "gae_app" not in without_review.inputs["filter"]


def test_no_log_bucket_is_made_unasked():
    assert not [resource for resource in declare() if "logging/project" in resource.type]
