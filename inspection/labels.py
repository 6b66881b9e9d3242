"""What a label may be called, and which folder names are taken."""

import re

UNCLEAR = "unclear"
REJECTED = "rejected"
HUMAN_DECIDED = "human_decided"
RESERVED_FOLDERS = (UNCLEAR, REJECTED, HUMAN_DECIDED)

MAX_LABELS = 9
"""One key of a keyboard's upper row for each label on the review page."""

MAX_LABEL_LENGTH = 64

LABEL_RULE = (
    f"1 to {MAX_LABEL_LENGTH} letters, digits, spaces, '_', '-' or '.', beginning and ending with a letter, "
    f"digit or '_', and none of {', '.join(RESERVED_FOLDERS)}"
)

_FOLDER_SAFE = re.compile(r"\w(?:[\w .-]*\w)?")


def is_label(text: str) -> bool:
    """Whether a label can name a folder of the prediction bucket (:data:`LABEL_RULE`)."""
    return (
        len(text) <= MAX_LABEL_LENGTH
        and _FOLDER_SAFE.fullmatch(text) is not None
        and text.lower() not in RESERVED_FOLDERS
    )
