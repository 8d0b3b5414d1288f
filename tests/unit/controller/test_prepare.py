"""From an author's config to the stored one: what is hashed, sealed, made, and above all kept."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from mft.auth import passwords
from mft.cluster.seal import Sealer, generate_key, is_sealed, redact
from mft.controller import home
from mft.controller.custody import decide
from mft.controller.operations import difference
from mft.controller.prepare import prepare
from mft.errors import Conflict, Invalid
from mft.model.config import Config
from mft.model.decode import decode, encode
from tests.unit.model.samples import good

SEALER = Sealer("c", [generate_key()])


def stored(document: dict[str, Any], earlier: Config | None = None) -> Config:
    """Prepare a document, with host keys that are numbered."""
    numbers = itertools.count()
    return prepare(decode(document), earlier or Config(), SEALER, lambda: (f"host key {next(numbers)}",))


def test_nothing_is_stored_in_clear() -> None:
    """Goal: the stored form holds no secret. Method: look for each in its text."""
    config = stored(good())
    assert "horse" not in repr(config)
    assert "s3cret" not in repr(config)
    hashed = config.accounts["alice"].password
    assert hashed is not None
    assert passwords.verify(hashed, "correct horse")
    (key,) = config.services["main"].listener.host_keys
    assert SEALER.open(("services", "main", "listener", "host_keys", 0), key) == "host key 0"


def test_the_same_document_again_changes_not_a_byte() -> None:
    """Goal: an unchanged config makes no version. Method: prepare it twice."""
    first = stored(good())
    assert stored(good(), first) == first


def test_what_was_shown_can_be_applied_again() -> None:
    """Goal: show, edit, apply. Method: apply the redacted and the sealed form, also with overrides."""
    document = good()
    document["nodes"]["n1"]["overrides"]["accounts"] = {"alice": {"password": "another horse"}}
    document["nodes"]["n1"]["overrides"]["locations"] = {"partner": {"password": "another s3cret"}}
    first = stored(document)
    assert stored(encode(redact(first)), first) == first
    assert stored(encode(first), first) == first


def test_a_changed_password_is_hashed_anew_and_a_changed_secret_sealed_anew() -> None:
    """Goal: changes arrive. Method: change both; the rest stays."""
    first = stored(good())
    document = good()
    document["accounts"]["alice"]["password"] = "new horse here"
    document["locations"]["partner"]["password"] = "new"
    second = stored(document, first)
    change = difference(first, second)
    assert change.names == ("~ accounts.alice", "~ locations.partner")
    assert passwords.verify(second.accounts["alice"].password or "", "new horse here")


@pytest.mark.parametrize(
    ("family", "id", "field", "value"),
    [
        ("accounts", "alice", "password", "***"),
        ("accounts", "alice", "password", "$argon2id$broken"),
        ("locations", "partner", "password", "***"),
        ("locations", "partner", "password", Sealer("c", [generate_key()]).seal(("x",), "y")),
        ("locations", "partner", "password", SEALER.seal(("locations", "other", "password"), "y")),
    ],
    ids=["no password yet", "broken hash", "no secret yet", "another cluster's key", "another place"],
)
def test_what_cannot_be_kept_is_a_problem(family: str, id: str, field: str, value: str) -> None:
    """Goal: no placeholder becomes a password. Method: placeholders with nothing to keep, seals of elsewhere."""
    document = good()
    document[family][id][field] = value
    with pytest.raises(Invalid) as caught:
        stored(document)
    assert [problem.path for problem in caught.value.problems] == [f"{family}.{id}.{field}"]


def test_crypt_hashes_are_kept_as_they_are() -> None:
    """Goal: accounts can move here with their passwords. Method: a `$6$` hash."""
    document = good()
    hashed = "$6$saltsalt$" + "a" * 86
    document["accounts"]["alice"]["password"] = hashed
    assert stored(document).accounts["alice"].password == hashed


def test_host_keys_stay_when_the_service_changes() -> None:
    """Goal: no client is alarmed. Method: change the port; then give own keys; then take them away again."""
    first = stored(good())
    document = good()
    document["services"]["main"]["listener"]["port"] = 2299
    second = stored(document, first)
    assert second.services["main"].listener.host_keys == first.services["main"].listener.host_keys
    document["services"]["main"]["listener"]["host_keys"] = ["own key"]
    third = stored(document, second)
    assert third.services["main"].listener.host_keys != first.services["main"].listener.host_keys
    assert all(map(is_sealed, third.services["main"].listener.host_keys))


def test_init_makes_keys_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    """Goal: keys are never overwritten. Method: init twice; load; look at the modes; another cluster."""
    folder = tmp_path / "controller"
    made = home.init(folder, "c")
    assert home.load(folder, "c").pinned == made.pinned
    assert made.token not in repr(made)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    with pytest.raises(Conflict):
        home.init(folder, "c")
    with pytest.raises(Invalid):
        home.load(folder, "d")
    with pytest.raises(Invalid, match="mft-controller init"):
        home.load(tmp_path / "none", "c")


@pytest.mark.parametrize(
    ("etcd", "incarnation", "own", "went_back", "step"),
    [(0, False, 0, False, "begin"), (0, True, 0, False, "none"), (0, False, 3, False, "rebuild"),
     (2, True, 3, False, "rebuild"), (3, True, 3, False, "none"), (4, True, 3, False, "none"),
     (3, False, 3, False, "rebuild"), (3, True, 3, True, "rebuild"), (0, True, 0, True, "rebuild")],
)  # fmt: skip
def test_what_etcd_needs(etcd: int, incarnation: bool, own: int, went_back: bool, step: str) -> None:
    """Goal: rebuilt when it lost something, else left alone. Method: the table."""
    assert decide(etcd, incarnation, own, went_back) == step
