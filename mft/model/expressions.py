r"""Which files an author means: the expressions of `source_filter`, of a name rule's `match` and of a batch's `marker`.

*.csv                 a glob on the name
*.csv|*.txt           several
in/*.csv, **/*.csv    with a slash: on the path under the source folder; `*` stays within a folder, `**/` is any
!*.tmp                all but these
g/*.csv|*.txt/        the same, spelled out
g/*.csv/i             without regard to case
t/*-{date}.csv/       with a date, as it is at a moment: see `dates`
t/*-{date}.csv/-1d    the day before; `-1m` a month, `-1h` an hour, `-2d..0d` each of three days, `/i-1d` with both
m/^[0-9]+_/           a regular expression, looked for anywhere in the path
m/\.csv$/i             without regard to case
e/draft/              all in whose path it is not found

An expression is read once. What it means may depend on the moment, which is therefore an argument wherever it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from functools import lru_cache
from typing import NamedTuple

from mft.model.dates import DATE_PLACEHOLDERS, Moment, Span, dates_of, parse_span
from mft.model.decode import did_you_mean
from mft.model.placeholders import filled, placeholders_of

_LENGTH_MAX = 2000
"""Characters of one expression."""
_FORM = re.compile(r"(?P<kind>[gme])/(?P<pattern>.*)/(?P<flags>i?)", re.DOTALL)
_DATED = re.compile(r"t/(?P<pattern>.*)/(?P<flags>i?)(?P<span>[^/]*)", re.DOTALL)
_WILDCARD = re.compile(r"\*\*/|\*\*+|\*|\?|\[!?\]?[^\]]*\]|[^*?\[]+|\[", re.DOTALL)

_Alternatives = tuple[tuple[re.Pattern[str], bool], ...]
"""Any of them does; each with whether it is on the path, not on the name."""


class _Dates(NamedTuple):
    """What makes the alternatives of an expression with dates."""

    globs: tuple[str, ...]
    flags: int
    span: Span


class Expression:
    """One compiled expression. Made by `compile_expression`."""

    def __init__(
        self,
        alternatives: _Alternatives,
        *,
        excludes: bool = False,
        is_search: bool = False,
        dates: _Dates | None = None,
    ):
        self._alternatives = alternatives
        self._excludes = excludes
        self._is_search = is_search
        self._dates = dates

    @property
    def is_dated(self) -> bool:
        """Whether what it means depends on the moment."""
        return self._dates is not None

    def matches(self, path: str, moment: Moment) -> bool:
        """Say whether the expression means the file at `path`, relative to the source folder, at this moment."""
        return (self._find(path, moment) is None) is self._excludes

    def groups(self, path: str, moment: Moment) -> tuple[str, ...] | None:
        """Give what the wildcards or the groups of the regular expression stand for; None if it does not match.

        Of several alternatives it is the first that matches, of several dates the earliest. What excludes has no
        groups, nor has a date.
        """
        found = self._find(path, moment)
        if self._excludes:
            return () if found is None else None
        return None if found is None else tuple(group or "" for group in found.groups())

    def _find(self, path: str, moment: Moment) -> re.Match[str] | None:
        for pattern, on_path in self._alternatives if self._dates is None else _at(self._dates, moment):
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
    form = _FORM.fullmatch(text)
    if form is not None and form["kind"] == "g":
        _refuse_date(form["pattern"])
        return _globs(form["pattern"], _flags(form))
    if form is not None:
        return Expression(
            ((_regex(form["pattern"], _flags(form)), True),), excludes=form["kind"] == "e", is_search=True
        )
    dated = _DATED.fullmatch(text)
    if dated is not None and (_has_date(dated["pattern"]) or _is_span(dated["span"])):
        return _dated(dated["pattern"], _flags(dated), dated["span"])
    if text.startswith("!"):
        _refuse_forms(text[1:])
    _refuse_date(text)
    return _globs(text, 0)


def _flags(form: re.Match[str]) -> int:
    return re.IGNORECASE if form["flags"] else 0


def _has_date(text: str) -> bool:
    return not DATE_PLACEHOLDERS.isdisjoint(placeholders_of(text))


def _is_span(text: str) -> bool:
    """Say whether this can follow a date. What follows the name of a folder called `t` is as a rule something else."""
    try:
        parse_span(text)
    except ValueError:
        return False
    return True


def _refuse_date(text: str) -> None:
    """Refuse a date where none is put in: no file has such a name."""
    if _has_date(text):
        raise ValueError("a date stands between t/ and a last slash only, as in `t/report-{date}*.csv/`")


def _refuse_forms(text: str) -> None:
    """Refuse one of the forms after a `!`: read as a glob it would mean nearly everything."""
    form = _FORM.fullmatch(text) or _DATED.fullmatch(text)
    if form is None or (text.startswith("t") and not _has_date(form["pattern"])):
        return
    kind, pattern = text[0], form["pattern"]
    if kind in "gt":
        raise ValueError(f"write the ! inside: `{kind}/!{pattern}/`")
    raise ValueError(f"a ! cannot stand before {kind}/; the opposite is `{'e' if kind == 'm' else 'm'}/{pattern}/`")


def _globs(text: str, flags: int) -> Expression:
    excludes, globs = _divided(text)
    return Expression(_compiled(globs, flags), excludes=excludes)


def _dated(text: str, flags: int, span: str) -> Expression:
    excludes, globs = _divided(text)
    names = list(dict.fromkeys(placeholders_of(text)))
    known = sorted(DATE_PLACEHOLDERS)
    unknown = [f"{{{name}}}{did_you_mean(name, known)}" for name in names if name not in DATE_PLACEHOLDERS]
    if unknown:
        raise ValueError(f"there is no placeholder {', no '.join(unknown)}; a date has {', '.join(known)}")
    if not names:
        raise ValueError(f"it names no date, for example {{date}} or {{year}}; without one write `g/{text}/`")
    dates = _Dates(globs, flags, parse_span(span))
    for values in dates_of(Moment(0.0, UTC), Span()):
        _compiled(_filled(globs, values), flags)  # What is wrong with a glob is so at any moment.
    return Expression((), excludes=excludes, dates=dates)


def _divided(text: str) -> tuple[bool, tuple[str, ...]]:
    """Divide globs at each `|`; say also whether they exclude."""
    globs = tuple(text.removeprefix("!").split("|"))
    if not all(globs):
        raise ValueError("expected a glob such as `*.csv`, several with one | between them, or m/REGEX/")
    return text.startswith("!"), globs


@lru_cache(maxsize=256)
def _at(dates: _Dates, moment: Moment) -> _Alternatives:
    """Make the alternatives of a moment. A pass asks for one moment, of each of very many names."""
    filled_in = (glob for values in dates_of(moment, dates.span) for glob in _filled(dates.globs, values))
    # Of three days of one month `{month}` is the same.
    return _compiled(tuple(dict.fromkeys(filled_in)), dates.flags)


def _filled(globs: tuple[str, ...], values: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filled(glob, values) for glob in globs)


def _compiled(globs: tuple[str, ...], flags: int) -> _Alternatives:
    return tuple((_glob(glob, flags), "/" in glob) for glob in globs)


def _regex(pattern: str, flags: int) -> re.Pattern[str]:
    if not pattern:
        raise ValueError("the regular expression is empty")
    try:
        return re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error


def _glob(glob: str, flags: int) -> re.Pattern[str]:
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
    return re.compile(pattern, re.DOTALL | flags)


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
