"""What a change of config, of sources or of the stack's name changes, and what it leaves alone."""

import hashlib
from pathlib import Path
from typing import Any

import pulumi
import pytest

from local.deploy.program import ROOT, ProgramError, Stack, run_program
from tests.infra.google_stand_in import REVIEWED, REVIEWERS, Google, Inventory, copy_checkout, declare


def fingerprints(inventory: Inventory) -> dict[str, Any]:
    """What the engine compares: each resource's inputs, a file by its contents."""
    return {resource.urn: _by_contents(dict(resource.inputs)) for resource in inventory}


def _by_contents(value: Any) -> Any:  # noqa: ANN401  # whatever an input is
    if isinstance(value, pulumi.FileAsset):
        return hashlib.sha256(Path(str(value.path)).read_bytes()).hexdigest()
    if isinstance(value, dict):
        return {key: _by_contents(part) for key, part in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return value


def changed(before: Inventory, after: Inventory) -> set[str]:
    """Names of the resources whose inputs differ."""
    old, new = fingerprints(before), fingerprints(after)
    assert old.keys() == new.keys()
    return {urn.rpartition("::")[2] for urn in old if old[urn] != new[urn]}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_checkout(tmp_path / "checkout")


def test_the_same_sources_change_nothing_wherever_they_lie(checkout: Path):
    assert changed(declare(), declare()) == set()
    assert changed(declare(), declare(root=checkout)) == set()


@pytest.mark.parametrize("part", ["predict", "move"])
def test_one_changed_byte_updates_exactly_that_function(checkout: Path, part: str):
    before = declare(root=checkout)
    with (checkout / "functions" / part / "main.py").open("a") as file:
        file.write("\n")
    assert changed(before, declare(root=checkout)) == {f"{part}-sources", f"{part}-function"}


def test_one_changed_byte_of_the_review_app_updates_exactly_its_service(checkout: Path):
    before = declare(root=checkout, **REVIEWED)
    assert changed(declare(**REVIEWED), before) == set()
    with (checkout / "webapp" / "routes.py").open("a") as file:
        file.write("\n")
    assert changed(before, declare(root=checkout, **REVIEWED)) == {"review-sources", "review-version"}


def test_a_reviewer_more_updates_the_review_app_and_admits_one_more():
    one: dict[str, Any] = {**REVIEWED, "reviewers": REVIEWERS[:1]}
    fewer, more = declare(**one), declare(**REVIEWED)
    old, new = fingerprints(fewer), fingerprints(more)
    assert [urn.rpartition("::")[2] for urn in new.keys() - old.keys()] == [f"review-reviewer-{REVIEWERS[1]}"]
    assert {urn.rpartition("::")[2] for urn in old if old[urn] != new[urn]} == {"review-version"}


def test_a_change_of_the_vocabulary_updates_both_functions(checkout: Path):
    before = declare(root=checkout)
    with (checkout / "inspection" / "routing.py").open("a") as file:
        file.write("\n")
    expected = {f"{part}-{thing}" for part in ("predict", "move") for thing in ("sources", "function")}
    assert changed(before, declare(root=checkout)) == expected


def test_a_change_of_how_images_are_decoded_updates_predict_alone(checkout: Path):
    before = declare(root=checkout)
    with (checkout / "imaging" / "bounded.py").open("a") as file:
        file.write("\n")
    assert changed(before, declare(root=checkout)) == {"predict-sources", "predict-function"}


def test_a_threshold_updates_the_function_that_routes_and_nothing_else():
    assert changed(declare(), declare(threshold=0.9, thresholds={"ok": 0.95})) == {"move-function"}


def test_functions_without_a_main_file_are_refused_with_the_place(checkout: Path):
    (checkout / "functions" / "move" / "main.py").unlink()
    with pytest.raises(ProgramError, match=r"functions/move has no main\.py"):
        declare(root=checkout)


def test_two_stacks_share_no_name_and_no_grant_in_one_project():
    dev, production = declare("dev"), declare("production")
    assert set(physical_names(dev)).isdisjoint(physical_names(production))
    assert dev.bindings().isdisjoint(production.bindings())


def test_physical_names_are_found_at_all():
    names = physical_names(declare("dev"))
    assert ("gcp:pubsub/topic:Topic", "inspection-dev-images") in names
    assert len(names) == 4 + 2 + 4 + 4 + 4 + 2 + 1 + 11 + 1  # buckets, zips, topics, subscriptions, ...


def physical_names(inventory: Inventory) -> list[tuple[str, str]]:
    """What a thing is called in the cloud, for every kind whose names could clash."""
    keys = {
        "gcp:serviceaccount/account:Account": "accountId",
        "gcp:artifactregistry/repository:Repository": "repositoryId",
    }
    keys |= {"gcp:monitoring/alertPolicy:AlertPolicy": "displayName"}
    names: list[tuple[str, str]] = []
    for resource in inventory:
        key = keys.get(resource.type, "name")
        if resource.custom and key in resource.inputs and "ServiceIamMember" not in resource.type:
            names.append((resource.type, f"{resource.inputs.get('bucket', '')}{resource.inputs[key]}"))
    return names


def test_images_are_kept_and_protected_unless_the_stack_says_otherwise():
    kept = {bucket.name: bucket for bucket in declare().of("storage/bucket:Bucket")}
    for name in ("buckets-inbound", "buckets-prediction"):
        assert kept[name].protect
        assert kept[name].inputs["forceDestroy"] is False
        assert kept[name].inputs["softDeletePolicy"] == {"retentionDurationSeconds": 7 * 86_400}
    assert not kept["buckets-sources"].protect

    given_up = declare(protectImages=False, deleteBucketsWithContents=True, keepDeletedImagesDays=0)
    for bucket in given_up.of("storage/bucket:Bucket"):
        assert not bucket.protect
        assert bucket.inputs["forceDestroy"] is True
        assert bucket.inputs["softDeletePolicy"] == {"retentionDurationSeconds": 0}


@pytest.mark.parametrize("stack", ["dev", "production", "local"])
def test_the_example_stacks_are_in_order(stack: str):
    example = Inventory(run_program(Stack.read(stack), Google()))
    assert example.outputs["inboundBucket"].startswith("gs://")
    protected = {bucket.name for bucket in example.of("storage/bucket:Bucket") if bucket.protect}
    assert protected == (
        {"buckets-inbound", "buckets-models", "buckets-prediction"} if stack == "production" else set()
    )


def test_the_template_asks_for_keys_that_exist_and_for_all_that_are_required():
    import yaml

    from infra.settings import Settings

    asked: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["template"]["config"]
    keys = {field.alias: field.is_required() for field in Settings.model_fields.values()}
    assert asked.keys() <= keys.keys()
    made_by_the_program = {
        "name",
        "inboundBucket",
        "predictionBucket",
        "sourcesBucket",
        "modelsBucket",
        "bucketLocation",
        "appEngineLocation",
    }
    assert {str(key) for key, required in keys.items() if required} - made_by_the_program <= asked.keys()
    assert all(entry["description"] for entry in asked.values())
