"""Policies on who may do what: principals, roles, accounts, keys and secrets."""

import re
from collections.abc import Iterator, Mapping

from local.google.permissions import ROLES
from tests.infra.known import (
    BASIC_ROLES,
    BUCKET,
    ENCRYPTED,
    FUNCTION,
    GRANTS,
    KINDS,
    PROJECT_WIDE,
    PUBLIC,
    SERVICE,
    SUBSCRIPTION,
)
from tests.infra.program import Program, leaves, service_config

_SECRET_NAME = re.compile(
    r"secret|passw|pwd|pass$|passphrase|authoriz|bearer|token$|credential|(private|api|access|signing|session).?key",
    re.IGNORECASE,
)
# Of Google: an OAuth client secret, an API key, an access token; of GitHub: a token; of anybody: a private key.
_SECRET_VALUE = re.compile(
    r"GOCSPX-|AIza[\w-]{30}|ya29\.|gh[pousr]_\w{36}|github_pat_\w{22}|-----BEGIN [A-Z ]*PRIVATE KEY"
)


def no_public_principal(program: Program) -> Iterator[str]:
    """Nobody is admitted without saying who."""
    for resource in program.resources:
        values = list(leaves(resource.inputs))
        if found := PUBLIC & {value for _, value in values if isinstance(value, str)}:
            yield f"{resource.name} names {', '.join(sorted(found))}"
        for name, value in values:
            if re.search("invoker.?iam.?disabled", name, re.IGNORECASE) and str(value).lower() != "false":
                yield f"{resource.name} asks for no invoker"


def internal_ingress(program: Program) -> Iterator[str]:
    """The internet does not get as far as a function's IAM check."""
    for function in program.of(FUNCTION):
        ingress = service_config(function).get("ingressSettings")
        if ingress != "ALLOW_INTERNAL_ONLY":
            yield f"{function.name} has the ingress {ingress}"


def uniform_bucket_access(program: Program) -> Iterator[str]:
    """IAM alone decides; no object has a list of its own."""
    for bucket in program.of(BUCKET):
        if bucket.inputs.get("uniformBucketLevelAccess") is not True:
            yield f"{bucket.name} has no uniform access"


def public_access_prevention(program: Program) -> Iterator[str]:
    """No later grant can make a bucket public."""
    for bucket in program.of(BUCKET):
        if bucket.inputs.get("publicAccessPrevention") != "enforced":
            yield f"{bucket.name} can be made public"


def no_basic_role(program: Program) -> Iterator[str]:
    """Owner, editor and viewer are for people who set up a project."""
    for resource in program.resources:
        if resource.inputs.get("role") in BASIC_ROLES:
            yield f"{resource.name} grants {resource.inputs['role']}"


def no_broad_grant(program: Program) -> Iterator[str]:
    """A grant is on the very resource; those on the project are listed, each with its member and its reason."""
    members = {name: f"serviceAccount:{email}" for name, email in {**program.accounts, **program.agents}.items()}
    for grant in program.of("gcp:projects/iAMMember:IAMMember"):
        given = grant.inputs
        known = PROJECT_WIDE.get(grant.name)
        expected = known and (known.role, members.get(known.to), known.condition)
        condition = (given.get("condition") or {}).get("expression")
        projects = _model_projects(program) if known and known.in_models_project else {program.project}
        if (given["role"], given["member"], condition) != expected or given["project"] not in projects:
            yield (
                f"{grant.name} grants {given['role']} to {given['member']} on the whole project {given['project']}, "
                f"under the condition {condition}"
            )


def known_kinds(program: Program) -> Iterator[str]:
    """Nothing is declared of which no rule knows what it opens."""
    for resource in program.resources:
        if resource.custom and resource.type not in KINDS:
            yield f"{resource.name} is of type {resource.type}"


def known_roles(program: Program) -> Iterator[str]:
    """Each role is a predefined one whose permissions are listed, and which administers nothing."""
    for grant in program.of(*GRANTS):
        role = grant.inputs["role"]
        if role not in ROLES or re.search("admin|owner", role, re.IGNORECASE):
            yield f"{grant.name} grants {role}"


def known_members(program: Program) -> Iterator[str]:
    """Grants are for the stack's own accounts, Google's agents and App Engine's builder; people may only look."""
    known = {f"serviceAccount:{email}" for email in (*program.accounts.values(), *program.agents.values())}
    for grant in program.of(*GRANTS):
        role, member = grant.inputs["role"], grant.inputs["member"]
        looks = member.startswith("user:") and role == "roles/iap.httpsResourceAccessor"
        if member not in known and not looks:
            yield f"{grant.name} grants {role} to {member}, which is not the stack's"


def own_account(program: Program) -> Iterator[str]:
    """Each function and each service runs as an account of its own, made by the stack; so do builds and pushes."""
    own = set(program.accounts.values())
    used: dict[str, str] = {}
    for what, email in _uses(program):
        if email not in own:
            yield f"{what} goes by {email or 'a default account'}, which is not the stack's"
        elif used.setdefault(email, what) != what:
            yield f"{what} and {used[email]} go both by {email}"


def _uses(program: Program) -> Iterator[tuple[str, str | None]]:
    """What needs an account, and the whole address of the one that it has."""
    path = f"projects/{program.project}/serviceAccounts/"
    for function in program.of(FUNCTION):
        yield f"running {function.name}", service_config(function).get("serviceAccountEmail")
        # A path, and not an address.
        yield "building functions", (function.inputs["buildConfig"].get("serviceAccount") or "").removeprefix(path)
    for service in program.of(SERVICE):
        yield f"running {service.name}", service.inputs.get("serviceAccount")
    for subscription in program.of(SUBSCRIPTION):
        if push := subscription.inputs.get("pushConfig"):
            yield "pushing", (push.get("oidcToken") or {}).get("serviceAccountEmail")


def no_key(program: Program) -> Iterator[str]:
    """Nothing has a key that could be lost."""
    for resource in program.resources:
        if re.search(r":(Key|HmacKey|ApiKey|SslCert)$", resource.type):
            yield f"{resource.name} is a {resource.type}"


def no_plain_secret(program: Program) -> Iterator[str]:
    """A secret is encrypted in the config and in the state, and in no environment variable."""
    declared = [(resource.name, resource.inputs) for resource in program.resources]
    for where, values in [("the config", program.config), *declared]:
        for name, text in leaves(values):
            if isinstance(text, str) and ((_SECRET_NAME.search(name) and text) or _SECRET_VALUE.search(text)):
                yield f"{where} has {name} in plain text"
    for resource in program.resources:
        service = service_config(resource)
        if service.get("secretEnvironmentVariables"):
            yield f"{resource.name} has a secret in its environment"
        for where, variables in (
            ("serviceConfig", service),
            ("environmentVariables", service.get("environmentVariables") or {}),
            ("envVariables", resource.inputs.get("envVariables") or {}),
            ("buildConfig", (resource.inputs.get("buildConfig") or {}).get("environmentVariables") or {}),
        ):
            for name, value in (("all of it", variables), *variables.items()):
                if isinstance(value, Mapping) and ENCRYPTED in value:
                    yield f"{resource.name} has a secret in {where}: {name}"


def _model_projects(program: Program) -> set[str]:
    """The project that a function's model is in."""
    variables = [service_config(function).get("environmentVariables") or {} for function in program.of(FUNCTION)]
    return {found["MODEL_ID"].split("/")[1] for found in variables if "MODEL_ID" in found}
