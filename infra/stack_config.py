"""Reading the stack config: every mistake is explained, and all of them at once."""

import difflib
from collections.abc import Iterator, Mapping, Sequence

import pulumi
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from infra.checks import RULE, shorten
from infra.naming import app_engine_location
from infra.settings import PROJECT, REGION, FunctionLimits, PredictLimits, ReviewLimits, Settings
from inspection.names import PROJECT_NAME

_MAX_MISTAKES = 40
_IN_KEY = "[key]"
"""How pydantic marks that not the value of an object's key is at fault but the key."""
_PROVIDER_SECRETS = frozenset({"gcp:credentials", "gcp:accessToken"})
"""https://www.pulumi.com/registry/packages/gcp/installation-configuration/"""
_OF_OAUTH_CLIENT = "GOCSPX-"
"""How Google begins an OAuth client's secret, which may be taken for its ID."""

_OBJECTS: Mapping[str, type[BaseModel]] = {"predict": PredictLimits, "move": FunctionLimits, "review": ReviewLimits}


class SettingsError(pulumi.RunError):
    """The stack's config has mistakes; the text lists all of them, and the engine shows it without a traceback."""


def load_settings() -> Settings:
    """Read the stack's config as the engine hands it over.

    Raises:
        SettingsError: the text lists every mistake.
    """
    config = {**pulumi.runtime.config.get_config_env(), **pulumi.runtime.config.CONFIG.get()}
    stack = pulumi.get_stack()
    if plain := list(_plain_secrets(config)):
        raise _refusal(stack, [_explain_plain(key, stack) for key in plain])
    own: dict[str, object] = {}
    # `pulumi new` lets the user name the project and leaves the keys of the example stacks under the name they had; what
    # is set under the project's own name wins.
    for namespace in (PROJECT_NAME, pulumi.get_project()):
        prefix = f"{namespace}:"
        own |= {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
    google = pulumi.Config("gcp")
    for key in ("project", "region"):
        if (value := google.get(key)) is not None:
            own[f"gcp:{key}"] = value
    return parse_settings(own, stack=stack)


def _plain_secrets(config: Mapping[str, object]) -> Iterator[str]:
    """Keys, as a user sets them, of secrets that are not encrypted: of this program and of Google's provider."""
    for whole, value in config.items():
        namespace, _, key = whole.partition(":")
        ours = namespace in {PROJECT_NAME, pulumi.get_project()}
        secret = ours and (_is_secret(key) or str(value).startswith(_OF_OAUTH_CLIENT))
        if (secret or whole in _PROVIDER_SECRETS) and not pulumi.runtime.is_config_secret(whole):
            yield key if ours else whole


def parse_settings(values: Mapping[str, object], *, stack: str) -> Settings:
    """Check the values of one stack, keyed as in its YAML without the project's namespace.

    Raises:
        SettingsError: the text lists every mistake.
    """
    name = values.get("name", f"inspection-{stack}")
    prefix = f"{values.get(PROJECT, 'missing')}-{name}"
    derived = {
        "name": name,
        "inboundBucket": f"{prefix}-inbound",
        "predictionBucket": f"{prefix}-predicted",
        "sourcesBucket": f"{prefix}-sources",
        "modelsBucket": f"{prefix}-models",
        "bucketLocation": values.get(REGION, "missing"),
        "appEngineLocation": app_engine_location(str(values.get(REGION, "missing"))),
        # Named, as a default is not checked, and these may be missed.
        "iapClientId": None,
        "iapClientSecret": None,
    }
    try:
        return Settings.model_validate({**derived, **values}, context=stack)
    except ValidationError as error:
        errors = error.errors()
    made = {
        "name": "made from the stack's name",
        **dict.fromkeys(
            ("inboundBucket", "predictionBucket", "sourcesBucket", "modelsBucket"), f"made from {PROJECT} and name"
        ),
        **dict.fromkeys(("bucketLocation", "appEngineLocation"), f"taken from {REGION}"),
    }
    origins = {key: origin for key, origin in made.items() if key not in values}
    mistaken = {_key(error["loc"]) for error in errors}
    if mistaken & {PROJECT, REGION, "name"}:
        # What is made from a wrong value is wrong too, and right again with it.
        errors = [error for error in errors if (key := _key(error["loc"])) == "name" or key not in origins]
    raise _refusal(stack, [_explain(error, origins, stack) for error in errors])


def _refusal(stack: str, mistakes: Sequence[str]) -> SettingsError:
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    shown = [
        *mistakes[:_MAX_MISTAKES],
        *([f"... and {more} more"] if (more := len(mistakes) - _MAX_MISTAKES) > 0 else []),
    ]
    listed = "".join(f"\n  - {mistake}" for mistake in shown)
    return SettingsError(f"the config of stack {stack!r} has {count}; nothing was changed:{listed}")


def _explain_plain(key: str, stack: str) -> str:
    return (
        f"{key} stands in Pulumi.{stack}.yaml for everybody to read. Where that file has been shared, make a new one; "
        f"then: {_setter(key)}"
    )


def _explain(error: ErrorDetails, origins: Mapping[str, str], stack: str) -> str:
    if not error["loc"]:
        return f"{_shown('', error['input'])} is no key; rename it in Pulumi.{stack}.yaml, in characters that can be written"
    key, value = _key(error["loc"]), error["input"]
    if error["type"] == "extra_forbidden":
        return _explain_unknown(error["loc"], value, stack)
    allowed, setter = _allowed(error["loc"]), _setter(key)
    # Only our own rules know more than what is allowed anyway.
    reason = f": {error['msg']}" if error["type"] == RULE else ""
    if error["type"] == "missing" or value is None:
        return f"{key} is missing{reason}; allowed is {allowed}. Give it with: {setter}"
    if error["loc"][-1] == _IN_KEY:  # the value is in order, its key is not
        return f"{key}: {error['msg']}; allowed is {allowed}. Remove it with: pulumi config rm --path '{key}'"
    origin = f" ({origins[key]})" if key in origins else ""
    return f"{key} is {_shown(key, value)}{origin}{reason}; allowed is {allowed}. Change it with: {setter}"


def _explain_unknown(location: tuple[int | str, ...], value: object, stack: str) -> str:
    key = _key(location)
    known = list(_fields(location[:-1]))
    nearest = difflib.get_close_matches(str(location[-1]), known, n=1)
    advice = f"the nearest is {nearest[0]}" if nearest else f"there are {', '.join(known)}"
    remove = f"pulumi config rm {'--path ' if len(location) > 1 else ''}{key}"
    return f"{key} ({_shown(key, value)}) is no key; {advice}. Rename it in Pulumi.{stack}.yaml, or remove it with: {remove}"


def _setter(key: str) -> str:
    if _is_secret(key):
        return f"pulumi config set --secret {key} VALUE"
    if key.startswith("gcp:") or key.isalnum():
        return f"pulumi config set {key} VALUE"
    return f"pulumi config set --path '{key}' VALUE"


def _key(location: tuple[int | str, ...]) -> str:
    """`thresholds.defect`, `labels[1]`: as `pulumi config set --path` takes it."""
    parts = [part for part in location if part != _IN_KEY]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def _fields(location: tuple[int | str, ...]) -> dict[str, FieldInfo]:
    """The keys that the object at this place of the config may have."""
    model = _OBJECTS[str(location[0])] if location else Settings
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _allowed(location: tuple[int | str, ...]) -> str:
    top = _fields(())[str(location[0])]
    if len(location) > 1 and location[0] in _OBJECTS:
        return _fields(location[:1])[str(location[1])].description or ""
    return top.description or ""


def _is_secret(key: str) -> bool:
    """By its name, so that a secret under a mistyped key is not shown either."""
    return "secret" in key.lower() or key in _PROVIDER_SECRETS


def _shown(key: str, value: object) -> str:
    if _is_secret(key):
        return "not shown here"
    return shorten(repr(list(value) if isinstance(value, tuple) else value))
