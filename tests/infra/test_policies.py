"""The program keeps every policy in every environment, and each policy notices what it is there for."""

from typing import Any

import pytest

from local.program import ROOT, Stack, run_program
from tests.infra.google_stand_in import Google, Inventory, declare
from tests.infra.planted import PLANTED, PRODUCTION, Plant
from tests.infra.policies import GRANTS, POLICIES, PROJECT_WIDE, violations


@pytest.fixture(scope="module")
def production() -> Inventory:
    return declare(**PRODUCTION)


@pytest.mark.parametrize("stack", ["dev", "local", "production"])
def test_each_example_stack_keeps_the_policies(stack: str):
    declared = Inventory(run_program(Stack.read(stack), Google()))
    assert violations(declared.resources, production=stack == "production") == {}


@pytest.mark.parametrize(
    "values", [{}, PRODUCTION, {"modelId": "ICN7"}, {"signIn": "appengine", "reviewers": ["a@b.de"]}]
)
def test_other_configurations_keep_them(values: dict[str, Any]):
    assert violations(declare(**values).resources, production=values is PRODUCTION) == {}


def test_every_exception_is_made_use_of():
    used: set[tuple[str, str | None]] = set()
    for declared in (declare(**PRODUCTION), declare(modelId="ICN7")):
        for grant in declared.of("projects/iAMMember:IAMMember"):
            condition = grant.inputs.get("condition") or {}
            used.add((f"{grant.name} {grant.inputs['role']}", condition.get("expression")))
    assert used == PROJECT_WIDE.keys()


@pytest.mark.parametrize(
    ("policy", "plant"),
    [
        pytest.param(policy, plant, id=f"{policy}-{number}")
        for policy, plants in PLANTED.items()
        for number, plant in enumerate(plants)
    ],
)
def test_a_planted_violation_is_noticed(production: Inventory, policy: str, plant: Plant):
    assert policy in violations(plant(production.resources), production=True)


def test_each_policy_is_shown_to_notice_something_and_is_explained():
    assert PLANTED.keys() == POLICIES.keys()
    explained = (ROOT / "docs" / "security.md").read_text()
    assert [name for name in POLICIES if f"`{name}`" not in explained] == []


def test_what_production_alone_must_keep_a_stack_to_try_things_in_may_break():
    dev = Inventory(run_program(Stack.read("dev"), Google()))
    assert violations(dev.resources, production=True).keys() == {
        name for name, policy in POLICIES.items() if policy.production
    }


def test_no_kind_of_grant_is_overlooked(production: Inventory):
    granting = {resource.type for resource in production if "member" in resource.inputs}
    assert granting <= set(GRANTS)
