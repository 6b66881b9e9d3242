"""No binding of the program is missing, and none is there that nothing needs."""

import io
from collections.abc import Generator
from dataclasses import replace

import pulumi
import pytest
from rich.console import Console

from local.cloud import LocalCloud
from local.deploy.program import Stack, run_program
from local.google.gate import ApiError
from proof.permissions import CONFIG, EXPERIMENTS, Deliveries, Proof, prove, table
from tests.infra.google_stand_in import Google, Inventory

pytestmark = pytest.mark.xdist_group("permissions")

DECLARED = sorted(
    grant.name for grant in Inventory(run_program(Stack.read("local"), Google())) if "member" in grant.inputs
)


@pytest.fixture(scope="module")
def deliveries() -> Deliveries:
    return Deliveries()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, deliveries: Deliveries) -> Generator[LocalCloud]:
    with LocalCloud(tmp_path_factory.mktemp("permissions"), gate=deliveries, config=CONFIG) as running:
        running.start(print)
        yield running


@pytest.fixture(scope="module")
def proof(cloud: LocalCloud, deliveries: Deliveries) -> Proof:
    return prove(cloud, deliveries)


def test_with_all_bindings_everything_passes(proof: Proof):
    assert proof.refused_with_all == []
    assert proof.landed_again


@pytest.mark.parametrize("name", DECLARED)
def test_without_this_binding_something_fails(proof: Proof, name: str):
    outcome = proof.outcomes[name]
    assert outcome.failed, f"nothing failed without {outcome.binding}"


def test_cloud_storage_refuses_to_announce_to_a_topic_that_its_agent_may_not_publish_to(cloud: LocalCloud):
    (publisher,) = [binding for binding in cloud.permissions.bindings if binding.name == "announcement-publisher"]
    announce = pulumi.runtime.MockResourceArgs(
        typ="gcp:storage/notification:Notification",
        name="again",
        inputs={
            "bucket": cloud.inbound_bucket,
            "topic": f"projects/{cloud.project}/topics/{publisher.resource}",
            "eventTypes": ["OBJECT_DELETE"],
            "payloadFormat": "JSON_API_V1",
        },
        custom=True,
    )
    provider = cloud._provider  # pyright: ignore[reportPrivateUsage]
    with cloud.without(publisher), pytest.raises(ApiError, match="does not have permission to publish messages"):
        provider.new_resource(announce)
    provider.new_resource(announce)


def test_a_grant_on_a_bucket_that_does_not_exist_is_refused(cloud: LocalCloud):
    grant = pulumi.runtime.MockResourceArgs(
        typ="gcp:storage/bucketIAMMember:BucketIAMMember",
        name="mistaken",
        inputs={"bucket": "staging.elsewhere", "role": "roles/storage.objectViewer", "member": "user:a@example.com"},
        custom=True,
    )
    provider = cloud._provider  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(ApiError, match=r"the bucket staging\.elsewhere does not exist"):
        provider.new_resource(grant)


def test_a_binding_that_the_program_lacks_turns_the_proof_red(cloud: LocalCloud, deliveries: Deliveries):
    (reader,) = [binding for binding in cloud.permissions.bindings if binding.name == "predict-image-reader"]
    with cloud.without(reader):
        red = prove(cloud, deliveries)
    assert not red.holds
    assert {refusal.need.permission for refusal in red.refused_with_all} == {"storage.objects.get"}


def test_a_binding_that_no_picture_asks_for_and_the_program_lacks_turns_the_proof_red(proof: Proof):
    assert proof.holds
    lacking = {name: outcome for name, outcome in proof.outcomes.items() if name != "images-forwarder"}
    assert not replace(proof, outcomes=lacking).holds


def test_a_binding_that_nothing_needs_turns_the_proof_red(
    cloud: LocalCloud, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
):
    (reader,) = [binding for binding in cloud.permissions.bindings if binding.name == "predict-image-reader"]
    again = replace(reader, name="twice")
    monkeypatch.setattr("proof.permissions.EXPERIMENTS", {"twice": EXPERIMENTS[reader.name]})
    monkeypatch.setattr("proof.permissions.bindings_of", lambda _cloud: [again])  # pyright: ignore[reportUnknownLambdaType]
    cloud.permissions.grant(again)
    red = prove(cloud, deliveries)
    cloud.permissions.revoke(again)
    assert not red.holds
    assert "nothing failed" in shown(red)


def test_the_report_names_every_binding(proof: Proof):
    assert all(name in shown(proof) for name in DECLARED)


def shown(proof: Proof) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(table(proof))
    return console.export_text()
