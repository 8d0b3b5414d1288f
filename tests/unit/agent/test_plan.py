"""The reconciler's plan: a pure function of what listens and what is wanted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mft.agent.reconciler import plan
from mft.model.services import ListenerSpec, SftpServiceSpec

ids = st.sampled_from("abcd")
listeners = st.builds(ListenerSpec, port=st.integers(1, 3), algorithms=st.sampled_from(["modern", "legacy"]))
services = st.builds(SftpServiceSpec, listener=listeners, idle_timeout_s=st.sampled_from([10.0, 20.0]))


@given(st.dictionaries(ids, listeners), st.dictionaries(ids, services))
def test_carried_out_it_gives_what_is_wanted(
    running: dict[str, ListenerSpec], wanted: dict[str, SftpServiceSpec]
) -> None:
    """Goal: after it all that is wanted listens, and what is as it should be was left alone. Method: carry it out."""
    changes = plan(running, wanted)
    after = {id: listener for id, listener in running.items() if id not in changes.stop}
    assert not set(changes.start) & set(after)
    after |= {id: wanted[id].listener for id in changes.start}
    assert after == {id: spec.listener for id, spec in wanted.items()}
    for id, listener in running.items():
        if id in wanted and wanted[id].listener == listener:
            assert id not in changes.stop
    assert plan(after, wanted) == ((), ())
