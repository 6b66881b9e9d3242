"""Who is woken by what, what is shown, and how long logs are kept."""

import json
import re
from typing import Any

import pytest

from infra.monitoring import RUNBOOK, promql_name
from infra.settings import PredictLimits, Settings
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
        "predict-refused",
        "move-refused",
        "no-pictures",
        "unclear",
        "rejected",
    }


def runbook() -> dict[str, str]:
    """Each heading with its text."""
    _, *parts = re.split(r"^## ([\w-]+)$", (ROOT / RUNBOOK).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("reviewed", [True, False])
def test_the_runbook_has_a_heading_for_each_alert_and_each_alert_names_it(*, reviewed: bool):
    alerts = declare(**(REVIEWED if reviewed else {}))
    assert runbook().keys() == names(alerts)
    for alert in alerts.of("monitoring/alertPolicy:AlertPolicy"):
        text = alert.inputs["documentation"]["content"]
        assert text.endswith(f"`{RUNBOOK}#{alert.name.removeprefix('monitoring-')}`")


def test_each_alert_begins_with_a_command_which_the_runbook_repeats(line: Inventory):
    for alert in line.of("monitoring/alertPolicy:AlertPolicy"):
        first = re.match(r"First: `((?:inspection|gcloud) [^`]+)`\n", alert.inputs["documentation"]["content"])
        assert first, alert.name
        command = first[1]
        for value, placeholder in (
            (f"gs://{PROJECT}-{NAME}-inbound", "gs://INBOUND_BUCKET"),
            (NAME, "NAME"),
            (PROJECT, "PROJECT"),
            ("--stack test", "--stack STACK"),
        ):
            command = command.replace(value, placeholder)
        section = runbook()[alert.name.removeprefix("monitoring-")]
        assert f"**First look.**\n\n```sh\n{command}\n```" in section, alert.name
        leads = re.findall(r"^\*\*([\w ]+)\.?\*\*", section, re.MULTILINE)
        assert leads == ["Symptom", "First look", "Likely causes", "What to do", "It is over"], alert.name


def test_every_key_that_an_alert_or_the_runbook_names_exists(line: Inventory):
    alerts = line.of("monitoring/alertPolicy:AlertPolicy")
    text = "\n".join([*(alert.inputs["documentation"]["content"] for alert in alerts), *runbook().values()])
    named = re.findall(r"config set --stack \w+ (?:--path ')?([\w.]+)", text) + re.findall(r"`(alert\w+)`", text)
    assert {"predict.maxInstances", "alertRejectedShare"} <= set(named)
    for key in named:
        top, _, inner = key.partition(".")
        fields = PredictLimits.model_fields if inner else Settings.model_fields
        assert (inner or top) in {field.alias for field in fields.values()}, key


@pytest.mark.parametrize(("part", "path"), [("predict", "images"), ("move", "predictions")])
def test_what_pubsub_counts_shows_a_function_that_fails_or_refuses_pushes(part: str, path: str):
    line = declare(alertFunctionErrors=3, alertRefusedPushes=4)
    pushes = (
        f'resource.type = "pubsub_subscription" AND resource.labels.subscription_id = "{NAME}-{path}"'
        ' AND metric.type = "pubsub.googleapis.com/subscription/push_request_count" AND metric.labels.response_class = '
    )
    common = {
        "comparison": "COMPARISON_GT",
        # Otherwise an alert stays open for a week after the last failure.
        "evaluationMissingData": "EVALUATION_MISSING_DATA_INACTIVE",
        "aggregations": [
            {"alignmentPeriod": "600s", "perSeriesAligner": "ALIGN_DELTA", "crossSeriesReducer": "REDUCE_SUM"}
        ],
    }
    assert condition(line, f"monitoring-{part}-errors") == common | {
        "filter": pushes + 'one_of("remote_server_5xx", "deadline_exceeded", "unreachable")',
        "thresholdValue": 3,
        "duration": "60s",
    }
    # Three windows in a row, and so before messages become dead letters.
    assert condition(line, f"monitoring-{part}-refused") == common | {
        "filter": pushes + '"remote_server_4xx"',
        "thresholdValue": 4,
        "duration": "1800s",
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
    [("unclear", "alertUnclearShare", 6, 6), ("rejected", "alertRejectedShare", 1, 5)],
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
    of = 'monitored_resource="cloud_run_revision"'
    every = f"sum(increase({series}{{{of}}}[{hours}h]))"
    there, evidence = (f'sum(increase({series}{{{of},folder="{folder}"}}[{span}h]))' for span in (hours, 6))
    assert query == f"{there} / {every} > 0.25 and {evidence} >= {least}"


@pytest.mark.parametrize(
    ("there", "every", "there_lately", "raised"),
    [
        (1, 3, 1, False),  # a third, and one image
        (1, 1, 1, False),
        (5, 5, 5, True),  # a camera that has switched to another format
        (1, 1, 5, True),  # the same at one image an hour
        (5, 60, 9, False),
        (7, 60, 9, True),
    ],
)
def test_a_few_rejected_images_wake_nobody_and_a_camera_that_sends_nothing_else_does(
    line: Inventory, there: int, every: int, there_lately: int, raised: bool
):
    def count(found: re.Match[str]) -> str:
        return str(there_lately if found[2] == "6" else there if "rejected" in found[1] else every)

    query = condition(line, "monitoring-rejected")["query"]
    # What is left are numbers and operators, which Python ranks as PromQL does.
    assert eval(re.sub(r"sum\(increase\((.*?)\[(\d+)h\]\)\)", count, query)) is raised


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
