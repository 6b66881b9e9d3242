"""What the environment may say; wherever it is wrong the app serves nobody and its log says what to change."""

import json
import logging

import pytest
from starlette.testclient import TestClient

from inspection.environment import MisconfiguredError, ReviewEnvironment, SignInMode
from webapp import main
from webapp.sign_in import IAP_HEADER, AppEngineLogin, Development, IdentityAwareProxy, sign_in_for

GOOD = {
    "PREDICTION_BUCKET": "line-predictions",
    "LABELS": '["ok", "defect"]',
    "REVIEWERS": '["Anna@example.com", "bert@example.com"]',
    "SIGN_IN": "iap",
    "IAP_AUDIENCE": "/projects/123/apps/line-4711",
    "SIGNER_EMAIL": "review@line-4711.iam.gserviceaccount.com",
}
DEVELOPMENT = GOOD | {"SIGN_IN": "development", "DEVELOPMENT_REVIEWER": "anna@example.com"}


def test_a_good_environment() -> None:
    settings = ReviewEnvironment.from_variables(GOOD)
    assert settings.labels == ("ok", "defect")
    assert settings.reviewers == {"anna@example.com", "bert@example.com"}
    assert settings.sign_in is SignInMode.IAP
    assert isinstance(sign_in_for(settings), IdentityAwareProxy)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PREDICTION_BUCKET", None),
        ("PREDICTION_BUCKET", "gs://line"),
        ("LABELS", None),
        ("LABELS", "ok,defect"),
        ("LABELS", "[]"),
        ("LABELS", '["ok", "ok"]'),
        ("LABELS", '["ok", 1]'),
        ("LABELS", '{"ok": 1}'),
        ("LABELS", '["unclear"]'),
        ("LABELS", '["../ok"]'),
        ("LABELS", json.dumps([f"label {number}" for number in range(10)])),
        ("REVIEWERS", None),
        ("REVIEWERS", "[]"),
        ("REVIEWERS", '["anna"]'),
        ("REVIEWERS", json.dumps([f"{'a' * 243}@example.com"])),
        ("REVIEWERS", '["*"]'),
        ("REVIEWERS", '"anna@example.com"'),
        ("SIGN_IN", None),
        ("SIGN_IN", "none"),
        ("IAP_AUDIENCE", None),
        ("IAP_AUDIENCE", "line-4711"),
        ("SIGNER_EMAIL", "review"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(variable: str, value: str | None) -> None:
    environment = {name: text for name, text in (GOOD | {variable: value}).items() if text is not None}
    with pytest.raises(MisconfiguredError, match=f"^{variable} is '.*'; allowed is ") as error:
        ReviewEnvironment.from_variables(environment)
    assert repr(value or "") in str(error.value)


def test_every_mistake_is_listed_at_once() -> None:
    with pytest.raises(MisconfiguredError) as error:
        ReviewEnvironment.from_variables({})
    for variable in ("PREDICTION_BUCKET", "LABELS", "REVIEWERS", "SIGN_IN"):
        assert f"{variable} is ''" in str(error.value)


def test_nine_labels_are_possible() -> None:
    labels = [f"label {number}" for number in range(9)]
    assert ReviewEnvironment.from_variables(GOOD | {"LABELS": json.dumps(labels)}).labels == tuple(labels)


def test_the_development_identity_works_on_a_laptop() -> None:
    assert isinstance(sign_in_for(ReviewEnvironment.from_variables(DEVELOPMENT)), Development)


@pytest.mark.parametrize("variable", ["GAE_ENV", "GAE_SERVICE", "GAE_APPLICATION", "GAE_INSTANCE", "K_SERVICE"])
@pytest.mark.parametrize("value", ["standard", "", "0"])
def test_the_development_identity_cannot_be_switched_on_where_the_app_is_deployed(variable: str, value: str) -> None:
    with pytest.raises(MisconfiguredError, match=f"deployed .{variable} set"):
        ReviewEnvironment.from_variables(DEVELOPMENT | {variable: value})


def test_a_development_reviewer_changes_nothing_with_another_sign_in() -> None:
    settings = ReviewEnvironment.from_variables(GOOD | {"DEVELOPMENT_REVIEWER": "anna@example.com"})
    assert isinstance(sign_in_for(settings), IdentityAwareProxy)


def test_app_engine_s_headers_count_in_app_engine_only() -> None:
    app_engine = GOOD | {"SIGN_IN": "appengine"}
    assert isinstance(
        sign_in_for(ReviewEnvironment.from_variables(app_engine | {"GAE_ENV": "standard"})), AppEngineLogin
    )
    for elsewhere in ({}, {"GAE_ENV": "flex"}, {"K_SERVICE": "review"}):
        with pytest.raises(MisconfiguredError, match="anybody could send its headers"):
            ReviewEnvironment.from_variables(app_engine | elsewhere)


@pytest.mark.parametrize(
    "environment",
    [{}, DEVELOPMENT | {"GAE_ENV": "standard"}, GOOD | {"REVIEWERS": "[]"}],
    ids=["empty", "development when deployed", "no reviewers"],
)
def test_a_misconfigured_app_serves_nobody_and_says_why_in_its_log(
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    headers = {IAP_HEADER: "x", "X-Appengine-User-Email": "anna@example.com"}
    with TestClient(main.app_for(environment), headers=headers) as client:
        for path in ("/", "/api/session", "/api/queue", "/health", "/assets/x.js"):
            for answer in (client.get(path), client.post(path, json={})):
                assert (answer.status_code, answer.json()["code"]) == (503, "misconfigured")
                assert "anna" not in answer.text
    [record] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "serves nobody" in record.getMessage()
    assert "; allowed is " in record.getMessage() or "deployed" in record.getMessage()


def test_the_deployed_app_is_made_from_the_environment(monkeypatch: pytest.MonkeyPatch, storage_address: str) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_address)
    with TestClient(main.app_for(DEVELOPMENT), base_url="http://127.0.0.1:8080") as client:
        assert client.get("/health").status_code == 204
        answer = client.get("/api/session")
        rebound = [client.get(path, headers={"Host": "evil.example:8080"}) for path in ("/", "/api/session")]
    assert (answer.status_code, answer.json()["reviewer"]) == (200, "anna@example.com")
    assert [(refused.status_code, refused.json()["code"]) for refused in rebound] == [(403, "other_site")] * 2
