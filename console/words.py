"""What stands in a user's files, as an error's text may repeat it."""

MAX_SHOWN = 1000
"""Characters of it."""


def one_line(text: str) -> str:
    """The text on one line, cut, and without what a terminal would take for more than a character."""
    line = " ".join(text.split())[:MAX_SHOWN]
    return "".join(character if character.isprintable() else " " for character in line)
