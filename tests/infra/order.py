"""In which order the engine creates and deletes what the program declares."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from local.deploy.program import Declared


def prerequisites(resources: Iterable[Declared]) -> Mapping[str, frozenset[str]]:
    """The URNs of all that exists before each resource is created, by its URN.

    A dependency on a component is one on all that is in it. What a component itself waits for delays none of its
    children, as in the engine.
    """
    by_urn = {resource.urn: resource for resource in resources}
    children: defaultdict[str, list[str]] = defaultdict(list)
    for resource in by_urn.values():
        children[resource.parent].append(resource.urn)

    def direct(urn: str) -> list[str]:
        if not (resource := by_urn.get(urn)):  # the stack itself
            return []
        own_parent = by_urn.get(resource.parent)
        parents = [resource.parent] if own_parent and own_parent.custom else []
        members = [] if resource.custom else children[urn]
        return [*resource.depends_on, *parents, *members]

    def closure(urn: str) -> frozenset[str]:
        found, waiting = set[str](), direct(urn) if by_urn[urn].custom else list(by_urn[urn].depends_on)
        while waiting:
            if (one := waiting.pop()) not in found:
                found.add(one)
                waiting += direct(one)
        return frozenset(found)

    return {urn: closure(urn) for urn in by_urn}


def stages_of_destruction(resources: Iterable[Declared]) -> Sequence[frozenset[str]]:
    """The names of what `pulumi destroy` deletes, stage by stage: each as soon as all that was created after it is gone.

    https://www.pulumi.com/docs/iac/concepts/resources/options/dependson/: deletion goes in reverse order.
    """
    left = {resource.urn: resource.name for resource in resources if resource.custom}
    before = prerequisites(resources)
    stages: list[frozenset[str]] = []
    while left:
        free = left.keys() - {urn for later in left for urn in before[later]}
        stages.append(frozenset(left[urn] for urn in free))
        left = {urn: name for urn, name in left.items() if urn not in free}
    return stages
