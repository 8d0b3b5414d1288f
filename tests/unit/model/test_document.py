"""The author's text: what is said of mistakes in it, and that what is shown can be read again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mft.errors import Invalid
from mft.model.document import path_of, read, to_toml


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"[services.main]\nport = \n", "line 2, column 8"),
        (b'{"accounts": {"bob": }}', "line 1, column 22"),
        (b"a = 1\na = 2\n", "line 2, column 6"),
        (b"a = 1\n\xff\n", "line 2"),
        (b'{"a": 1, "a": 2}', "a"),
        (b'a = "', "end of document"),
        (b'{"a": NaN}', ""),
    ],
)
def test_a_mistake_in_the_text_is_told_with_its_place(text: bytes, place: str) -> None:
    """Goal: the author finds it. Method: one mistake of each kind, the one problem's path is where it stands."""
    with pytest.raises(Invalid) as caught:
        read(text)
    (problem,) = caught.value.problems
    assert problem.path == place


def test_nesting_without_end_is_an_error_and_no_crash() -> None:
    """Goal: hostile input ends in an error. Method: 100,000 opening brackets, in both languages."""
    for text in ("a = " + "[" * 100_000, '{"a":' + "[" * 100_000):
        with pytest.raises(Invalid):
            read(text)


def test_paths_are_written_as_authors_write_them() -> None:
    """Goal: a path can be pasted into the document. Method: plain, quoted and numbered parts."""
    assert path_of("accounts", "a.b", "ssh_authorized_keys", 0) == 'accounts."a.b".ssh_authorized_keys[0]'


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_leaves = st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | _texts
_tables = st.dictionaries(
    _texts,
    st.recursive(
        _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3), max_leaves=8
    ),
    max_size=4,
)


@given(_tables)
def test_what_is_shown_as_toml_reads_back_equal(table: dict[str, Any]) -> None:
    """Goal: show, edit, apply. Method: any table, written and read."""
    assert read(to_toml(table)) == table
