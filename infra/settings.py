"""Stack config as one model, checked whole before any resource is declared.

Values arrive as text where `pulumi config set` wrote them (also inside an object: `thresholds.ok` becomes "0.9"), and
as numbers where a person edited the YAML; both are read. Deliberately absent: any default for `modelId`.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, TypeVar

import pulumi
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from infra.naming import (
    BUCKET_NAME_RULE,
    MAX_HOST_LABEL_LENGTH,
    PREFIX_RULE,
    app_engine_location,
    is_bucket_name,
    is_prefix,
    review_host_label,
)
from inspection.labels import LABEL_RULE, MAX_LABELS, is_label
from inspection.layout import MAX_E_MAIL_BYTES
from inspection.model_id import MODEL_ID_RULE, ModelId, parse_model_id
from inspection.routing import Thresholds

ORIGINAL_PROJECT = "automl-inspection"
PROJECT = "gcp:project"
REGION = "gcp:region"

MAX_ACK_DEADLINE = 600
"""Seconds; Pub/Sub gives up on a push then, so that a function may not take longer."""

LOCAL_STACK = "local"
"""The one that runs on a laptop, and the only one whose review app asks nobody to sign in."""

Value = TypeVar("Value")

_SECONDS_A_DAY = 86_400
_MAX_SHOWN = 200
_MAX_MISTAKES = 40
_RULE = "rule"
_IN_KEY = "[key]"
"""How pydantic marks that not the value of an object's key is at fault but the key."""
_MI_IN_GI = 1024
_MIN_MEMORY = 256
# One CPU takes at most 4 Gi (https://cloud.google.com/run/docs/configuring/services/memory-limits).
_MAX_MEMORY = 4 * _MI_IN_GI

_MEMORY = re.compile(r"(\d{1,6})(Mi|Gi)")
_REGION = re.compile(r"[a-z]+(?:-[a-z]+)+\d+")
_APP_ENGINE_LOCATION = re.compile(r"[a-z]+(?:-[a-z]+)+\d*")
_PROJECT_ID = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_E_MAIL = re.compile(r"[^@\s,:]+@[^@\s,:]+\.[^@\s,:]+")


class SettingsError(pulumi.RunError):
    """The stack's config has mistakes; the text lists all of them, and the engine shows it without a traceback."""


def _from_json(value: object) -> object:
    """Lists and objects of the config arrive as JSON."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value  # the model says what is allowed
    return value


def _no_boolean(value: object) -> object:
    """Python takes True for 1; nobody who writes `threshold: true` means that."""
    if isinstance(value, bool):
        raise _broken("a boolean is no number")
    return value


Text = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, BeforeValidator(_no_boolean)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_no_boolean)]


AlertShare = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), BeforeValidator(_no_boolean)]


def _known_label(label: str, info: ValidationInfo) -> str:
    labels = info.data.get("labels")  # absent where they are a mistake themselves
    if labels is not None and label not in labels:
        raise _broken(f"{label!r} is none of the labels {_quoted(labels)}")
    return label


KnownLabel = Annotated[str, AfterValidator(_known_label)]


class _Model(BaseModel):
    # Text for a number is read, a number for text is not: labels `[1, 2]` are a mistake worth hearing of.
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


Concurrency = Annotated[
    Whole, Field(ge=1, le=80, description="a whole number from 1 to 80: the images in work at once in one instance")
]
Memory = Annotated[str, Field(description="256Mi to 4Gi, as in 512Mi or 2Gi")]


class FunctionLimits(_Model):
    """What one function may use. `maxInstances` bounds its bill: more than that never run at once."""

    _least_memory: ClassVar[int] = _MIN_MEMORY
    _why_not: ClassVar[str] = "one CPU cannot have that"

    max_instances: Whole = Field(10, ge=1, le=1000, description="a whole number from 1 to 1000")
    concurrency: Concurrency = 8
    memory: Memory = "512Mi"
    timeout_seconds: Whole = Field(
        120,
        # Three requests of up to 30 seconds each: what is cut off in between goes on while it is delivered again.
        ge=120,
        le=MAX_ACK_DEADLINE,
        description=f"a whole number of seconds from 120 to {MAX_ACK_DEADLINE}, as long as Pub/Sub waits for a push",
    )

    @field_validator("memory")
    @classmethod
    def _check_memory(cls, memory: str) -> str:
        match = _MEMORY.fullmatch(memory)
        if not match:
            raise _broken("it has no unit that is known")
        amount = int(match[1]) * (_MI_IN_GI if match[2] == "Gi" else 1)
        if not cls._least_memory <= amount <= _MAX_MEMORY:
            raise _broken(cls._why_not)
        return memory


class PredictLimits(FunctionLimits):
    """What the function that decodes images may use. The largest that it takes needs 815 MB (measured)."""

    _least_memory: ClassVar[int] = _MI_IN_GI
    _why_not: ClassVar[str] = "the largest images need 815 MB, and one CPU cannot have more than 4Gi"

    concurrency: Concurrency = 4
    memory: Annotated[str, Field(description="1Gi to 4Gi, as in 1Gi or 2Gi")] = "2Gi"


class ReviewLimits(_Model):
    """What the review app may use; without reviewers at work it uses nothing."""

    max_instances: Whole = Field(2, ge=1, le=1000, description="a whole number from 1 to 1000")
    # F1 has half the CPU, and who opens the page first in the morning waits for its start.
    instance_class: Literal["F1", "F2", "F4", "F4_1G"] = Field("F2", description="F1, F2, F4 or F4_1G")


class SignIn(StrEnum):
    """How the review app learns who asks."""

    IAP = "iap"
    APP_ENGINE = "appengine"
    DEVELOPMENT = "development"


_IAP_CLIENT_RULE = (
    "an OAuth client's, both id and secret, beside createAppEngine: true and signIn: iap, and nowhere else (an "
    "application that is there already has its Identity-Aware Proxy switched on in the console)"
)
_ALERT_SHARE_RULE = "a number above 0 and up to 1; 1 for no such alert"
_LIMITS_RULE = "an object with maxInstances, concurrency, memory and timeoutSeconds, each of which may be left out"


class Settings(_Model):
    """Everything that the program needs to know; the descriptions are what the user is told is allowed."""

    project: Text = Field(
        alias=PROJECT, description="the id of a Google Cloud project: 6 to 30 lower-case letters, digits and '-'"
    )
    region: Text = Field(alias=REGION, description="a region such as europe-west3")
    model_id: Text = Field(description=MODEL_ID_RULE)

    labels: Annotated[tuple[str, ...], BeforeValidator(_from_json)] = Field(
        ("ok", "defect"),
        description=f"a list of 1 to {MAX_LABELS} labels that differ in more than upper and lower case, each of {LABEL_RULE}",
    )
    threshold: Score = Field(0.8, description="a number from 0 to 1")
    thresholds: Annotated[dict[KnownLabel, Score], BeforeValidator(_from_json)] = Field(
        default_factory=dict, description="an object of labels (from the key labels), each with a number from 0 to 1"
    )
    reviewers: Annotated[tuple[str, ...], BeforeValidator(_from_json)] = Field(
        (), description="a list of e-mail addresses, each once; without any there is no review app"
    )
    review: Annotated[ReviewLimits, BeforeValidator(_from_json)] = Field(
        ReviewLimits.model_validate({}),
        description="an object with maxInstances and instanceClass, each of which may be left out",
    )
    sign_in: SignIn = Field(
        SignIn.IAP,
        description=f"iap or appengine (and development, which lets everybody in, in the stack {LOCAL_STACK!r} alone)",
    )
    # A project has one application, which can never be deleted and never moves.
    create_app_engine: bool = Field(
        False, description="true or false; true only where the project has no App Engine application yet"
    )
    app_engine_location: str = Field(
        description="App Engine's name for a region: us-central and europe-west for us-central1 and europe-west1, any "
        "other as it is"
    )
    iap_client_id: Text | None = Field(None, description=_IAP_CLIENT_RULE)
    iap_client_secret: Annotated[SecretStr, Field(min_length=1)] | None = Field(None, description=_IAP_CLIENT_RULE)

    name: str = Field(description=PREFIX_RULE)
    inbound_bucket: str = Field(description=BUCKET_NAME_RULE)
    prediction_bucket: str = Field(description=BUCKET_NAME_RULE)
    sources_bucket: str = Field(description=BUCKET_NAME_RULE)
    models_bucket: str = Field(description=BUCKET_NAME_RULE)
    bucket_location: str = Field(description="a region, or a multi-region such as EU or US")

    # What a stack must say if it wants its images to be at risk; the defaults are the safe ones.
    protect_images: bool = Field(
        True, description="true or false; true makes `pulumi destroy` refuse the image buckets"
    )
    delete_buckets_with_contents: bool = Field(
        False, description="true or false; true only beside protectImages: false, as destroy then deletes every image"
    )
    keep_deleted_images_days: Whole = Field(
        7, description="0 (gone at once), or a whole number of days from 7 to 90; every kept copy is billed"
    )

    predict: Annotated[PredictLimits, BeforeValidator(_from_json)] = Field(
        PredictLimits.model_validate({}), description=_LIMITS_RULE
    )
    move: Annotated[FunctionLimits, BeforeValidator(_from_json)] = Field(
        FunctionLimits.model_validate({}), description=_LIMITS_RULE
    )

    # Pub/Sub doubles the pause after each attempt, from 10 seconds to 600: 40 attempts take 5.7 hours, 20 took 2.3. An
    # overload counts as attempts as well (429), and one of three hours must not make a dead letter of a good image.
    delivery_attempts: Whole = Field(40, ge=5, le=100, description="a whole number from 5 to 100")
    minimum_backoff_seconds: Whole = Field(10, ge=0, le=600, description="a whole number of seconds from 0 to 600")
    maximum_backoff_seconds: Whole = Field(
        600, ge=0, le=600, description="a whole number of seconds from 0 to 600, not below minimumBackoffSeconds"
    )
    # The provider's own example waits 60 seconds. IAM's documents say two minutes, and sometimes seven.
    grant_wait_seconds: Whole = Field(
        120, ge=0, le=900, description="a whole number of seconds from 0 to 900: the wait after new grants to a builder"
    )
    message_retention_days: Whole = Field(
        31, ge=1, le=31, description="a whole number of days from 1 to 31; dead letters are gone after that"
    )
    alert_email: str | None = Field(None, description="an e-mail address")
    # The longest time that Cloud Monitoring looks back is a day.
    alert_hours_without_pictures: Whole = Field(
        24, ge=0, le=24, description="a whole number of hours from 1 to 24, or 0 for no such alert"
    )
    alert_unclear_share: AlertShare = Field(0.3, description=_ALERT_SHARE_RULE)
    alert_rejected_share: AlertShare = Field(0.1, description=_ALERT_SHARE_RULE)
    alert_function_errors: Whole = Field(
        10,
        ge=0,
        le=1_000_000,
        description="a whole number from 0 to 1000000: the failures of a function in ten minutes",
    )
    alert_refused_pushes: Whole = Field(
        10,
        ge=0,
        le=1_000_000,
        description="a whole number from 0 to 1000000: the pushes that a function refuses in each ten minutes of half an hour",
    )
    keep_logs_days: Whole = Field(
        0, ge=0, le=3650, description="a whole number of days from 1 to 3650, or 0 for the project's own 30 days"
    )

    @property
    def model(self) -> ModelId:
        """The model's whole name and where it lives."""
        return parse_model_id(self.model_id, project=self.project)

    @property
    def routing(self) -> Thresholds:
        """The thresholds in the vocabulary's own type."""
        return Thresholds(labels=self.labels, common=self.threshold, by_label=self.thresholds)

    @property
    def resource_labels(self) -> dict[str, str]:
        """On everything that takes labels: what a bill or a search is split by."""
        return {"application": "automl-inspection", "environment": self.name}

    @property
    def message_retention(self) -> str:
        """As Pub/Sub writes a duration."""
        return f"{self.message_retention_days * _SECONDS_A_DAY}s"

    @property
    def keep_deleted_images_seconds(self) -> int:
        """As Cloud Storage counts soft deletion."""
        return self.keep_deleted_images_days * _SECONDS_A_DAY

    @field_validator("project")
    @classmethod
    def _check_project(cls, project: str) -> str:
        return _require(project, ok=_PROJECT_ID.fullmatch(project) is not None)

    @field_validator("region")
    @classmethod
    def _check_region(cls, region: str) -> str:
        return _require(region, ok=_REGION.fullmatch(region) is not None)

    @field_validator("bucket_location")
    @classmethod
    def _check_location(cls, location: str) -> str:
        return _require(location, ok=re.fullmatch(r"[A-Za-z][A-Za-z0-9-]+", location) is not None)

    @field_validator("model_id")
    @classmethod
    def _check_model(cls, model_id: str, info: ValidationInfo) -> str:
        try:
            parse_model_id(model_id, project=info.data.get("project", "any"))
        except ValueError:
            raise _broken("its shape names no model") from None
        return model_id

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        reasons: list[str] = []
        if not 1 <= len(labels) <= MAX_LABELS:
            reasons.append(f"these are {len(labels)} labels")
        if wrong := [label for label in labels if not is_label(label)]:
            reasons.append(f"{_quoted(wrong)} cannot be a label")
        if twice := _twice(labels):
            reasons.append(f"{_quoted(twice)} is there twice")
        return _unless(reasons, labels)

    @field_validator("reviewers")
    @classmethod
    def _check_reviewers(cls, reviewers: tuple[str, ...]) -> tuple[str, ...]:
        reasons: list[str] = []
        if wrong := [reviewer for reviewer in reviewers if not _E_MAIL.fullmatch(reviewer)]:
            reasons.append(f"{_quoted(wrong)} is no e-mail address")
        if long := [reviewer for reviewer in reviewers if len(reviewer.lower().encode()) > MAX_E_MAIL_BYTES]:
            reasons.append(f"{_quoted(long)} is longer than {MAX_E_MAIL_BYTES} bytes")
        if twice := _twice(reviewers):
            reasons.append(f"{_quoted(twice)} is there twice")
        return _unless(reasons, reviewers)

    @field_validator("sign_in")
    @classmethod
    def _check_sign_in(cls, sign_in: SignIn, info: ValidationInfo) -> SignIn:
        # The app itself refuses it too, where App Engine runs it.
        if sign_in is SignIn.DEVELOPMENT and info.context != LOCAL_STACK:
            raise _broken(f"the stack is {info.context!r}")
        return sign_in

    @field_validator("app_engine_location")
    @classmethod
    def _check_app_engine_location(cls, location: str) -> str:
        known = _APP_ENGINE_LOCATION.fullmatch(location) is not None
        return _require(location, ok=known and app_engine_location(location) == location)

    @field_validator("iap_client_id", "iap_client_secret")
    @classmethod
    def _check_iap_client(cls, given: Value, info: ValidationInfo) -> Value:
        declared = bool(info.data.get("create_app_engine")) and info.data.get("sign_in") is SignIn.IAP
        if given is not None and not declared:
            raise _broken("it would be used for nothing")
        if given is None and declared and info.data.get("reviewers"):
            raise _broken("Identity-Aware Proxy cannot be switched on without it")
        return given

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str, info: ValidationInfo) -> str:
        label = review_host_label(name, info.data.get("project", ""))
        if info.data.get("reviewers") and len(label) > MAX_HOST_LABEL_LENGTH:
            raise _broken(
                f"the review app's address would begin with {label!r}, which has {len(label)} characters before its "
                f"first dot, and a host's name may have {MAX_HOST_LABEL_LENGTH}"
            )
        return _require(name, ok=is_prefix(name))

    @field_validator("inbound_bucket", "prediction_bucket", "sources_bucket", "models_bucket")
    @classmethod
    def _check_bucket(cls, bucket: str, info: ValidationInfo) -> str:
        if not is_bucket_name(bucket):
            raise _broken(f"it has {len(bucket)} characters")
        others = [other for field in _BUCKETS if field != info.field_name and (other := info.data.get(field))]
        if bucket in others:
            raise _broken("another bucket of this stack has the name")
        return bucket

    @field_validator("delete_buckets_with_contents")
    @classmethod
    def _check_deletion(cls, delete: bool, info: ValidationInfo) -> bool:
        if delete and info.data.get("protect_images"):
            raise _broken("protectImages is true, which contradicts it")
        return delete

    @field_validator("keep_deleted_images_days")
    @classmethod
    def _check_soft_delete(cls, days: int) -> int:
        return _require(days, ok=days == 0 or 7 <= days <= 90)  # noqa: PLR2004  # Cloud Storage's own limits

    @field_validator("maximum_backoff_seconds")
    @classmethod
    def _check_backoff(cls, maximum: int, info: ValidationInfo) -> int:
        return _require(maximum, ok=maximum >= info.data.get("minimum_backoff_seconds", 0))

    @field_validator("alert_email")
    @classmethod
    def _check_alert_email(cls, email: str | None) -> str | None:
        return _require(email, ok=email is None or _E_MAIL.fullmatch(email) is not None)


_PROVIDER_SECRETS = frozenset({"gcp:credentials", "gcp:accessToken"})
"""https://www.pulumi.com/registry/packages/gcp/installation-configuration/"""
_OF_OAUTH_CLIENT = "GOCSPX-"
"""How Google begins an OAuth client's secret, which may be taken for its ID."""

_OBJECTS: Mapping[str, type[BaseModel]] = {"predict": PredictLimits, "move": FunctionLimits, "review": ReviewLimits}
_BUCKETS = ("inbound_bucket", "prediction_bucket", "sources_bucket", "models_bucket")


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
    for namespace in (ORIGINAL_PROJECT, pulumi.get_project()):
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
        ours = namespace in {ORIGINAL_PROJECT, pulumi.get_project()}
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
    reason = f": {error['msg']}" if error["type"] == _RULE else ""
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


def _require(value: Value, *, ok: bool) -> Value:
    if not ok:
        raise PydanticCustomError("allowed", "not allowed")
    return value


def _broken(reason: str) -> PydanticCustomError:
    """A rule of ours, with what the user should hear besides what is allowed."""
    return PydanticCustomError(_RULE, "{reason}", {"reason": reason})


def _unless(reasons: list[str], value: Value) -> Value:
    if reasons:
        raise _broken(", and ".join(reasons))
    return value


def _twice(texts: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [text for text in texts if text.lower() in seen or seen.add(text.lower())]


def _quoted(texts: Iterable[str]) -> str:
    return _cut(", ".join(repr(text) for text in texts))


def _is_secret(key: str) -> bool:
    """By its name, so that a secret under a mistyped key is not shown either."""
    return "secret" in key.lower() or key in _PROVIDER_SECRETS


def _shown(key: str, value: object) -> str:
    if _is_secret(key):
        return "not shown here"
    return _cut(repr(list(value) if isinstance(value, tuple) else value))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}... ({len(text)} characters)"
