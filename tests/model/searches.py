"""The bounds that are searched: some at every test run, wider ones by `python -m tests.model --deep`."""

from __future__ import annotations

from tests.model.protocol import Bounds

QUICK = {
    "three terms": Bounds(terms_max=3, attempts_max=1, actors_max=3, contents=2),
    "three terms, three files": Bounds(terms_max=3, attempts_max=1, actors_max=3, contents=3),
    "four terms": Bounds(terms_max=4, attempts_max=1, actors_max=4, contents=1, names_max=4),
    "two terms, three attempts": Bounds(terms_max=2, attempts_max=2, actors_max=3, contents=2),
    "two lost replies": Bounds(terms_max=2, attempts_max=1, actors_max=2, contents=2, late_max=2),
    "a lost reply, three attempts": Bounds(terms_max=2, attempts_max=2, actors_max=3, contents=1, late_max=1),
    "renames answered wrongly": Bounds(terms_max=3, attempts_max=1, actors_max=3, contents=2, lying_renames=2),
    "written in place, a lost reply": Bounds(3, 1, 3, contents=2, late_max=1, writes_in_place=True),
}

DEEP = {
    "three terms, four attempts": Bounds(terms_max=3, attempts_max=2, actors_max=4, contents=2),
    "four terms, four names, two files": Bounds(terms_max=4, attempts_max=1, actors_max=4, contents=2, names_max=4),
    "three attempts of one term": Bounds(terms_max=1, attempts_max=3, actors_max=3, contents=2, names_max=4),
    "a lost reply, three attempts, two files": Bounds(2, 2, 3, contents=2, late_max=1),
    "two lost replies, four attempts": Bounds(3, 2, 4, contents=1, late_max=2),
    "all at once": Bounds(2, 2, 3, contents=2, late_max=1, lying_renames=1, writes_in_place=True),
}
