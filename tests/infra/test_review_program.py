"""The review app as it is declared: its service, how reviewers sign in, whose the application is, what is kept secret."""

from typing import Any

import pytest
from pulumi.runtime.rpc import is_rpc_secret, unwrap_rpc_secret

from local.deploy.program import Stack, run_program
from tests.infra.google_stand_in import (
    APP_ENGINE_BUILDER,
    BINDINGS,
    NUMBER,
    PROJECT,
    REVIEWED,
    REVIEWERS,
    Google,
    Inventory,
    declare,
    is_subset,
    stack_with,
)

NAME = "inspection-test"
PREDICTED, SOURCES = (f"{PROJECT}-{NAME}-{part}" for part in ("predicted", "sources"))
SIGNER = f"{NAME}-review@{PROJECT}.iam.gserviceaccount.com"
SHARED = {"app-engine-staged-source-reader", "app-engine-image-writer", "app-engine-log-writer"}
"""The grants of the project's one builder."""
BY_LOGIN: dict[str, Any] = {"reviewers": REVIEWERS, "createAppEngine": True, "signIn": "appengine"}
EXISTING: dict[str, Any] = {"reviewers": REVIEWERS}
VERSION = "appengine/standardAppVersion:StandardAppVersion"


@pytest.fixture(scope="module")
def own() -> Inventory:
    return declare(**REVIEWED)


@pytest.fixture(scope="module")
def by_login() -> Inventory:
    return declare(**BY_LOGIN)


def review(inventory: Inventory) -> dict[str, Any]:
    return dict(inventory.one(VERSION, "review-version").inputs)


def kinds(inventory: Inventory) -> set[str]:
    return {resource.type for resource in inventory}


def test_the_service_is_the_apps_zip_with_its_command_identity_and_limits(own: Inventory):
    zipped = own.one("storage/bucketObject:BucketObject", "review-sources").inputs
    assert zipped["bucket"] == SOURCES
    assert zipped["name"].startswith("review-")
    expected = {
        "service": f"{NAME}-review",
        "versionId": "current",
        "runtime": "python312",
        "serviceAccount": SIGNER,
        "entrypoint": {"shell": "uvicorn webapp.main:app --host 0.0.0.0 --port $PORT --no-access-log"},
        "deployment": {"zip": {"sourceUrl": f"https://storage.googleapis.com/{SOURCES}/{zipped['name']}"}},
        "instanceClass": "F2",
        "automaticScaling": {
            "maxConcurrentRequests": 40,
            "standardSchedulerSettings": {"minInstances": 0, "maxInstances": 2},
        },
        "deleteServiceOnDestroy": True,
    }
    assert is_subset(expected, review(own)), review(own)
    assert "noopOnDestroy" not in review(own)


def test_what_the_app_is_told(own: Inventory):
    assert review(own)["envVariables"] == {
        "PREDICTION_BUCKET": PREDICTED,
        "LABELS": '["ok", "defect"]',
        "REVIEWERS": '["anna@example.com", "bert@example.com"]',
        "SIGN_IN": "iap",
        "IAP_AUDIENCE": f"/projects/{NUMBER}/apps/{PROJECT}",
        "SIGNER_EMAIL": SIGNER,
    }


def test_limits_come_from_the_config():
    small = review(declare(**REVIEWED, review={"maxInstances": 1, "instanceClass": "F1"}))
    assert small["instanceClass"] == "F1"
    assert small["automaticScaling"]["standardSchedulerSettings"]["maxInstances"] == 1


def test_the_app_takes_what_the_program_tells_it(own: Inventory, by_login: Inventory):
    """The program and the app agree about the names and the form of the variables."""
    from inspection.environment import ReviewEnvironment

    told = ReviewEnvironment.from_variables(review(own)["envVariables"])
    assert told.reviewers == {"anna@example.com", "bert@example.com"}
    assert told.labels == ("ok", "defect")
    assert told.signer_email == SIGNER
    ReviewEnvironment.from_variables({**review(by_login)["envVariables"], "GAE_ENV": "standard"})
    local = Inventory(run_program(Stack.read("local"), Google()))
    version = local.one(VERSION, "review-version").inputs
    assert ReviewEnvironment.from_variables(version["envVariables"]).development_reviewer == "reviewer@example.com"


def test_an_app_that_asks_nobody_to_sign_in_listens_on_its_own_machine_alone():
    local = Inventory(run_program(Stack.read("local"), Google()))
    commands = [version.inputs["entrypoint"]["shell"] for version in local.of(VERSION)]
    assert len(commands) == 2
    for command in commands:
        assert "127.0.0.1" in command
        assert "0.0.0.0" not in command


def test_nothing_is_served_without_tls(own: Inventory, by_login: Inventory):
    for inventory in (own, by_login):
        for version in inventory.of(VERSION):
            assert {handler["securityLevel"] for handler in version.inputs["handlers"]} == {"SECURE_ALWAYS"}
            assert version.inputs["handlers"][-1]["urlRegex"] == "/.*"


def test_identity_aware_proxy_admits_the_reviewers_to_this_service_alone(own: Inventory):
    members = own.of("iap/appEngineServiceIamMember:AppEngineServiceIamMember")
    assert {member.inputs["member"] for member in members} == {"user:anna@example.com", "user:bert@example.com"}
    for member in members:
        assert is_subset({"appId": PROJECT, "project": PROJECT, "service": f"{NAME}-review"}, member.inputs)


def test_app_engines_login_is_required_everywhere_and_needs_no_proxy(by_login: Inventory):
    version = review(by_login)
    assert version["appEngineApis"] is True
    assert [(handler["urlRegex"], handler["login"], handler["authFailAction"]) for handler in version["handlers"]] == [
        ("/api/.*", "LOGIN_REQUIRED", "AUTH_FAIL_ACTION_UNAUTHORIZED"),
        ("/.*", "LOGIN_REQUIRED", "AUTH_FAIL_ACTION_REDIRECT"),
    ]
    assert version["envVariables"]["SIGN_IN"] == "appengine"
    assert "IAP_AUDIENCE" not in version["envVariables"]
    assert not [kind for kind in kinds(by_login) if "iap/" in kind]
    assert "iap.googleapis.com" not in {api.inputs["service"] for api in by_login.of("projects/service:Service")}


def test_the_clients_secret_reaches_the_proxy_as_a_secret_and_nothing_else(own: Inventory):
    application = own.one("appengine/application:Application", "app-engine-application")
    iap = application.inputs["iap"]
    assert is_rpc_secret(iap)
    assert unwrap_rpc_secret(iap) == {
        "enabled": True,
        "oauth2ClientId": REVIEWED["iapClientId"],
        "oauth2ClientSecret": REVIEWED["iapClientSecret"],
    }
    secret = REVIEWED["iapClientSecret"]
    assert secret not in str(own.outputs)
    for resource in own:
        assert resource is application or secret not in str(dict(resource.inputs)), resource.name


def test_an_own_application_and_its_default_service_outlive_the_stack(own: Inventory):
    application = own.one("appengine/application:Application", "app-engine-application")
    assert application.retain_on_delete
    assert application.inputs["locationId"] == "europe-west3"
    default = own.one(VERSION, "app-engine-default")
    assert is_subset({"service": "default", "noopOnDestroy": True, "instanceClass": "F1"}, default.inputs)
    assert "deleteServiceOnDestroy" not in default.inputs
    assert application.urn in default.depends_on
    retained = {resource.name for resource in own if resource.retain_on_delete}
    assert retained == {"app-engine-application", *SHARED}


def test_the_application_is_where_the_config_says():
    region: dict[str, Any] = {"gcp:region": "us-central1"}
    there = declare(**REVIEWED, **region)
    assert there.of("appengine/application:Application")[0].inputs["locationId"] == "us-central"
    elsewhere = declare(**REVIEWED, appEngineLocation="europe-west6")
    assert elsewhere.of("appengine/application:Application")[0].inputs["locationId"] == "europe-west6"


def test_an_application_that_is_there_is_used_and_left_as_it_is():
    google = Google()
    existing = Inventory(run_program(stack_with(**EXISTING), google))
    assert "app-engine-existing" in google.seen, "it is asked where it is"
    assert "gcp:appengine/application:Application" not in kinds(existing)
    assert [version.inputs["service"] for version in existing.of(VERSION)] == [f"{NAME}-review"]
    assert existing.outputs["reviewUrl"] == declare(**REVIEWED).outputs["reviewUrl"]
    builder = {grant[1:3] for grant in existing.bindings() if grant[3] == APP_ENGINE_BUILDER}
    assert builder == {
        (SOURCES, "roles/storage.objectViewer"),
        (f"staging.{PROJECT}.appspot.com", "roles/storage.objectViewer"),
        (PROJECT, "roles/artifactregistry.writer"),
        (PROJECT, "roles/logging.logWriter"),
    }


def test_the_service_waits_for_whatever_it_is_built_and_runs_with(own: Inventory):
    waits_for = set(own.one(VERSION, "review-version").depends_on)
    first = {
        resource.urn
        for resource in own
        if resource.name.startswith(("app-engine-", "review-"))
        and (resource.type in BINDINGS or resource.name in {"app-engine-application", "app-engine-default"})
        and "AppEngineServiceIamMember" not in resource.type
    }
    assert len(first) == 8
    assert first <= waits_for


def test_without_reviewers_there_is_no_review_app_and_nothing_of_app_engine():
    nobody = declare(createAppEngine=True, signIn="appengine")
    assert not [resource.name for resource in nobody if "ngine/" in resource.type or resource.name.startswith("review")]
    assert "appengine.googleapis.com" not in {api.inputs["service"] for api in nobody.of("projects/service:Service")}
    assert "reviewUrl" not in nobody.outputs


def test_two_stacks_of_one_project_have_review_apps_side_by_side():
    own, existing = declare("dev", **REVIEWED), declare("production", **EXISTING)
    services = [{version.inputs["service"] for version in stack.of(VERSION)} for stack in (own, existing)]
    assert services == [{"default", "inspection-dev-review"}, {"inspection-production-review"}]
    shared = own.bindings() & existing.bindings()
    assert {grant[3] for grant in shared} == {APP_ENGINE_BUILDER}
    assert len(shared) == len(SHARED)


@pytest.mark.parametrize("config", [REVIEWED, EXISTING], ids=["creates the application", "uses it"])
def test_what_another_stack_needs_as_well_survives_the_destruction_of_this_one(config: dict[str, Any]):
    stack = declare(**config)
    builder = [
        resource
        for resource in stack
        if resource.inputs.get("member") == APP_ENGINE_BUILDER and resource.inputs.get("bucket") != SOURCES
    ]
    assert {grant.name for grant in builder} == SHARED
    assert all(grant.retain_on_delete for grant in builder)
