"""A bucket's IAM policy, as `getIamPolicy` answers it."""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Protocol

from local.google.storage.resources import Resource, etag

_WITH_CONDITIONS = 3


class Grant(Protocol):
    """One role of one member on the bucket."""

    @property
    def role(self) -> str:
        """As in `roles/storage.objectViewer`."""
        ...

    @property
    def member(self) -> str:
        """As in `serviceAccount:EMAIL`."""
        ...

    @property
    def condition(self) -> str | None:
        """An expression, if the grant is conditional."""
        ...


Policies = Callable[[str], Iterable[Grant]]
"""The grants on a bucket by its name. Google adds those of the project's owners, editors and viewers; here are none."""


def policy_resource(bucket: str, grants: Iterable[Grant], *, version: int) -> Resource:
    """https://cloud.google.com/storage/docs/json_api/v1/buckets/getIamPolicy#response.

    Conditions are told to whoever asks for version 3; others get a role's name that no policy can be set to
    (https://cloud.google.com/iam/docs/troubleshooting-withcond).
    """
    members: dict[tuple[str, str | None], list[str]] = {}
    for grant in grants:
        members.setdefault((grant.role, grant.condition), []).append(grant.member)
    told = version >= _WITH_CONDITIONS
    bindings: list[Resource] = []
    for (role, condition), those in sorted(members.items(), key=lambda item: (item[0][0], item[0][1] or "")):
        binding: Resource = {"role": role, "members": sorted(set(those))}
        if condition and told:
            binding["condition"] = {"title": "condition", "expression": condition}
        elif condition:
            binding["role"] = f"{role}_withcond_{hashlib.sha256(condition.encode()).hexdigest()[:20]}"
        bindings.append(binding)
    return {
        "kind": "storage#policy",
        "resourceId": f"projects/_/buckets/{bucket}",
        "version": _WITH_CONDITIONS if told and any(condition for _, condition in members) else 1,
        "etag": etag(int.from_bytes(hashlib.sha256(json.dumps(bindings).encode()).digest()[:6])),
        "bindings": bindings,
    }
