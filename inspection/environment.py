"""The environment variables of each deployed part: `infra/` writes them, the part reads them.

Each part has one frozen dataclass: `to_variables` returns what the part is deployed with, `from_variables` reads it
again and lists every mistake at once.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from inspection.labels import LABEL_RULE, MAX_LABELS, is_label
from inspection.model_id import Backend, ModelId, parse_model_id
from inspection.names import BUCKET_NAME_RULE, E_MAIL_RULE, is_bucket_name, is_e_mail
from inspection.routing import Thresholds

STORAGE_EMULATOR: Final = "STORAGE_EMULATOR_HOST"
"""Google's own name; its clients read the variable themselves. So it is with Pub/Sub's."""
PUBSUB_EMULATOR: Final = "PUBSUB_EMULATOR_HOST"
AUTOML_EMULATOR: Final = "AUTOML_EMULATOR_HOST"
"""Named after Google's: the address of a service that replaces Google's, without credentials. So are those below."""
VERTEX_EMULATOR: Final = "AIPLATFORM_EMULATOR_HOST"
LOGGING_EMULATOR: Final = "LOGGING_EMULATOR_HOST"
IAM_EMULATOR: Final = "IAMCREDENTIALS_EMULATOR_HOST"
"""Where it is not set, the storage emulator signs too."""

_LABELS_RULE = f"a JSON list of 1 to {MAX_LABELS} different labels, each of {LABEL_RULE}"
_THRESHOLD_RULE = "a number from 0 to 1"
_WHOLE_MODEL_RULE = (
    "projects/P/locations/L/models/ICN1234567890, projects/P/locations/L/endpoints/1234567890 or gs://BUCKET/NAME.onnx"
)

_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")
_IAP_AUDIENCE = re.compile(r"/projects/\d+/(?:apps/[a-z0-9.:-]+|global/backendServices/\d+)")
_DEPLOYED_VARIABLES = re.compile(r"GAE_\w+|K_SERVICE|K_REVISION")
"""Set by App Engine and Cloud Run where the app really runs."""


class MisconfiguredError(ValueError):
    """The environment is wrong; the text lists every mistake with what is allowed."""


class SignInMode(StrEnum):
    """The service that says who the caller of the review app is."""

    IAP = "iap"
    APP_ENGINE = "appengine"
    DEVELOPMENT = "development"


@dataclass(frozen=True, kw_only=True)
class PredictEnvironment:
    """What predict needs to know."""

    model: ModelId
    topic: str
    """The predictions topic: `projects/P/topics/T`."""
    labels: tuple[str, ...] = ()
    """The stack's, which a model file's own are compared with. Passed on with a model file alone: no service is asked
    for its labels."""

    def to_variables(self) -> dict[str, str]:
        """Return the variables that predict is deployed with."""
        variables = {"MODEL_ID": self.model.name, "PREDICTIONS_TOPIC": self.topic}
        if self.model.backend is Backend.OWN:
            variables["LABELS"] = json.dumps(self.labels)
        return variables

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> "PredictEnvironment":
        """Read predict's variables.

        Raises:
            MisconfiguredError: a variable is missing or wrong.
        """
        reader = _Reader(variables)
        model_id = reader.text("MODEL_ID", _WHOLE_MODEL_RULE, _is_whole_model_id)
        topic = reader.text("PREDICTIONS_TOPIC", "projects/P/topics/T", _matches(_TOPIC))
        labels = reader.labels() if model_id.startswith("gs://") else ()
        reader.check()
        return cls(model=parse_model_id(model_id, project=""), topic=topic, labels=labels)


@dataclass(frozen=True, kw_only=True)
class MoveEnvironment:
    """What move needs to know."""

    prediction_bucket: str
    thresholds: Thresholds

    def to_variables(self) -> dict[str, str]:
        """Return the variables that move is deployed with."""
        return {
            "PREDICTION_BUCKET": self.prediction_bucket,
            "LABELS": json.dumps(self.thresholds.labels),
            "THRESHOLD": json.dumps(self.thresholds.common),
            "THRESHOLDS": json.dumps(dict(self.thresholds.by_label), sort_keys=True),
        }

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> "MoveEnvironment":
        """Read move's variables.

        Raises:
            MisconfiguredError: a variable is missing or wrong.
        """
        reader = _Reader(variables)
        bucket = reader.text("PREDICTION_BUCKET", BUCKET_NAME_RULE, is_bucket_name)
        labels = reader.labels()
        common = reader.json("THRESHOLD", _THRESHOLD_RULE, _is_score)
        by_label = reader.json(
            "THRESHOLDS", f"a JSON object of labels, each with {_THRESHOLD_RULE}", lambda value: isinstance(value, dict)
        )
        for label, threshold in (by_label or {}).items():
            if label not in labels:
                reader.refuse("THRESHOLDS", f"labels from LABELS ({', '.join(labels)})", label)
            if not _is_score(threshold):
                reader.refuse(f"THRESHOLDS.{label}", _THRESHOLD_RULE, threshold)
        reader.check()
        return cls(
            prediction_bucket=bucket,
            thresholds=Thresholds(
                labels=labels,
                common=float(common),
                by_label={label: float(threshold) for label, threshold in by_label.items()},
            ),
        )


@dataclass(frozen=True, kw_only=True)
class ReviewEnvironment:
    """What the review app needs to know."""

    prediction_bucket: str
    labels: tuple[str, ...]
    reviewers: frozenset[str]
    """E-mail addresses in lower case."""
    sign_in: SignInMode
    iap_audience: str | None = None
    """With Identity-Aware Proxy alone: `/projects/NUMBER/apps/PROJECT_ID`."""
    development_reviewer: str | None = None
    """With the development sign-in alone: the reviewer that everybody is."""
    signer_email: str | None = None
    """The service account that signs links to images; without it, the one that the metadata server names."""

    def to_variables(self) -> dict[str, str]:
        """Return the variables that the review app is deployed with."""
        variables = {
            "PREDICTION_BUCKET": self.prediction_bucket,
            "LABELS": json.dumps(self.labels),
            "REVIEWERS": json.dumps(sorted(self.reviewers)),
            "SIGN_IN": self.sign_in.value,
            "IAP_AUDIENCE": self.iap_audience,
            "DEVELOPMENT_REVIEWER": self.development_reviewer,
            "SIGNER_EMAIL": self.signer_email,
        }
        return {name: value for name, value in variables.items() if value is not None}

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> "ReviewEnvironment":
        """Read the review app's variables, and check that its sign-in is safe where it runs.

        Raises:
            MisconfiguredError: a variable is missing or wrong.
        """
        reader = _Reader(variables)
        bucket = reader.text("PREDICTION_BUCKET", BUCKET_NAME_RULE, is_bucket_name)
        labels = reader.labels()
        reviewers = reader.texts("REVIEWERS", f"a JSON list of at least one reviewer, each {E_MAIL_RULE}", _are_e_mails)
        mode = reader.text("SIGN_IN", " or ".join(SignInMode), lambda text: text in set(SignInMode))
        audience = developer = None
        if mode == SignInMode.IAP:
            audience = reader.text("IAP_AUDIENCE", "/projects/NUMBER/apps/PROJECT_ID", _matches(_IAP_AUDIENCE))
        if mode == SignInMode.DEVELOPMENT:
            developer = reader.text("DEVELOPMENT_REVIEWER", E_MAIL_RULE, is_e_mail)
        signer = None
        if variables.get("SIGNER_EMAIL"):
            signer = reader.text("SIGNER_EMAIL", "a service account's e-mail address, or not set", is_e_mail)
        reader.mistakes += _misplaced(mode, variables)
        reader.check()
        return cls(
            prediction_bucket=bucket,
            labels=labels,
            reviewers=frozenset(reviewer.lower() for reviewer in reviewers),
            sign_in=SignInMode(mode),
            iap_audience=audience,
            development_reviewer=developer,
            signer_email=signer,
        )


class _Reader:
    """Reads variables one by one and keeps the mistakes."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.mistakes: list[str] = []

    def refuse(self, name: str, rule: str, value: object) -> None:
        self.mistakes.append(f"{name} is {value!r}; allowed is {rule}")

    def text(self, name: str, rule: str, is_allowed: Callable[[str], bool]) -> str:
        value = self._variables.get(name, "")
        if not is_allowed(value):
            self.refuse(name, rule, value)
        return value

    def json(self, name: str, rule: str, is_allowed: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - any JSON
        """The value, or None if it is not allowed."""
        text = self._variables.get(name, "")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if value is None or not is_allowed(value):
            self.refuse(name, rule, text)
            return None
        return value

    def texts(self, name: str, rule: str, are_allowed: Callable[[list[str]], bool]) -> tuple[str, ...]:
        """A JSON list of texts; empty if it is not allowed."""
        values = self.json(name, rule, lambda value: _are_texts(value) and are_allowed(value))
        return tuple(values or ())

    def labels(self) -> tuple[str, ...]:
        return self.texts("LABELS", _LABELS_RULE, _are_labels)

    def check(self) -> None:
        if self.mistakes:
            raise MisconfiguredError("; ".join(self.mistakes))


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def _is_whole_model_id(text: str) -> bool:
    try:
        model = parse_model_id(text, project="")
    except ValueError:
        return False
    return model.backend is Backend.OWN or bool(model.project)


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)  # pyright: ignore[reportUnknownVariableType]


def _are_labels(labels: list[str]) -> bool:
    return 1 <= len(labels) <= MAX_LABELS and len(set(labels)) == len(labels) and all(map(is_label, labels))


def _are_e_mails(texts: list[str]) -> bool:
    return bool(texts) and all(map(is_e_mail, texts))


def _misplaced(mode: str, variables: Mapping[str, str]) -> list[str]:
    """What is wrong with this sign-in in this place."""
    if mode == SignInMode.APP_ENGINE and variables.get("GAE_ENV") != "standard":
        place = f"GAE_ENV is {variables.get('GAE_ENV', '')!r}, not 'standard'"
        return [f"SIGN_IN is 'appengine', but this is not App Engine ({place}): anybody could send its headers here"]
    deployed = ", ".join(sorted(filter(_DEPLOYED_VARIABLES.fullmatch, variables)))
    if mode == SignInMode.DEVELOPMENT and deployed:
        return [f"SIGN_IN is 'development', but the app is deployed ({deployed} set); use 'iap' or 'appengine'"]
    return []
