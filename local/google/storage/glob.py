"""`matchGlob` of a listing: which names of objects and prefixes it leaves.

https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob. What is refused, and
how, is what Cloud Storage answers (observed in https://github.com/fsouza/fake-gcs-server/pull/2344).
"""

import re

from local.google.gate import ApiError

_TOKEN = re.compile(
    r"\\(?P<escaped>.)|(?P<folders>(?:^|(?<=/))\*\*/)|(?P<many>\*+)|\[(?P<negated>[!^]?)(?P<members>(?:\\.|[^\]\\])*)\]|(?P<other>.)",
    re.DOTALL,
)
_ESCAPED_MEMBER = re.compile(r"\\(.)|([\\\[\]^&~|])")


def matcher(glob: str) -> re.Pattern[str]:
    r"""The regular expression that a whole name has to match.

    `*` is any text without `/`, `**` any text, `**/` at the start of a part of the path any number of folders (none too), `?` one character but `/`, `[a-z]` one of these, `[!a-z]` none of them,
    `{a,b}` either pattern, and `\\` takes a character as it stands.

    Raises:
        ApiError: 400; a bracket or brace has no partner, or there is nothing between brackets.
    """
    pattern: list[str] = []
    braces: list[int] = []
    for token in _TOKEN.finditer(glob):
        at = token.start()
        if (escaped := token["escaped"]) is not None:
            pattern.append(re.escape(escaped))
        elif token["folders"]:
            pattern.append("(?:.*/)?")
        elif many := token["many"]:
            pattern.append("[^/]*" if many == "*" else ".*")
        elif (members := token["members"]) is not None:
            if not members:
                raise _invalid(f"Glob pattern character class at index {at} must have at least one character in it.")
            members = _ESCAPED_MEMBER.sub(lambda found: re.escape(found[1] or found[2]), members)
            pattern.append(f"(?!/)[{'^' if token['negated'] else ''}{members}]")
        else:
            pattern.append(_other(token["other"], at, braces))
    if braces:
        raise _invalid(
            f"Glob pattern brace expansion opening '{{' at index {braces[-1]} has no closing '}}'. "
            "Use '\\{' to match a literal '{'."
        )
    try:
        return re.compile("".join(pattern), re.DOTALL)
    except re.error as error:
        raise _invalid(f"Glob pattern {glob!r} has a character range that is none: {error}") from error


def _other(character: str, at: int, braces: list[int]) -> str:
    match character:
        case "?":
            return "[^/]"
        case "{":
            braces.append(at)
            return "(?:"
        case "," if braces:
            return "|"
        case "}" if braces:
            braces.pop()
            return ")"
        case "}":
            raise _invalid(
                f"Glob pattern brace expansion closing '}}' at index {at} has no previous opening '{{'. "
                "Use '\\}' to match a literal '}'."
            )
        case "[":
            raise _invalid(
                f"Glob pattern character class has no closing ']' for opening '[' at index {at}. "
                "Either add a closing ']' or use '\\[' to match a literal '['."
            )
        case "]":
            raise _invalid(
                f"Glob pattern had closing character class ']' at index {at} without any previous opening '['. "
                "Either add an opening '[' or use '\\]' to match ']'."
            )
        case _:
            return re.escape(character)


def _invalid(message: str) -> ApiError:
    return ApiError(400, "invalid", message)
