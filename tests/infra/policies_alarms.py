"""Policies on what wakes a person, and on logs."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.infra.google_stand_in import function_uri
from tests.infra.known import ALERT, FUNCTION, SERVICE, SUBSCRIPTION
from tests.infra.program import Program, dead_letter_topics, seconds

LEAST_DAYS_OF_LOGS: Final = 90
DAYS_OF_LOGS_UNSAID: Final = 30
LONGEST_WAIT_SECONDS: Final = 3_600
"""How old a message may become before somebody is told."""
MOST_FAILURES: Final = 100
"""How often a function may fail within `LONGEST_LOOK_SECONDS` before somebody is told."""
LONGEST_LOOK_SECONDS: Final = 600
"""How long a figure may be collected, or stay too high, before an alert says so."""

LONGEST_REFUSAL_SECONDS: Final = 3_600
"""How long a function may refuse pushes before an alert says so."""
FAILED_PUSH: Final = 'one_of("remote_server_5xx", "deadline_exceeded", "unreachable")'
"""Pub/Sub's words for what a function answers that fails, does not answer in time, or does not run."""
LARGEST_SHARE: Final = 0.5
MOST_EVIDENCE: Final = 10
LONGEST_SHARE_HOURS: Final = 6
"""A line on which more than every second image ends in the wrong folder is noticed within a shift."""


def every_topic_alarmed(program: Program) -> Iterator[str]:
    """A single dead letter, and a message that waits for more than an hour, wake somebody."""
    dead_topics, alarms = dead_letter_topics(program), list(_alarms(program))
    for subscription in program.of(SUBSCRIPTION):
        dead = subscription.inputs["topic"] in dead_topics
        metric, most = ("num_undelivered_messages", 0) if dead else ("oldest_unacked_message_age", LONGEST_WAIT_SECONDS)
        watched = {
            'resource.type = "pubsub_subscription"',
            f'resource.labels.subscription_id = "{subscription.inputs["name"]}"',
            f'metric.type = "pubsub.googleapis.com/subscription/{metric}"',
        }
        if not any(terms == watched and limit <= most for terms, limit in alarms):
            yield f"{subscription.name} has no alert on {metric} above {most}"


def every_function_alarmed(program: Program) -> Iterator[str]:
    """A function that fails, or refuses pushes for long, wakes somebody.

    What Pub/Sub counts says so: Cloud Run's own count leaves out what reaches no instance.
    """
    failures, refusals = list(_alarms(program)), list(_alarms(program, lasting=LONGEST_REFUSAL_SECONDS))
    pushed = {
        push["pushEndpoint"]: subscription.inputs["name"]
        for subscription in program.of(SUBSCRIPTION)
        if (push := subscription.inputs.get("pushConfig"))
    }
    for function in program.of(FUNCTION):
        answers = {
            'resource.type = "pubsub_subscription"',
            f'resource.labels.subscription_id = "{pushed.get(function_uri(function.inputs["name"]))}"',
            'metric.type = "pubsub.googleapis.com/subscription/push_request_count"',
        }
        failed = answers | {f"metric.labels.response_class = {FAILED_PUSH}"}
        if not any(terms == failed and limit <= MOST_FAILURES for terms, limit in failures):
            yield f"{function.name} has no alert on more than {MOST_FAILURES} failures"
        refused = answers | {'metric.labels.response_class = "remote_server_4xx"'}
        if not any(terms == refused and limit <= MOST_FAILURES for terms, limit in refusals):
            yield f"{function.name} has no alert on refusals for {LONGEST_REFUSAL_SECONDS} seconds"


def every_wrong_folder_alarmed(program: Program) -> Iterator[str]:
    """A large share of unclear images, or of rejected ones, wakes somebody within hours."""
    queries = [
        query["query"]
        for alert in program.of(ALERT)
        if alert.inputs.get("enabled") is not False
        for condition in alert.inputs["conditions"]
        if (query := condition.get("conditionPrometheusQueryLanguage"))
    ]
    for folder in ("unclear", "rejected"):
        if not any(
            (share := re.fullmatch(_SHARE, query))
            and share["folder"] == folder
            and float(share["limit"]) <= LARGEST_SHARE
            and int(share["hours"]) <= int(share["evidence"]) <= LONGEST_SHARE_HOURS
            and int(share["least"]) <= MOST_EVIDENCE
            for query in queries
        ):
            yield f"nothing notices that most images are {folder}"


_SHARE = (
    r"sum\(increase\((?P<series>[\w:]+)\{(?P<of>[^{},]*),folder=\"(?P<folder>\w+)\"\}\[(?P<hours>\d+)h\]\)\)"
    r" / sum\(increase\((?P=series)\{(?P=of)\}\[(?P=hours)h\]\)\) > (?P<limit>[\d.]+)"
    r" and sum\(increase\((?P=series)\{(?P=of),folder=\"(?P=folder)\"\}\[(?P<evidence>\d+)h\]\)\) >= (?P<least>\d+)"
)


def _alarms(program: Program, *, lasting: int = 0) -> Iterator[tuple[set[str], float]]:
    """What the alerts watch, term by term, and the limit above which any one of them says so soon.

    Soon is `LONGEST_LOOK_SECONDS`, or `lasting` where that is longer.

    An alert that is off, waits for a second condition, or looks for what is below its limit is not among them.
    """
    for alert in program.of(ALERT):
        if alert.inputs.get("enabled") is False or alert.inputs.get("combiner") != "OR":
            continue
        for condition in alert.inputs["conditions"]:
            threshold: Mapping[str, Any] = condition.get("conditionThreshold") or {}
            looks = [look["alignmentPeriod"] for look in threshold.get("aggregations") or []]
            soon = all(seconds(look) <= LONGEST_LOOK_SECONDS for look in looks) and seconds(
                threshold.get("duration", "0s")
            ) <= max(LONGEST_LOOK_SECONDS, lasting)
            if threshold.get("comparison") == "COMPARISON_GT" and soon and not threshold.get("trigger"):
                yield set(threshold["filter"].split(" AND ")), threshold.get("thresholdValue", 0)


def somebody_is_told(program: Program) -> Iterator[str]:
    """In production every alert is on, and reaches a person."""
    reached = {
        channel.name
        for channel in program.of("gcp:monitoring/notificationChannel:NotificationChannel")
        if channel.inputs.get("enabled") is not False
    }
    for alert in program.of(ALERT):
        if alert.inputs.get("enabled") is False:
            yield f"{alert.name} is off"
        if not reached & set(alert.inputs.get("notificationChannels") or []):
            yield f"{alert.name} tells nobody"


def logs_are_kept(program: Program) -> Iterator[str]:
    """In production all logs of all that runs are kept, for long enough to look a picture up."""
    kept = {
        bucket.inputs["bucketId"]: bucket.inputs.get("retentionDays", DAYS_OF_LOGS_UNSAID)
        for bucket in program.of("gcp:logging/projectBucketConfig:ProjectBucketConfig")
    }
    for name, days in kept.items():
        if days < LEAST_DAYS_OF_LOGS:
            yield f"the log bucket {name} keeps logs for {days:.0f} days"
    sources: set[tuple[str, str]] = set()
    for sink in program.of("gcp:logging/projectSink:ProjectSink"):
        if sink.inputs.get("disabled") or sink.inputs.get("exclusions"):
            yield f"{sink.name} is off, or leaves lines out"
        elif not (sources_of := _whole_logs(sink.inputs["filter"])):
            yield f"{sink.name} takes something else than whole logs"
        elif any(sink.inputs["destination"].endswith(f"/buckets/{name}") for name in kept):
            sources |= sources_of
    for resource in program.of(FUNCTION, SERVICE):
        name = resource.inputs.get("service") or resource.inputs["name"]
        source = ("cloud_run_revision" if resource.type == FUNCTION else "gae_app", name)
        if name != "default" and source not in sources:
            yield f"the logs of {resource.name} are kept no longer than the project's"


_LOG_OF = r'\(resource\.type = "(\w+)" AND resource\.labels\.(?:service_name|module_id) = "([\w-]+)"\)'


def _whole_logs(text: str) -> set[tuple[str, str]]:
    """The sources whose lines a sink's filter takes, all of them; none if it says anything more."""
    whole = re.fullmatch(rf"{_LOG_OF}(?: OR {_LOG_OF})*", text)
    return set(re.findall(_LOG_OF, text)) if whole else set()
