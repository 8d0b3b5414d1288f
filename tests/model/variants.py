"""The tempting protocols: each leaves out one rule, and each must be caught, with the harm that it does."""

from __future__ import annotations

from typing import NamedTuple

from tests.model.moves import Kind
from tests.model.protocol import AS_FIRST_DRAWN, RIGHT, Bounds, Protocol

_SOME = Bounds(terms_max=2, attempts_max=2, actors_max=3, contents=2)
_TERMS_ALONE = Bounds(terms_max=3, attempts_max=1, actors_max=3, contents=2)


class Variant(NamedTuple):
    """One tempting protocol, the harm to be found, and why it happens."""

    protocol: Protocol
    kind: Kind
    why: str
    bounds: Bounds = _SOME


VARIANTS = {
    "a leader flag alone": Variant(
        RIGHT._replace(compares_term=False, compares_mod=False, takeover="restart"),
        "double",
        "Nothing is fenced: an ex-leader that wakes goes on where it was.",
        _TERMS_ALONE,
    ),
    "a fenced journal and a deadline check": Variant(
        RIGHT._replace(takeover="restart"),
        "double",
        "The pause is between the last check and the rename. etcd cannot fence the partner.",
        _TERMS_ALONE,
    ),
    "a rename that refuses an existing target": Variant(
        RIGHT._replace(takeover="restart", refuses_existing=True),
        "double",
        "The consumer has taken the first copy away, so the name is free again.",
        _TERMS_ALONE,
    ),
    "steal before journalling the new name": Variant(
        RIGHT._replace(journals_before_stealing=False),
        "lost",
        "The thief dies with a temp file under a name that nobody knows; the next finds all gone.",
        _TERMS_ALONE,
    ),
    "drop the old names before stealing": Variant(
        RIGHT._replace(shortens="before stealing"),
        "lost",
        "The thief dies, and the file stands under a name that the record no longer has.",
        _TERMS_ALONE,
    ),
    "try the newest old name first": Variant(
        RIGHT._replace(oldest_first=False),
        "lost",
        "Between two looks another thief moves the file from a name not yet tried to one already tried.",
        _TERMS_ALONE,
    ),
    "a publish that does not depend on the source": Variant(
        RIGHT._replace(publishes_by_source=False),
        "double",
        "A copy (or an HTTP PUT) succeeds twice; only a rename can succeed once.",
        _TERMS_ALONE,
    ),
    "not taking the source": Variant(
        RIGHT._replace(takes="no"),
        "lost",
        "The producer has reused the name: what is removed was never read.",
        _TERMS_ALONE,
    ),
    "taking to a path made of the name": Variant(
        RIGHT._replace(takes="by name"),
        "lost",
        "The second file of that name replaces the first; a late removal removes the second.",
        _TERMS_ALONE,
    ),
    "the term compared, the mod revision not": Variant(
        RIGHT._replace(compares_mod=False),
        "double",
        "A late `intent` of an earlier attempt in the same term replaces what a later attempt has finished.",
    ),
    "one temp name for all attempts of a term": Variant(
        RIGHT._replace(names_attempts=False),
        "double",
        "An earlier attempt makes the temp file anew after it was renamed to its final name.",
    ),
    "any error counts as gone": Variant(
        RIGHT._replace(only_enoent_is_gone=False),
        "lost",
        "The partner was only unreachable; nothing was published.",
        _TERMS_ALONE,
    ),
    "no look at the source before the rename": Variant(
        AS_FIRST_DRAWN,
        "double",
        "A late `intent` compares `no record`, which is true again after the delivery was forgotten.",
    ),
    "all old names gone, mine not looked at": Variant(
        RIGHT._replace(looks_at_mine=False),
        "lost",
        "The rename to mine was executed and answered `no such file`, so mine holds what is believed published.",
        _TERMS_ALONE._replace(lying_renames=1),
    ),
    "my own temp file gone means not published": Variant(
        RIGHT._replace(when_mine_is_gone="forget"),
        "double",
        "The last rename was executed and answered `no such file`; without a record it is sent again.",
        _TERMS_ALONE._replace(lying_renames=1),
    ),
    "forget before the source is removed": Variant(
        RIGHT._replace(removes_before_forgetting=False),
        "double",
        "A taken source without a record is a new delivery.",
        _TERMS_ALONE,
    ),
    "no second wait for a taken source to be stable": Variant(
        RIGHT._replace(waits_until_stable=False),
        "half written",
        "Between seeing the name stable and renaming it, it was taken and begun anew.",
        _TERMS_ALONE._replace(writes_in_place=True),
    ),
    "taken sources of one name in any order": Variant(
        RIGHT._replace(one_name_at_a_time=False),
        "older last",
        "The newer is published first, then the older: a partner that keeps one file a name keeps the old one.",
        _TERMS_ALONE,
    ),
    "all gone means published, at a partner that sweeps": Variant(
        RIGHT,
        "lost",
        "The temp file was swept, not published. Such a location needs `uncertain`.",
        _TERMS_ALONE._replace(contents=1, partner_sweeps=True),
    ),
    "an intent that is taken back is forgotten": Variant(
        RIGHT._replace(withdraws="by forgetting"),
        "lost",
        "An `intent` that etcd applies late finds `no record` again, and its missing temp file proves a publication.",
        Bounds(terms_max=2, attempts_max=1, actors_max=2, contents=1, late_max=2),
    ),
    "the upload removed before its intent is taken back": Variant(
        RIGHT._replace(withdraws="after removing"),
        "lost",
        "Who comes in between sees an `intent` whose temp file is gone: published.",
        _TERMS_ALONE,
    ),
    "forget what was given up to have it sent again": Variant(
        RIGHT._replace(gives_up=True, withdraws="may", forgets_given_up=True),
        "done unpublished",
        "Its intent was withdrawn before; a late copy of that intent compares `no record`, naming what is removed.",
        Bounds(terms_max=2, attempts_max=1, actors_max=2, contents=1, late_max=1),
    ),
    "resend what is uncertain": Variant(
        RIGHT._replace(on_all_gone="resend"),
        "double",
        "At least once is not exactly once; who sets `resend` wants that.",
        _TERMS_ALONE._replace(contents=1, partner_sweeps=True),
    ),
}
"""Name → what it leaves out and what comes of it."""
