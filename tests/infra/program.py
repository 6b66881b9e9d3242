"""Everything that the Pulumi program declares, as policies read it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.deploy.program import Declared, Stack, run_program
from tests.infra.google_stand_in import NUMBER, PROJECT, Google, declare
from tests.infra.known import APP_ENGINE, ENCRYPTED, SUBSCRIPTION


@dataclass(frozen=True, kw_only=True)
class Program:
    """What is declared, and where."""

    resources: Sequence[Declared]
    project: str
    number: str
    """The project's, which is in the names of Google's agents."""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """As in the stack's file."""

    @classmethod
    def read(cls, stack: str) -> "Program":
        """What the program declares for an example stack."""
        found = Stack.read(stack)
        project = found.config["gcp:project"]
        run = run_program(found, Google(project))
        return cls(resources=run.resources, project=project, number=NUMBER, config=found.config)

    @classmethod
    def declare(cls, config: Mapping[str, Any]) -> "Program":
        """What it declares with this config besides what is required."""
        return cls(resources=declare(**config).resources, project=PROJECT, number=NUMBER)

    def of(self, *types: str) -> list[Declared]:
        """All resources of these types."""
        return [resource for resource in self.resources if resource.type in types]

    @property
    def accounts(self) -> Mapping[str, str]:
        """The whole addresses of the program's own service accounts, by the Pulumi name."""
        return {
            account.name: f"{account.inputs['accountId']}@{account.inputs.get('project', self.project)}"
            ".iam.gserviceaccount.com"
            for account in self.of("gcp:serviceaccount/account:Account")
        }

    @property
    def agents(self) -> Mapping[str, str]:
        """Those of Google's own that act for the project."""
        return {
            "storage": f"service-{self.number}@gs-project-accounts.iam.gserviceaccount.com",
            "pubsub": f"service-{self.number}@gcp-sa-pubsub.iam.gserviceaccount.com",
            APP_ENGINE: f"{self.project}@appspot.gserviceaccount.com",
        }


Rule = Callable[[Program], Iterator[str]]


def dead_letter_topics(program: Program) -> set[str]:
    policies = [subscription.inputs.get("deadLetterPolicy") for subscription in program.of(SUBSCRIPTION)]
    return {policy["deadLetterTopic"] for policy in policies if policy}


def service_config(resource: Declared) -> Mapping[str, Any]:
    return resource.inputs.get("serviceConfig") or {}


def last(path: str) -> str:
    """A topic's name, which some inputs give with its path."""
    return path.rpartition("/")[2]


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  # whatever an input is
    """Every single value among the inputs with the name it has; what is encrypted is left out."""
    if isinstance(value, Mapping):
        mapping: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        if ENCRYPTED not in mapping:
            for key, part in mapping.items():
                yield from leaves(part, key)
    elif isinstance(value, list | tuple):
        parts: Iterable[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for part in parts:
            yield from leaves(part, name)
    else:
        yield name, value
