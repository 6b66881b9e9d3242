"""Stack config as one model, checked whole before any resource is declared.

Values arrive as text where `pulumi config set` wrote them (also inside an object: `thresholds.ok` becomes "0.9"), and
as numbers where a person edited the YAML; both are read. Deliberately absent: any default for `modelId`.
"""

import json
import re
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel

from infra.checks import Value, broken, quoted, require, twice, unless
from infra.naming import (
    MAX_HOST_LABEL_LENGTH,
    NEW_BUCKET_NAME_RULE,
    PREFIX_RULE,
    app_engine_location,
    is_new_bucket_name,
    is_prefix,
    review_host_label,
)
from inspection.environment import SignInMode
from inspection.labels import LABEL_RULE, MAX_LABELS, is_label
from inspection.model_id import MODEL_ID_RULE, ModelId, parse_model_id
from inspection.names import E_MAIL_RULE, LOCAL_STACK, PROJECT_NAME, is_e_mail
from inspection.routing import Thresholds

PROJECT = "gcp:project"
REGION = "gcp:region"

MAX_ACK_DEADLINE = 600
"""Seconds; Pub/Sub gives up on a push then, so that a function may not take longer."""

_SECONDS_A_DAY = 86_400
_MI_IN_GI = 1024
_MIN_MEMORY = 256
# One CPU takes at most 4 Gi (https://cloud.google.com/run/docs/configuring/services/memory-limits).
_MAX_MEMORY = 4 * _MI_IN_GI

_BUCKETS = ("inbound_bucket", "prediction_bucket", "sources_bucket", "models_bucket")
_MEMORY = re.compile(r"(\d{1,6})(Mi|Gi)")
_REGION = re.compile(r"[a-z]+(?:-[a-z]+)+\d+")
_APP_ENGINE_LOCATION = re.compile(r"[a-z]+(?:-[a-z]+)+\d*")
_PROJECT_ID = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")


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
        raise broken("a boolean is no number")
    return value


Text = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, BeforeValidator(_no_boolean)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_no_boolean)]


AlertShare = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), BeforeValidator(_no_boolean)]


def _known_label(label: str, info: ValidationInfo) -> str:
    labels = info.data.get("labels")  # absent where they are a mistake themselves
    if labels is not None and label not in labels:
        raise broken(f"{label!r} is none of the labels {quoted(labels)}")
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
            raise broken("it has no unit that is known")
        amount = int(match[1]) * (_MI_IN_GI if match[2] == "Gi" else 1)
        if not cls._least_memory <= amount <= _MAX_MEMORY:
            raise broken(cls._why_not)
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
    sign_in: SignInMode = Field(
        SignInMode.IAP,
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
    inbound_bucket: str = Field(description=NEW_BUCKET_NAME_RULE)
    prediction_bucket: str = Field(description=NEW_BUCKET_NAME_RULE)
    sources_bucket: str = Field(description=NEW_BUCKET_NAME_RULE)
    models_bucket: str = Field(description=NEW_BUCKET_NAME_RULE)
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
        return {"application": PROJECT_NAME, "environment": self.name}

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
        return require(project, ok=_PROJECT_ID.fullmatch(project) is not None)

    @field_validator("region")
    @classmethod
    def _check_region(cls, region: str) -> str:
        return require(region, ok=_REGION.fullmatch(region) is not None)

    @field_validator("bucket_location")
    @classmethod
    def _check_location(cls, location: str) -> str:
        return require(location, ok=re.fullmatch(r"[A-Za-z][A-Za-z0-9-]+", location) is not None)

    @field_validator("model_id")
    @classmethod
    def _check_model(cls, model_id: str, info: ValidationInfo) -> str:
        try:
            parse_model_id(model_id, project=info.data.get("project", "any"))
        except ValueError:
            raise broken("its shape names no model") from None
        return model_id

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        reasons: list[str] = []
        if not 1 <= len(labels) <= MAX_LABELS:
            reasons.append(f"these are {len(labels)} labels")
        if wrong := [label for label in labels if not is_label(label)]:
            reasons.append(f"{quoted(wrong)} cannot be a label")
        if repeated := twice(labels):
            reasons.append(f"{quoted(repeated)} is there twice")
        return unless(reasons, labels)

    @field_validator("reviewers")
    @classmethod
    def _check_reviewers(cls, reviewers: tuple[str, ...]) -> tuple[str, ...]:
        reasons: list[str] = []
        if wrong := [reviewer for reviewer in reviewers if not is_e_mail(reviewer)]:
            reasons.append(f"{quoted(wrong)} is not {E_MAIL_RULE}")
        if repeated := twice(reviewers):
            reasons.append(f"{quoted(repeated)} is there twice")
        return unless(reasons, reviewers)

    @field_validator("sign_in")
    @classmethod
    def _check_sign_in(cls, sign_in: SignInMode, info: ValidationInfo) -> SignInMode:
        # The app itself refuses it too, where App Engine runs it.
        if sign_in is SignInMode.DEVELOPMENT and info.context != LOCAL_STACK:
            raise broken(f"the stack is {info.context!r}")
        return sign_in

    @field_validator("app_engine_location")
    @classmethod
    def _check_app_engine_location(cls, location: str) -> str:
        known = _APP_ENGINE_LOCATION.fullmatch(location) is not None
        return require(location, ok=known and app_engine_location(location) == location)

    @field_validator("iap_client_id", "iap_client_secret")
    @classmethod
    def _check_iap_client(cls, given: Value, info: ValidationInfo) -> Value:
        declared = bool(info.data.get("create_app_engine")) and info.data.get("sign_in") is SignInMode.IAP
        if given is not None and not declared:
            raise broken("it would be used for nothing")
        if given is None and declared and info.data.get("reviewers"):
            raise broken("Identity-Aware Proxy cannot be switched on without it")
        return given

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str, info: ValidationInfo) -> str:
        label = review_host_label(name, info.data.get("project", ""))
        if info.data.get("reviewers") and len(label) > MAX_HOST_LABEL_LENGTH:
            raise broken(
                f"the review app's address would begin with {label!r}, which has {len(label)} characters before its "
                f"first dot, and a host's name may have {MAX_HOST_LABEL_LENGTH}"
            )
        return require(name, ok=is_prefix(name))

    @field_validator("inbound_bucket", "prediction_bucket", "sources_bucket", "models_bucket")
    @classmethod
    def _check_bucket(cls, bucket: str, info: ValidationInfo) -> str:
        if not is_new_bucket_name(bucket):
            raise broken(f"it has {len(bucket)} characters")
        others = [other for field in _BUCKETS if field != info.field_name and (other := info.data.get(field))]
        if bucket in others:
            raise broken("another bucket of this stack has the name")
        return bucket

    @field_validator("delete_buckets_with_contents")
    @classmethod
    def _check_deletion(cls, delete: bool, info: ValidationInfo) -> bool:
        if delete and info.data.get("protect_images"):
            raise broken("protectImages is true, which contradicts it")
        return delete

    @field_validator("keep_deleted_images_days")
    @classmethod
    def _check_soft_delete(cls, days: int) -> int:
        return require(days, ok=days == 0 or 7 <= days <= 90)  # noqa: PLR2004  # Cloud Storage's own limits

    @field_validator("maximum_backoff_seconds")
    @classmethod
    def _check_backoff(cls, maximum: int, info: ValidationInfo) -> int:
        return require(maximum, ok=maximum >= info.data.get("minimum_backoff_seconds", 0))

    @field_validator("alert_email")
    @classmethod
    def _check_alert_email(cls, email: str | None) -> str | None:
        return require(email, ok=email is None or is_e_mail(email))
