"""Strict decoding: every problem at once, each under the author's path, in the author's terms."""

from __future__ import annotations

from typing import Any

import pytest

from mft.errors import Invalid
from mft.model.decode import decode, encode
from mft.model.document import read
from tests.unit.model.samples import good


def problems_of(document: dict[str, Any]) -> dict[str, str]:
    """Decode and return path → message of all problems."""
    with pytest.raises(Invalid) as caught:
        decode(document)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_a_good_document_decodes_and_encodes_to_itself() -> None:
    """Goal: nothing is lost. Method: decode, encode, compare with the document."""
    assert encode(decode(good())) == good()


def test_every_kind_of_mistake_is_told_at_once() -> None:
    """Goal: the author mends all in one go. Method: one mistake of each kind in one document."""
    document = read("""
        [acounts.x]
        [server]
        nam = "x"
        umask = "999"
        [services.main]
        type = "sftp"
        uploads = "atomc"
        listener = {port = "abc", adress = "1.2.3.4"}
        [services.other]
        type = "ftp"
        [services.third]
        listener = {port = 70000}
        enabled = 1
        [accounts.bob]
        ssh_authorized_keys = ["x", 3]
        [accounts."a.b"]
        home_folder_path = 3
        [nodes.all]
        [transfers]
        t = 5
    """)
    assert problems_of(document) == {
        "acounts": "there is no such family; did you mean accounts?",
        "server.nam": "there is no such field; did you mean name?",
        "server.umask": "expected a text that matches ^0?[0-7]{3}$, got '999'",
        "services.main.uploads": 'expected one of "atomic", "direct", got \'atomc\'',
        "services.main.listener.port": "expected a whole number from 1 to 65535, got 'abc'",
        "services.main.listener.adress": "there is no such field; did you mean address?",
        "services.other.type": "expected \"sftp\", got 'ftp'; did you mean sftp?",
        "services.other.listener": "missing: expected a table",
        "services.third.type": 'missing: expected "sftp"',
        "services.third.listener.port": "expected a whole number from 1 to 65535, got 70000",
        "services.third.enabled": "expected true or false, got 1",
        "accounts.bob.ssh_authorized_keys[1]": "expected a text, got 3",
        "accounts.bob.home_folder_path": "missing: expected a text",
        'accounts."a.b".home_folder_path': "expected a text, got 3",
        "nodes.all": 'no node can have this name: "all" is a word of run_on',
        "transfers.t": "expected a table, got 5",
    }


def test_no_message_repeats_a_secret() -> None:
    """Goal: errors can be pasted anywhere. Method: secrets and passwords of the wrong type."""
    document = good()
    document["locations"]["partner"]["password"] = 987654321
    document["accounts"]["alice"]["password"] = 987654321
    found = problems_of(document)
    assert set(found) == {"locations.partner.password", "accounts.alice.password"}
    assert "987654321" not in str(found)


@pytest.mark.parametrize("run_on", ["all", ["a", "b"], {"labels": {"site": "north"}}])
def test_run_on_has_three_forms(run_on: Any) -> None:
    """Goal: each form decodes. Method: put it into a service."""
    document = good()
    document["services"]["main"]["run_on"] = run_on
    assert encode(decode(document))["services"]["main"].get("run_on", "all") == run_on


@pytest.mark.parametrize("id", ["a/b", "", "a\nb", "x" * 201])
def test_an_id_that_cannot_be_a_key_is_refused(id: str) -> None:
    """Goal: an id fits into paths and keys. Method: ids that do not."""
    document = good()
    document["accounts"][id] = document["accounts"].pop("alice")
    assert len(problems_of(document)) == 1


def test_a_uuid_is_an_id() -> None:
    """Goal: ids from elsewhere can be kept. Method: a UUID."""
    document = good()
    document["accounts"]["0b5b2b0e-8f0a-4c86-9d5a-3d5f0c3c6c11"] = document["accounts"].pop("alice")
    assert decode(document).accounts
