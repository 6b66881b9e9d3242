"""Bindings as the Pulumi program declares them."""

from local.google.permissions import (
    Binding,
)

PROJECT = "factory"
PART = "part@factory.iam.gserviceaccount.com"


def binding(role: str, kind: str, resource: str, *, to: str = PART, condition: str | None = None) -> Binding:
    return Binding(
        name="grant",
        kind=kind,
        resource=resource,
        role=f"roles/{role}",
        member=f"serviceAccount:{to}",
        condition=condition,
    )
