"""The roles that the local cloud knows, and what it says of others."""

import pytest

from local.deploy.program import Stack, run_program
from local.google.permissions import (
    ROLES,
    Binding,
    Permissions,
    UnknownGrantError,
)
from tests.infra.google_stand_in import REVIEWED, Google, declare
from tests.local.google.bindings import PROJECT, binding

# What is not known here.


@pytest.mark.parametrize(
    ("unknown", "expected"),
    [
        (binding("storage.admin", "bucket", "pictures"), ["roles/storage.admin", "add them to ROLES"]),
        (binding("storage.objectUser", "folder", "pictures"), ["a folder", "not known"]),
        (binding("storage.objectUser", "bucket", "b", condition="true"), ["the condition 'true'", "startsWith"]),
    ],
)
def test_a_grant_of_which_nothing_is_known_is_an_error_that_says_what_to_do(unknown: Binding, expected: list[str]):
    with pytest.raises(UnknownGrantError) as error:
        Permissions(PROJECT).grant(unknown)
    assert all(part in str(error.value) for part in expected)


def test_the_roles_that_are_known_are_those_that_the_program_grants():
    programs = [declare(**REVIEWED), declare(modelId="ICN7")]
    granted = {resource.inputs["role"] for program in programs for resource in program if "role" in resource.inputs}
    assert granted == ROLES.keys()
    local = run_program(Stack.read("local"), Google()).resources
    assert {resource.inputs["role"] for resource in local if "role" in resource.inputs} <= ROLES.keys()


def test_each_role_that_reads_objects_lists_them_too_so_that_a_missing_one_is_always_404():
    for role, permissions in ROLES.items():
        assert ("storage.objects.get" in permissions) <= ("storage.objects.list" in permissions), role
