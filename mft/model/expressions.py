r"""Which files an author means: the expressions of `source_filter`, of a name rule's `match` and of a batch's `marker`.

*.csv                 a glob on the name
*.csv|*.txt           several
in/*.csv, **/*.csv    with a slash: on the path under the source folder; `*` stays within a folder, `**/` is any
!*.tmp                all but these
m/^[0-9]+_/           a regular expression, looked for anywhere in the path
m/\.csv$/i             without regard to case
e/draft/              all in whose path it is not found
"""

from __future__ import annotations

import re
from functools import lru_cache

_LENGTH_MAX = 2000
"""Characters of one expression."""
_REGEX = re.compile(r"(?P<kind>[me])/(?P<pattern>.*)/(?P<flags>i?)", re.DOTALL)
_WILDCARD = re.compile(r"\*\*/|\*\*+|\*|\?|\[!?\]?[^\]]*\]|[^*?\[]+|\[", re.DOTALL)


class Expression:
    """One compiled expression. Made by `compile_expression`."""

    def __init__(self, alternatives: tuple[tuple[re.Pattern[str], bool], ...], *, excludes: bool, is_search: bool):
        self._alternatives = alternatives
        self._excludes = excludes
        self._is_search = is_search

    def matches(self, path: str) -> bool:
        """Say whether the expression means the file at `path`, relative to the source folder."""
        return (self._find(path) is None) is self._excludes

    def groups(self, path: str) -> tuple[str, ...] | None:
        """Give what the wildcards or the groups of the regular expression stand for; None if it does not match.

        Of several alternatives it is the first that matches. What excludes has no groups.
        """
        found = self._find(path)
        if self._excludes:
            return () if found is None else None
        return None if found is None else tuple(group or "" for group in found.groups())

    def _find(self, path: str) -> re.Match[str] | None:
        for pattern, on_path in self._alternatives:
            text = path if on_path else path.rpartition("/")[2]
            if found := pattern.search(text) if self._is_search else pattern.fullmatch(text):
                return found
        return None


@lru_cache(maxsize=1024)
def compile_expression(text: str) -> Expression:
    """Read an expression as its author wrote it.

    Raises:
        ValueError: it cannot be read; the message says why and what to write instead.
    """
    if len(text) > _LENGTH_MAX:
        raise ValueError(f"the expression is too long: {_LENGTH_MAX} characters at most")
    if regex := _REGEX.fullmatch(text):
        pattern = _regex(regex["pattern"], re.IGNORECASE if regex["flags"] else 0)
        return Expression(((pattern, True),), excludes=regex["kind"] == "e", is_search=True)
    excludes = text.startswith("!")
    globs = text.removeprefix("!").split("|")
    if not all(globs):
        raise ValueError("expected a glob such as `*.csv`, several with one | between them, or m/REGEX/")
    alternatives = tuple((_glob(glob), "/" in glob) for glob in globs)
    return Expression(alternatives, excludes=excludes, is_search=False)


def _regex(pattern: str, flags: int) -> re.Pattern[str]:
    if not pattern:
        raise ValueError("the regular expression is empty")
    try:
        return re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error


def _glob(glob: str) -> re.Pattern[str]:
    """Translate one glob; each wildcard becomes a group.

    Where there is no `**`, each `*` takes as little as it can and never gives back: what follows it is found at the
    first place where it can be, and if that place does not do, no later one does. So no name makes it slow.
    """
    parts = _WILDCARD.findall(glob)
    stars = [part for part in parts if part.startswith("*")]
    is_simple = stars == ["*"] * len(stars)
    pattern, is_open = "", False
    for part in parts:
        if part.startswith("*"):
            stars.pop()
            pattern += ")" if is_open else ""
            is_open = is_simple and bool(stars)
            pattern += ("(?>" if is_open else "") + _star(part, is_lazy=bool(stars))
        elif part == "?":
            pattern += "([^/])"
        elif part.startswith("["):
            pattern += f"({_character_class(part)})"
        else:
            pattern += re.escape(part)
    return re.compile(pattern, re.DOTALL)


def _star(part: str, *, is_lazy: bool) -> str:
    lazy = "?" if is_lazy else ""
    if part == "**/":
        return f"((?:[^/]+/)*{lazy})"
    return f"(.*{lazy})" if len(part) > 1 else f"([^/]*{lazy})"


def _character_class(part: str) -> str:
    """Translate `[a-z]` or `[!a-z]`. A slash is never meant."""
    if part == "[":
        raise ValueError("a [ in the glob has no ]; a plain one is written [[]")
    negative, inside = part.startswith("[!"), part[1:-1].removeprefix("!")
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside)
    try:
        return re.compile(f"(?!/)[{'^' if negative else ''}{escaped}]").pattern
    except re.error as error:
        raise ValueError(f"cannot read {part} in the glob: {error}") from error
