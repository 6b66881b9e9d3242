"""The policies over each example stack, and whether each notices the violations that are planted for it.

python -m proof.policies
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from proof.report import finish, report_console
from tests.infra.planted import PLANTED, PRODUCTION
from tests.infra.policies import POLICIES, violations
from tests.infra.program import Program

STACKS = ("dev", "local", "production")
STRICT = "production"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was found."""

    broken: Mapping[str, Mapping[str, list[str]]]
    """By stack and policy, what breaks it."""
    noticed: Mapping[str, int]
    """By policy, how many of its planted violations it notices."""

    @property
    def holds(self) -> bool:
        """Whether every policy is kept, and none is blind."""
        seeing = all(self.noticed[policy] == len(plants) > 0 for policy, plants in PLANTED.items())
        return not any(self.broken.values()) and seeing and PLANTED.keys() == POLICIES.keys()


def prove() -> Proof:
    """Run the program for each stack, and the policies over what it declares."""
    planted_into = Program.declare(PRODUCTION)
    return Proof(
        broken={stack: violations(Program.read(stack), production=stack == STRICT) for stack in STACKS},
        noticed={
            policy: sum(policy in violations(plant(planted_into), production=True) for plant in PLANTED.get(policy, []))
            for policy in POLICIES
        },
    )


def table(proof: Proof) -> Table:
    """A row for each policy."""
    table = Table("policy", *STACKS, "planted and noticed", title=f"{len(POLICIES)} policies")
    for name, policy in POLICIES.items():
        planted = len(PLANTED.get(name, []))
        blind = proof.noticed[name] < planted or not planted
        table.add_row(
            name,
            *(_kept(proof, stack, name, for_production=policy.production) for stack in STACKS),
            f"{'[red]' if blind else ''}{proof.noticed[name]} of {planted}",
        )
    return table


def _kept(proof: Proof, stack: str, name: str, *, for_production: bool) -> str:
    if for_production and stack != STRICT:
        return "production's alone"
    return "[red]BROKEN[/red]" if proof.broken[stack].get(name) else "kept"


def main() -> None:
    """Print the report; exit code 1 if a stack breaks a policy, or a policy notices nothing."""
    console, proof = report_console(), prove()
    console.print(table(proof))
    for stack, broken in proof.broken.items():
        for name, texts in broken.items():
            console.print(f"{stack}: {name}: {'; '.join(texts)}", style="red", markup=False)
    broken = sum(len(names) for names in proof.broken.values())
    finish(
        console,
        f"{len(POLICIES)} policies over {len(STACKS)} stacks: {broken} broken; "
        f"{sum(proof.noticed.values())} of {sum(map(len, PLANTED.values()))} planted violations noticed",
        holds=proof.holds,
    )


if __name__ == "__main__":
    main()
