"""The stack's config is checked whole, and what is wrong is said so that a person can mend it."""

from typing import Any

import pytest

from infra.naming import MAX_PREFIX_LENGTH
from infra.settings import Settings
from infra.stack_config import SettingsError, parse_settings
from inspection.model_id import Backend
from inspection.routing import folder_for

REQUIRED: dict[str, Any] = {"gcp:project": "test-factory", "gcp:region": "europe-west3", "modelId": "ICN123"}


def parse(stack: str = "dev", **values: object) -> Settings:
    given = {**REQUIRED, **values}
    return parse_settings({key: value for key, value in given.items() if value is not None}, stack=stack)


def mistakes(stack: str = "dev", **values: object) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        parse(stack, **values)
    head, *listed = str(refused.value).split("\n  - ")
    assert head.startswith(f"the config of stack {stack!r} has {len(listed)} mistake")
    return listed


def test_what_is_required_is_enough():
    settings = parse()
    assert settings.labels == ("ok", "defect")
    assert settings.name == "inspection-dev"
    assert settings.inbound_bucket == "test-factory-inspection-dev-inbound"
    assert settings.bucket_location == "europe-west3"
    assert settings.model.backend is Backend.AUTOML


def test_the_defaults_put_no_image_at_risk():
    settings = parse()
    assert settings.protect_images
    assert not settings.delete_buckets_with_contents
    assert settings.keep_deleted_images_days == 7


def test_text_and_numbers_are_read_alike():
    typed = parse(
        threshold=0.9, thresholds={"ok": 0.95}, predict={"maxInstances": 3}, protectImages=False, labels=["ok", "b"]
    )
    as_text = parse(
        threshold="0.9",
        thresholds='{"ok": "0.95"}',
        predict='{"maxInstances": "3"}',
        protectImages="false",
        labels='["ok", "b"]',
    )
    assert typed == as_text
    assert as_text.predict.max_instances == 3


def test_a_common_and_an_own_threshold_reach_the_routing():
    routing = parse(threshold=0.6, thresholds={"ok": 0.95}).routing
    assert folder_for("ok", 0.9, routing) == "unclear"
    assert folder_for("defect", 0.6, routing) == "defect"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"modelId": None}, ["modelId is missing", "ICN1234567890", "pulumi config set modelId"]),
        ({"gcp:project": None}, ["gcp:project is missing", "pulumi config set gcp:project"]),
        ({"gcp:project": "Factory"}, ["gcp:project is 'Factory'", "lower-case"]),
        ({"gcp:region": "europe"}, ["gcp:region is 'europe'", "europe-west3"]),
        ({"modelId": "my-model"}, ["modelId is 'my-model'", "an AutoML Vision model", "or a Vertex AI endpoint"]),
        ({"threshold": 1.2}, ["threshold is 1.2", "a number from 0 to 1", "pulumi config set threshold"]),
        ({"threshold": "abc"}, ["threshold is 'abc'", "a number from 0 to 1"]),
        ({"threshold": True}, ["threshold is True", "a number from 0 to 1"]),
        ({"threshold": "nan"}, ["threshold is 'nan'", "a number from 0 to 1"]),
        ({"threshold": "-0.1"}, ["threshold is '-0.1'"]),
        ({"thresholds": {"ok": "high"}}, ["thresholds.ok is 'high'", "from 0 to 1", "--path 'thresholds.ok'"]),
        ({"thresholds": {"scratch": 0.5}}, ["thresholds.scratch", "none of the labels 'ok', 'defect'"]),
        ({"thresholds": "0.9"}, ["thresholds is 0.9", "an object of labels"]),
        ({"labels": ["ok", "unclear"]}, ["labels is ['ok', 'unclear']", "'unclear' cannot be a label"]),
        ({"labels": ["ok", "a/b"]}, ["'a/b' cannot be a label", "letters, digits"]),
        ({"labels": ["ok", "OK"]}, ["'OK' is there twice"]),
        ({"labels": []}, ["these are 0 labels", "1 to 9"]),
        ({"labels": list("abcdefghij")}, ["these are 10 labels", "1 to 9"]),
        ({"labels": ["ok", 2]}, ["labels[1] is 2"]),
        ({"labels": "ok"}, ["labels is 'ok'", "a list"]),
        ({"reviewers": ["someone"]}, ["'someone' is not an e-mail address"]),
        ({"reviewers": [f"{'a' * 243}@example.com"]}, ["is not an e-mail address of at most 254 bytes"]),
        ({"reviewers": ["a@b.de", "A@b.de"]}, ["'A@b.de' is there twice"]),
        ({"alertEmail": "nobody"}, ["alertEmail is 'nobody'", "an e-mail address"]),
        ({"alertHoursWithoutPictures": 25}, ["alertHoursWithoutPictures is 25", "from 1 to 24, or 0"]),
        ({"alertUnclearShare": 0}, ["alertUnclearShare is 0", "above 0 and up to 1"]),
        ({"alertUnclearShare": "30%"}, ["alertUnclearShare is '30%'", "above 0 and up to 1"]),
        ({"alertRefusedPushes": -1}, ["alertRefusedPushes is -1", "from 0 to 1000000"]),
        ({"alertFunctionErrors": -1}, ["alertFunctionErrors is -1", "from 0 to 1000000"]),
        ({"keepLogsDays": 3651}, ["keepLogsDays is 3651", "from 1 to 3650, or 0"]),
        ({"name": "x" * (MAX_PREFIX_LENGTH + 1)}, ["name is 'xxx", "at most 30 characters", "pulumi config set name"]),
        ({"name": "my-google"}, ["name is 'my-google'", "without 'google'"]),
        ({"inboundBucket": "b" * 64}, ["inboundBucket is 'bbb", "it has 64 characters", "3 to 63"]),
        ({"inboundBucket": "goog-line"}, ["inboundBucket is 'goog-line'"]),
        ({"inboundBucket": "same", "predictionBucket": "same"}, ["predictionBucket is 'same'", "another bucket"]),
        ({"predict": {"memory": "8Gi"}}, ["predict.memory is '8Gi'", "1Gi to 4Gi", "--path 'predict.memory'"]),
        ({"predict": {"memory": "1023Mi"}}, ["predict.memory is '1023Mi'", "815 MB", "1Gi to 4Gi"]),
        ({"move": {"memory": "255Mi"}}, ["move.memory is '255Mi'", "256Mi to 4Gi"]),
        ({"alertRejectedShare": 0}, ["alertRejectedShare is 0", "above 0 and up to 1"]),
        ({"predict": {"memory": "1GB"}}, ["predict.memory is '1GB'"]),
        ({"move": {"maxInstances": 0}}, ["move.maxInstances is 0", "from 1 to 1000"]),
        ({"move": {"timeoutSeconds": 601}}, ["move.timeoutSeconds is 601", "120 to 600"]),
        ({"move": "big"}, ["move is 'big'", "an object with maxInstances"]),
        ({"move": {"memry": "1Gi"}}, ["move.memry ('1Gi') is no key", "the nearest is memory", "--path move.memry"]),
        ({"deliveryAttempts": 4}, ["deliveryAttempts is 4", "5 to 100"]),
        ({"deliveryAttempts": 7.5}, ["deliveryAttempts is 7.5", "a whole number"]),
        ({"maximumBackoffSeconds": 5}, ["maximumBackoffSeconds is 5", "not below minimumBackoffSeconds"]),
        ({"minimumBackoffSeconds": 601}, ["minimumBackoffSeconds is 601", "0 to 600"]),
        ({"messageRetentionDays": 32}, ["messageRetentionDays is 32", "1 to 31"]),
        ({"keepDeletedImagesDays": 3}, ["keepDeletedImagesDays is 3", "7 to 90"]),
        ({"protectImages": "perhaps"}, ["protectImages is 'perhaps'", "true or false"]),
        ({"deleteBucketsWithContents": True}, ["deleteBucketsWithContents is True", "protectImages is true"]),
        ({"thershold": 0.9}, ["thershold (0.9) is no key", "the nearest is threshold", "pulumi config rm thershold"]),
        ({"zzz": 1}, ["zzz (1) is no key", "there are gcp:project"]),
    ],
)
def test_each_mistake_names_the_key_the_value_what_is_allowed_and_what_to_do(
    values: dict[str, Any], expected: list[str]
):
    (mistake,) = mistakes(**values)
    for part in expected:
        assert part in mistake
    assert "pulumi config" in mistake


CLIENT = {"iapClientId": "1-a.apps.googleusercontent.com", "iapClientSecret": "GOCSPX-do-not-tell"}
OWN_IAP: dict[str, Any] = {"reviewers": ["a@b.de"], "createAppEngine": True, "signIn": "iap", **CLIENT}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"signIn": "google"}, ["signIn is 'google'", "iap or appengine"]),
        ({"signIn": "development"}, ["signIn is 'development'", "the stack is 'dev'", "in the stack 'local' alone"]),
        ({"createAppEngine": "perhaps"}, ["createAppEngine is 'perhaps'", "true or false"]),
        ({"appEngineLocation": "europe-west1"}, ["appEngineLocation is 'europe-west1'", "us-central and europe-west"]),
        ({"appEngineLocation": "Berlin"}, ["appEngineLocation is 'Berlin'"]),
        ({"review": {"maxInstances": 0}}, ["review.maxInstances is 0", "1 to 1000", "--path 'review.maxInstances'"]),
        ({"review": {"instanceClass": "B1"}}, ["review.instanceClass is 'B1'", "F1, F2, F4 or F4_1G"]),
        ({"review": {"memory": "1Gi"}}, ["review.memory ('1Gi') is no key", "there are maxInstances, instanceClass"]),
        (OWN_IAP | {"iapClientSecret": None}, ["iapClientSecret is missing", "set --secret iapClientSecret"]),
        (OWN_IAP | {"iapClientId": None}, ["iapClientId is missing", "cannot be switched on without it"]),
        ({"iapClientId": "1"}, ["iapClientId is '1'", "used for nothing", "beside createAppEngine: true"]),
        ({"iapClientSecret": "do-not-tell"}, ["iapClientSecret is not shown here", "set --secret iapClientSecret"]),
        ({"iapClientSecrt": "1", "iapSecret": "do-not-tell"}, ["iapSecret (not shown here) is no key"]),
        (
            {"gcp:project": "p" * 30, "name": "n" * MAX_PREFIX_LENGTH, "reviewers": ["a@b.de"]},
            ["name is 'nnn", "has 64 characters before its first dot", "may have 63"],
        ),
    ],
)
def test_mistakes_about_the_review_app(values: dict[str, Any], expected: list[str]):
    *_, mistake = mistakes(**values)
    for part in expected:
        assert part in mistake
    assert "do-not-tell" not in mistake


def test_development_is_for_the_local_stack_alone():
    assert parse("local", signIn="development").sign_in == "development"


def test_app_engine_has_names_of_its_own_for_two_regions():
    regions = {"us-central1": "us-central", "europe-west1": "europe-west", "europe-west3": "europe-west3"}
    for region, location in regions.items():
        assert parse(**{"gcp:region": region}).app_engine_location == location


def test_the_secret_of_the_oauth_client_is_shown_nowhere():
    settings = parse(**OWN_IAP)
    assert settings.iap_client_secret
    assert settings.iap_client_secret.get_secret_value() == CLIENT["iapClientSecret"]
    assert "do-not-tell" not in f"{settings!r} {settings}"


def test_all_mistakes_are_listed_at_once():
    listed = mistakes(
        modelId="model",
        threshold="1.2",
        thresholds={"ok": 2, "scratch": 0.5},
        predict={"memory": "1", "concurrency": 0},
        inboundBucket="B",
        unknown=1,
    )
    keys = [mistake.split()[0].rstrip(":") for mistake in listed]
    assert keys == [
        "modelId",
        "threshold",
        "thresholds.ok",
        "thresholds.scratch",
        "inboundBucket",
        "predict.concurrency",
        "predict.memory",
        "unknown",
    ]


def test_two_mistakes_in_one_list_are_both_told():
    (mistake,) = mistakes(labels=["ok", "Ok", "rejected"])
    assert "'rejected' cannot be a label" in mistake
    assert "'Ok' is there twice" in mistake


def test_a_stack_whose_name_fits_no_account_is_told_to_choose_a_name():
    (mistake,) = mistakes("Prod_EU")
    assert "name is 'inspection-Prod_EU' (made from the stack's name)" in mistake
    assert parse("Prod_EU", name="inspection-eu").inbound_bucket == "test-factory-inspection-eu-inbound"


def test_the_longest_project_and_name_still_make_bucket_names_that_fit():
    settings = parse(name="n" * MAX_PREFIX_LENGTH, **{"gcp:project": "p" * 30})
    assert max(map(len, (settings.inbound_bucket, settings.prediction_bucket, settings.sources_bucket))) == 63


def test_a_project_of_a_domain_needs_bucket_names_of_its_own():
    names = {mistake.split()[0] for mistake in mistakes(**{"gcp:project": "example.com:factory"})}
    assert names == {"inboundBucket", "predictionBucket", "sourcesBucket", "modelsBucket"}


def test_a_long_value_is_cut_short():
    (mistake,) = mistakes(modelId="m" * 10_000)
    assert "(10002 characters)" in mistake
    assert len(mistake) < 1000


def test_a_key_that_nobody_can_write_is_a_mistake_like_any_other():
    [mistake] = mistakes("dev", **{"threshold\ud800": 1})
    assert "'threshold\\ud800' is no key" in mistake


def test_of_very_many_mistakes_the_first_are_listed_and_the_rest_counted():
    with pytest.raises(SettingsError, match="has 500 mistakes") as refused:
        parse("dev", **{f"key{number}": 1 for number in range(500)})
    assert "and 460 more" in str(refused.value)
    assert len(str(refused.value)) < 50_000


def test_a_value_is_not_told_at_length():
    [mistake] = mistakes(reviewers=["a" * 70_000])
    assert "is not an e-mail address" in mistake
    assert len(mistake) < 2_000
