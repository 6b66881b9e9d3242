"""The policies over each example stack, for `make proof`.

python -m tests.proof.policies
"""

import sys

from rich.console import Console
from rich.table import Table

from local.program import Stack, run_program
from tests.infra.google_stand_in import Google
from tests.infra.policies import POLICIES, violations

STACKS = ("dev", "local", "production")
PRODUCTION = "production"


def main() -> None:
    """Print the report; exit code 1 if a stack breaks a policy."""
    console = Console()
    found = {
        stack: violations(run_program(Stack.read(stack), Google()).resources, production=stack == PRODUCTION)
        for stack in STACKS
    }
    table = Table("policy", *STACKS, title=f"{len(POLICIES)} policies")
    for name, policy in POLICIES.items():
        table.add_row(name, *(_shown(found[stack].get(name, []), policy.production, stack) for stack in STACKS))
    console.print(table)
    for stack, broken in found.items():
        for name, texts in broken.items():
            console.print(f"{stack}: {name}: {'; '.join(texts)}", style="red", markup=False)
    sys.exit(1 if any(found.values()) else 0)


def _shown(broken: list[str], for_production: bool, stack: str) -> str:
    if for_production and stack != PRODUCTION:
        return "production's alone"
    return "[red]BROKEN[/red]" if broken else "kept"


if __name__ == "__main__":
    main()
