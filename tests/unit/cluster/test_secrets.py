"""Sealing, and joining: who can open what."""

from __future__ import annotations

from pathlib import Path

import pytest

from mft.cluster import trust_file
from mft.cluster.joining import accept, admit, load_or_make_key, make_request, read_request
from mft.cluster.keys import Keys
from mft.cluster.seal import Sealer, generate_key, is_sealed, redact
from mft.cluster.sign import SigningKey, Trust, to_text
from mft.cluster.trust_file import Pinned
from mft.errors import Denied, Invalid
from mft.model.config import Config
from mft.model.decode import decode
from mft.model.view import view
from mft.model.walk import rewrite
from tests.unit.model.samples import good

SIGNING = SigningKey.generate()
PINNED = Pinned(
    cluster="c", signing_keys=(to_text(SIGNING.public),), cluster_keys=(to_text(generate_key()),), incarnation="life"
)
PLACE = ("locations", "partner", "password")


def sealed(config: Config, sealer: Sealer) -> Config:
    """Seal every secret."""
    return rewrite(config, "secret", sealer.seal)


def test_a_sealed_text_opens_only_where_it_belongs() -> None:
    """Goal: bound to cluster, place and key. Method: open it elsewhere, and after a change."""
    key = generate_key()
    sealer = Sealer("c", [key])
    text = sealer.seal(PLACE, "secret")
    assert is_sealed(text)
    assert "secret" not in text
    assert sealer.open(PLACE, text) == "secret"
    assert sealer.seal(PLACE, "secret") != text
    for other, place, changed in [
        (Sealer("d", [key]), PLACE, text),
        (sealer, ("locations", "other", "password"), text),
        (Sealer("c", [generate_key()]), PLACE, text),
        (sealer, PLACE, text[:-8] + "AAAAAAA="),
        (sealer, PLACE, "secret"),
        (sealer, PLACE, "sealed:v1:x:"),
    ]:
        with pytest.raises(Invalid) as caught:
            other.open(place, changed)
        assert "secret" not in str(caught.value).replace("sealed", "")


def test_an_older_key_still_opens() -> None:
    """Goal: a new cluster key needs no new config at once. Method: seal with the old, open with both."""
    old, new = generate_key(), generate_key()
    text = Sealer("c", [old]).seal(PLACE, "secret")
    both = Sealer("c", [new, old])
    assert both.open(PLACE, text) == "secret"
    assert both.seal(PLACE, "x").split(":")[2] != text.split(":")[2]


def test_every_secret_of_a_config_is_sealed_and_opened_also_in_overrides() -> None:
    """Goal: no secret by-passes. Method: seal a config with an override, merge it in a view, open, compare."""
    document = good()
    document["nodes"]["n1"]["overrides"]["locations"] = {"partner": {"password": "other secret"}}
    config, sealer = decode(document), Sealer("c", [generate_key()])
    stored = sealed(config, sealer)
    assert "secret" not in repr(stored).replace("'secret'", "")
    assert sealer.open_config(stored) == config
    seen = sealer.open_config(view(stored, "n1", "node")).locations["partner"]
    assert seen.password == "other secret"  # type: ignore[union-attr]


def test_nothing_secret_is_shown() -> None:
    """Goal: show is safe. Method: redact a config with secrets and passwords, also in overrides."""
    document = good()
    document["nodes"]["n1"]["overrides"]["accounts"] = {"alice": {"password": "another horse"}}
    shown = repr(redact(decode(document)))
    assert "horse" not in shown
    assert "s3cret" not in shown
    assert shown.count("'***'") == 3


def test_a_node_gets_the_keys_that_only_it_can_open(tmp_path: Path) -> None:
    """Goal: etcd never holds the cluster's key. Method: the whole exchange; then every way to abuse the answer."""
    key = load_or_make_key(tmp_path)
    request = make_request("n1", key, 1.0)
    answer = admit(read_request(request, "n1"), PINNED, SIGNING, None)
    assert answer is not None
    assert PINNED.cluster_keys[0].encode() not in answer
    assert accept(answer, "n1", "c", key, None) == PINNED
    assert accept(answer, "n1", "c", key, Trust([SIGNING.public])) == PINNED
    assert admit(read_request(request, "n1"), PINNED, SIGNING, answer) is None, "it was answered already"

    other = load_or_make_key(tmp_path / "other")
    with pytest.raises(Denied, match="nodes forget n1"):
        accept(answer, "n1", "c", other, None)
    with pytest.raises(Denied, match="nodes forget n1"):
        admit(read_request(make_request("n1", other, 2.0), "n1"), PINNED, SIGNING, answer)
    for node, cluster, trust in [("n2", "c", None), ("n1", "d", None), ("n1", "c", Trust([b"x" * 32]))]:
        with pytest.raises(Invalid):
            accept(answer, node, cluster, key, trust)
    with pytest.raises(Invalid):
        accept(answer.replace(b'"incarnation":"life"', b'"incarnation":"lofe"'), "n1", "c", key, None)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"name":"n1","public_key":"AA==","time":1}', b"\xff", b"[" * 100_000])
def test_a_request_that_is_none_is_refused(data: bytes) -> None:
    """Goal: anybody may write there. Method: rubbish."""
    with pytest.raises(Invalid):
        read_request(data, "n1")


def test_what_is_pinned_is_kept_for_the_owner_alone(tmp_path: Path) -> None:
    """Goal: 0600, no key in a repr, damage told. Method: save, load, look, damage."""
    assert trust_file.load(tmp_path) is None
    trust_file.save(tmp_path, PINNED)
    assert trust_file.load(tmp_path) == PINNED
    assert (tmp_path / "trust.json").stat().st_mode & 0o777 == 0o600
    assert PINNED.cluster_keys[0] not in repr(PINNED)
    (tmp_path / "trust.json").write_text("{}")
    with pytest.raises(Invalid):
        trust_file.load(tmp_path)


def test_a_trust_file_is_of_one_cluster(tmp_path: Path) -> None:
    """Goal: a wrong file is told. Method: write it for one cluster, read it for two."""
    path = tmp_path / "public.json"
    trust_file.write_trust(path, "c", Trust([SIGNING.public]))
    assert trust_file.load_trust(path, "c").public_keys == (SIGNING.public,)
    with pytest.raises(Invalid, match="cluster 'c'"):
        trust_file.load_trust(path, "d")


def test_names_of_keys() -> None:
    """Goal: the names are final. Method: each against its text; a name with a slash is refused."""
    keys = Keys("c")
    assert keys.version(12) == "/mft/c/config/versions/000000000012"
    assert keys.candidate("default", 0xABC) == "/mft/c/elect/default/abc"
    assert keys.record("t", "d") == "/mft/c/journal/t/d"
    assert keys.join_answer("n") == "/mft/c/join/n/answer"
    for bad in ("", "a/b", "a\n", ".."):
        with pytest.raises(Invalid):
            keys.alive(bad)
