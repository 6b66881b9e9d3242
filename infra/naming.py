"""What Google allows a name to be, and what that leaves for the prefix that all names of a stack share.

Nothing is named by Pulumi: every name is `<prefix>-<part>`, so that a person finds it in the console and the commands
of this project find it without asking.
"""

import re

from inspection.names import MAX_BUCKET_NAME_LENGTH, is_bucket_name, is_like_google

MIN_ACCOUNT_ID_LENGTH = 6
MAX_ACCOUNT_ID_LENGTH = 30
"""https://cloud.google.com/iam/docs/service-accounts-create"""

MIN_BUCKET_NAME_LENGTH = 3
"""https://cloud.google.com/storage/docs/buckets#naming"""

MAX_HOST_LABEL_LENGTH = 63
"""RFC 1035; no certificate covers an App Engine service whose name makes a longer one."""

LONGEST_ACCOUNT = "predict"

# A service account's id is the shortest limit of all; functions (63), topics (255) and repositories (63) have room.
MAX_PREFIX_LENGTH = MAX_ACCOUNT_ID_LENGTH - len(f"-{LONGEST_ACCOUNT}")
PREFIX_RULE = (
    f"3 to {MAX_PREFIX_LENGTH} lower-case letters, digits and '-', beginning with a letter and ending with a letter or "
    f"digit, without 'google' (a service account's id, '<name>-{LONGEST_ACCOUNT}', has at most "
    f"{MAX_ACCOUNT_ID_LENGTH} characters)"
)
NEW_BUCKET_NAME_RULE = (
    f"{MIN_BUCKET_NAME_LENGTH} to {MAX_BUCKET_NAME_LENGTH} lower-case letters, digits, '-' and '_', beginning and "
    "ending with a letter or digit, not beginning with 'goog' and without 'google'"
)

_PREFIX = re.compile(r"[a-z][a-z0-9-]*[a-z0-9]")
_MIN_PREFIX_LENGTH = 3


def is_prefix(text: str) -> bool:
    """Whether every name of the stack fits its limit with this in front (:data:`PREFIX_RULE`)."""
    return (
        _MIN_PREFIX_LENGTH <= len(text) <= MAX_PREFIX_LENGTH
        and _PREFIX.fullmatch(text) is not None
        and not is_like_google(text)  # Pub/Sub keeps "goog" for itself
    )


def is_new_bucket_name(text: str) -> bool:
    """Whether a stack can create a bucket of this name (:data:`NEW_BUCKET_NAME_RULE`).

    Names with dots are domains and would need proof of ownership.
    """
    return is_bucket_name(text) and "." not in text and len(text) <= MAX_BUCKET_NAME_LENGTH and not is_like_google(text)


def review_service(prefix: str) -> str:
    """The App Engine service of the review app."""
    return f"{prefix}-review"


def review_host_label(prefix: str, project: str) -> str:
    """What the review app's address begins with (https://cloud.google.com/appengine/docs/standard/how-requests-are-routed)."""
    return f"{review_service(prefix)}-dot-{project}"


def app_engine_location(region: str) -> str:
    """App Engine's own name for a region; it had two before regions were numbered."""
    return region.removesuffix("1") if region in {"us-central1", "europe-west1"} else region
