"""The program keeps every policy in every environment, and each policy notices what it is there for."""

from dataclasses import replace
from typing import Any

import pytest

from local.deploy.program import ROOT
from tests.infra.known import GRANTS, KINDS, PROJECT_WIDE
from tests.infra.planted import PLANTED, PRODUCTION, Plant
from tests.infra.policies import POLICIES, violations
from tests.infra.program import Program

MODEL_ELSEWHERE = "projects/models-of-all/locations/us-central1/models/ICN7"


@pytest.fixture(scope="module")
def production() -> Program:
    return Program.declare(PRODUCTION)


@pytest.mark.parametrize("stack", ["dev", "local", "production"])
def test_each_example_stack_keeps_the_policies(stack: str):
    assert violations(Program.read(stack), production=stack == "production") == {}


@pytest.mark.parametrize(
    "config",
    [
        {},
        PRODUCTION,
        {"modelId": "ICN7"},
        {"modelId": MODEL_ELSEWHERE},
        {"signIn": "appengine", "reviewers": ["a@b.de"]},
    ],
)
def test_other_configurations_keep_them(config: dict[str, Any]):
    assert violations(Program.declare(config), production=config is PRODUCTION) == {}


def test_a_model_of_another_project_is_the_only_reason_to_grant_anything_there(production: Program):
    elsewhere = Program.declare({"modelId": MODEL_ELSEWHERE})
    grants = elsewhere.of("gcp:projects/iAMMember:IAMMember")
    assert [grant.name for grant in grants if grant.inputs["project"] != elsewhere.project] == ["predict-model-user"]
    planted = replace(production, resources=[*production.resources, *grants])
    assert any("models-of-all" in text for text in violations(planted, production=True)["no-broad-grant"])


def test_every_exception_is_made_use_of(production: Program):
    programs = (production, Program.declare({"modelId": "ICN7"}))
    grants = [grant for program in programs for grant in program.of("gcp:projects/iAMMember:IAMMember")]
    assert {grant.name for grant in grants} == PROJECT_WIDE.keys()
    assert {resource.type for resource in production.resources if resource.custom} == KINDS


@pytest.mark.parametrize(
    ("policy", "plant"),
    [
        pytest.param(policy, plant, id=f"{policy}-{number}")
        for policy, plants in PLANTED.items()
        for number, plant in enumerate(plants)
    ],
)
def test_a_planted_violation_is_noticed(production: Program, policy: str, plant: Plant):
    assert policy in violations(plant(production), production=True)


def test_a_secret_that_is_encrypted_in_the_config_is_none_in_plain_text(production: Program):
    config = {"automl-inspection:iapClientSecret": {"secure": "v1:abc"}}
    assert violations(replace(production, config=config), production=True) == {}


def test_each_policy_is_shown_to_notice_something_and_is_explained():
    assert PLANTED.keys() == POLICIES.keys()
    explained = (ROOT / "docs" / "security.md").read_text()
    assert [name for name in POLICIES if f"`{name}`" not in explained] == []


def test_what_production_alone_must_keep_a_stack_to_try_things_in_may_break():
    assert violations(Program.read("dev"), production=True).keys() == {
        name for name, policy in POLICIES.items() if policy.production
    }


def test_no_kind_of_grant_is_overlooked(production: Program):
    granting = {resource.type for resource in production.resources if "member" in resource.inputs}
    assert granting <= set(GRANTS)
