"""Rules for names that several parts check: buckets, e-mail addresses, the project and the stack on one machine."""

import re

from inspection.layout import MAX_E_MAIL_BYTES

PROJECT_NAME = "automl-inspection"
"""The Pulumi project's name: the namespace of its stack config, and the value of the label `application`."""

LOCAL_STACK = "local"
"""The stack that runs on one machine, and the only one whose review app may let everybody in."""

MAX_BUCKET_NAME_LENGTH = 63
"""Of a name without dots."""

BUCKET_NAME_RULE = (
    "3 to 222 lower-case letters, digits, '-', '_' or '.', beginning and ending with a letter or digit, and no '..'"
)
E_MAIL_RULE = f"an e-mail address of at most {MAX_E_MAIL_BYTES} bytes"

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_E_MAIL = re.compile(r"[^@\s,:]+@[^@\s,:]+\.[^@\s,:]+")
# Google refuses look-alikes of its name; "g00gle" is its own example.
_LIKE_GOOGLE = re.compile(r"g[o0]{2}gle")


def is_bucket_name(text: str) -> bool:
    """Whether an existing bucket can have this name (:data:`BUCKET_NAME_RULE`).

    63 characters, or 222 where dots divide them: https://cloud.google.com/storage/docs/buckets#naming
    """
    return _BUCKET_NAME.fullmatch(text) is not None and ".." not in text


def is_like_google(text: str) -> bool:
    """Whether Google refuses the name of a new resource because it looks like one of its own."""
    return text.startswith("goog") or _LIKE_GOOGLE.search(text) is not None


def is_e_mail(text: str) -> bool:
    """Whether a text is an e-mail address that fits into the metadata of a decision.

    It is kept in lower case, which can be longer.
    """
    return _E_MAIL.fullmatch(text) is not None and len(text.lower().encode()) <= MAX_E_MAIL_BYTES
