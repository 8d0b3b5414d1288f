"""The catalogue is sound, and the manual's page is the catalogue's."""

from __future__ import annotations

from pathlib import Path

from mft.events import catalogue
from mft.events.catalogue import CATALOGUE, text_of
from mft.events.manual import page

MANUAL = Path(__file__).parents[3] / "docs" / "events.md"


def test_manual_is_made_from_the_catalogue() -> None:
    """Goal: the manual never lags. Method: make the page anew and compare."""
    assert MANUAL.read_text() == page(), "run: python -m mft.events.manual > docs/events.md"


def test_every_number_has_an_entry_and_a_name_of_its_own() -> None:
    """Goal: no event fails for want of an entry, none is taken for another. Method: compare constants and entries."""
    numbers = [value for name, value in vars(catalogue).items() if name.isupper() and isinstance(value, int)]
    assert sorted(numbers) == sorted(CATALOGUE)
    assert len({entry.name for entry in CATALOGUE.values()}) == len(CATALOGUE)


def test_constants_and_names_agree() -> None:
    """Goal: who greps for one finds the other. Method: derive one from the other."""
    for name, value in vars(catalogue).items():
        if name.isupper() and isinstance(value, int):
            assert CATALOGUE[value].name == name.lower().replace("_", "-")


def test_a_missing_field_does_not_lose_the_event() -> None:
    """Goal: an incomplete event is better than none. Method: write a sentence with no fields."""
    assert text_of(catalogue.FILE_DELIVERED, {}) == "Transfer ?: ? delivered, ? bytes."
    assert CATALOGUE[catalogue.FILE_DELIVERED].fields == ("transfer", "path", "size_bytes")
