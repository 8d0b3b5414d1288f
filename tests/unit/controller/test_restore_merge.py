"""What journal and ledgers must say after a restore, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from msgspec import json

from mft.cluster.keys import Keys
from mft.cluster.restore import Gate
from mft.controller.restore_merge import Change, Knowledge
from mft.errors import MftError
from mft.etcd.ops import Delete, Put
from mft.etcd.records import KeyValue
from mft.model.delivery import Kept, LedgerEntry, Record, State, Term
from mft.transfers.recall import Portion
from mft.transfers.record_file import Committed

KEYS = Keys("c")
BEGAN = 1000
"""In which revision the new incarnation began; what etcd holds is older, or was written by the merge."""
K1, K2 = Kept(1, 1.0, 1), Kept(2, 2.0, 2)


def gate(*lives: str, was_revision: int = 1) -> Gate:
    """Make one that stands after these incarnations."""
    return Gate(
        incarnation="new", was=lives[-1], was_revision=was_revision, lives=lives, nodes=("a", "b"), at=0.0, why=""
    )


def opened(revision: int, state: State, *, delivery: str = "d", life: str = "one", kept: Kept | None = None) -> Portion:
    """Post that a node knows this delivery to be open."""
    record = Record(state=state, name="x", kept=kept, node=f"r{revision}")
    return Portion(
        open=(Committed(at=0, term=Term(life, 1), revision=revision, transfer="t", delivery=delivery, record=record),)
    )


def forgot(revision: int, *, delivery: str = "d", life: str = "one") -> Portion:
    """Post that a node has forgotten this delivery, which others may know as open."""
    return Portion(open=(Committed(at=0, term=Term(life, 1), revision=revision, transfer="t", delivery=delivery),))


def delivered(revision: int, kept: Kept, *, delivery: str = "d", life: str = "one") -> Portion:
    """Post that a node knows the kept source `x` to be delivered."""
    return Portion(
        ledger=(
            Committed(
                at=0, term=Term(life, 1), revision=revision, transfer="t", delivery=delivery, path="x", kept=kept
            ),
        )
    )


def stands(revision: int, state: State, *, delivery: str = "d", kept: Kept | None = None) -> KeyValue:
    """Have etcd hold this record."""
    record = Record(state=state, name="x", kept=kept, node=f"r{revision}")
    return key_value(KEYS.record("t", delivery), json.encode(record), revision)


def entry(revision: int, kept: Kept, *, delivery: str = "d") -> KeyValue:
    """Have etcd's ledger hold this of the source `x`."""
    value = json.encode(LedgerEntry(path="x", source=kept, delivery=delivery))
    return key_value(KEYS.ledger_entry("t", "x"), value, revision)


def key_value(key: str, value: bytes, revision: int) -> KeyValue:
    return KeyValue(key=key, value=value, create_revision=revision, mod_revision=revision, version=1, lease=0)


class After:
    """What etcd holds once everything was written, in as many steps as it takes."""

    def __init__(
        self,
        portions: Sequence[Portion],
        there: Sequence[KeyValue] = (),
        left_out: Sequence[str] = (),
        stood: Gate | None = None,
        steps: Sequence[int] = (100,),
    ) -> None:
        """`steps`: how many keys are written before each time it is begun anew."""
        self.values: dict[str, KeyValue] = {kv.key: kv for kv in there}
        self.revision = BEGAN + 1
        for step in (*steps, 100):
            knowledge = Knowledge(KEYS, stood or gate("one"), BEGAN, portions)
            changes = knowledge.changes(self._under(KEYS.journals), self._under(KEYS.ledgers), left_out)
            for change in changes[:step]:
                self._write(change)
        again = Knowledge(KEYS, stood or gate("one"), BEGAN, portions)
        assert again.changes(self._under(KEYS.journals), self._under(KEYS.ledgers), left_out) == []

    def _under(self, prefix: str) -> list[KeyValue]:
        return [kv for key, kv in sorted(self.values.items()) if key.startswith(prefix)]

    def _write(self, change: Change) -> None:
        key = change.operation.key
        seen = self.values.get(key)
        assert change.mod_revision == (seen.mod_revision if seen else 0), "it compares with what was read"
        self.revision += 1
        if isinstance(change.operation, Delete):
            del self.values[key]
        else:
            assert isinstance(change.operation, Put)
            self.values[key] = key_value(key, change.operation.value, self.revision)

    @property
    def records(self) -> Mapping[str, tuple[str, str]]:
        """Delivery → state, and by which entry."""
        prefix = KEYS.journal("t")
        found = {kv.key.removeprefix(prefix): json.decode(kv.value, type=Record) for kv in self._under(prefix)}
        return {delivery: (record.state, record.node) for delivery, record in found.items()}

    @property
    def source(self) -> Kept | None:
        """What the ledger says of `x`."""
        kvs = self._under(KEYS.ledgers)
        return json.decode(kvs[0].value, type=LedgerEntry).source if kvs else None


def test_what_etcd_lost_comes_back() -> None:
    """Goal: an open delivery is open, a delivered source is delivered. Method: an empty etcd."""
    after = After([opened(5, "intent"), delivered(6, K1, delivery="e")])
    assert after.records == {"d": ("intent", "r5")}
    assert after.source == K1


def test_the_newest_counts() -> None:
    """Goal: neither an older entry of another node nor etcd's older record counts. Method: both orders of posting."""
    for posts in ([opened(5, "intent"), opened(7, "done")], [opened(7, "done"), opened(5, "intent")]):
        assert After(posts).records == {"d": ("done", "r7")}
        assert After(posts, [stands(6, "intent")]).records == {"d": ("done", "r7")}
        assert After(posts, [stands(8, "quarantined")]).records == {"d": ("quarantined", "r8")}
    assert After([delivered(5, K1), delivered(7, K2)], [entry(6, K1)]).source == K2
    assert After([delivered(5, K1)], [entry(6, K2)]).source == K2
    assert After([], [stands(6, "intent"), entry(6, K1)]).records == {"d": ("intent", "r6")}


def test_a_later_incarnation_counts_more_than_a_greater_revision() -> None:
    """Goal: revisions are compared in one incarnation only. Method: two of them; etcd's keys of before and since."""
    both = gate("one", "two", was_revision=100)
    posts = [opened(900, "intent", life="one"), opened(150, "done", life="two")]
    assert After(posts, stood=both).records == {"d": ("done", "r150")}
    assert After(posts[:1], [stands(120, "done")], stood=both).records == {"d": ("done", "r120")}, "written in two"
    assert After(posts[:1], [stands(90, "taken")], stood=both).records == {"d": ("intent", "r900")}, "written in one"
    assert After([opened(50, "intent", life="nobody's")], [stands(20, "done")], stood=both).records == {
        "d": ("done", "r20")
    }


def test_an_open_delivery_is_over_if_its_source_was_delivered_since() -> None:
    """Goal: a node that knows only the beginning does not set the ledger back. Method: kept sources, old and new."""
    assert After([opened(5, "intent", kept=K1), delivered(9, K2, delivery="e")]).records == {}
    assert After([opened(5, "intent", kept=K1)], [entry(9, K2, delivery="e")]).records == {}
    assert After([delivered(9, K2, delivery="e")], [stands(5, "intent", kept=K1)]).records == {}
    newer = After([opened(9, "intent", kept=K2), delivered(5, K1, delivery="e")])
    assert newer.records == {"d": ("intent", "r9")}
    assert newer.source == K1
    own = After([opened(9, "done", kept=K1), delivered(9, K1)])
    assert own.records == {"d": ("done", "r9")}


def test_what_another_node_has_finished_is_over() -> None:
    """Goal: who knows the beginning of a delivery alone opens it no more: held ones would block newer files of a name.

    Method: it was forgotten elsewhere, before and after; what stands in etcd alike; without a node that is lost.
    """
    for state in ("taken", "intent", "done", "uncertain", "quarantined"):
        for posts in ([opened(5, state), forgot(7)], [forgot(7), opened(5, state)]):
            assert After(posts).records == {}
            assert After(posts, [stands(6, state)]).records == {}
            assert After(posts, [stands(8, state)]).records == {"d": (state, "r8")}, "sent again"
            assert After(posts, [stands(6, state)], ("c",)).records == {}
        assert After([forgot(5), opened(7, state)]).records == {"d": (state, "r7")}, "sent again"
    assert After([opened(9, "intent"), forgot(3, life="two")], stood=gate("one", "two")).records == {}


@pytest.mark.parametrize("state", ["taken", "intent", "uncertain", "quarantined"])
def test_a_kept_source_is_over_with_its_own_delivery(state: State) -> None:
    """Goal: what a node has begun and another one has finished is not sent again, nor held.

    Method: the ledger's entry of the same delivery, posted and in etcd. `taken` would be sent anew, and `intent` where
    nothing proves that it was published.
    """
    assert After([opened(5, state, kept=K1), delivered(9, K1)]).records == {}
    assert After([opened(5, state, kept=K1)], [entry(9, K1)]).records == {}
    assert After([delivered(9, K1)], [stands(5, state, kept=K1)]).records == {}
    assert After([opened(12, state, kept=K2), delivered(9, K1)]).records == {"d": (state, "r12")}, "begun anew since"


@pytest.mark.parametrize("steps", [(1,), (1, 1), (2, 1), (1, 1, 1, 1)])
def test_begun_anew_it_comes_to_the_same(steps: tuple[int, ...]) -> None:
    """Goal: a controller that dies over it does no harm. Method: break off after a few keys, again and again."""
    posts = [
        opened(600, "intent", delivery="d2", kept=K2),
        delivered(500, K1, delivery="d1"),
        opened(400, "intent", delivery="d0", kept=K1),
        opened(300, "intent", delivery="m"),
    ]
    there = [
        stands(200, "intent", delivery="m"),
        stands(100, "intent", delivery="d0", kept=K1),
        entry(50, K2, delivery="c"),
    ]
    for left_out in ((), ("b",)):
        whole, broken = After(posts, there, left_out), After(posts, there, left_out, steps=steps)
        assert broken.records == whole.records
        assert broken.source == whole.source == K1
        state = "uncertain" if left_out else "intent"
        assert whole.records == {"d2": (state, "r600"), "m": (state, "r300")}


def test_without_the_records_of_a_node_intents_are_uncertain() -> None:
    """Goal: where a name may be missing nobody concludes that a file is published. Method: leave a node out."""
    after = After([opened(5, "intent"), opened(5, "done", delivery="e")], [stands(6, "intent", delivery="f")], ("b",))
    assert after.records == {"d": ("uncertain", "r5"), "e": ("done", "r5"), "f": ("uncertain", "r6")}
    reason = json.decode(after.values[KEYS.record("t", "d")].value, type=Record).reason
    assert "records of b are missing" in reason


def test_what_cannot_be_read_is_not_passed_over() -> None:
    """Goal: a newer program's record stops it. Method: a state that this one does not know."""
    kv = key_value(KEYS.record("t", "d"), b'{"state":"later","name":"x"}', 5)
    with pytest.raises(MftError, match="newer"):
        Knowledge(KEYS, gate("one"), BEGAN, []).changes([kv], [], [])


def forgotten(revision: int) -> Portion:
    """Post that a node knows the ledger to have forgotten the kept source `x`."""
    committed = Committed(at=0, term=Term("one", 1), revision=revision, transfer="t", path="x")
    return Portion(ledger=(committed,))


def test_a_source_that_was_gone_is_forgotten_again() -> None:
    """Goal: a backup does not bring back what would hold up a new file of the name. Method: before and after it."""
    assert After([forgotten(9)], [entry(6, K1)]).source is None
    assert After([forgotten(5)], [entry(6, K1)]).source == K1
    assert After([forgotten(9), delivered(7, K1)], [entry(6, K1)]).source is None
    assert After([forgotten(9), delivered(11, K2)], [entry(6, K1)]).source == K2
    assert After([forgotten(9)]).source is None
    # It says nothing of a delivery that is open.
    assert After([forgotten(9), opened(5, "intent", kept=K2)], [entry(4, K1)]).records == {"d": ("intent", "r5")}
