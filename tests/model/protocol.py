"""The protocol under check and the tempting ones: every rule that matters is a field that a variant turns off."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Protocol(NamedTuple):
    """Rules of a delivery. The defaults are the right ones; `mft/transfers` follows them."""

    takes: Literal["by id", "by name", "no"] = "by id"
    """A source is renamed to a path that is never used twice; to one made of its name; or stays and goes by name."""
    waits_until_stable: bool = True
    """A taken source is uploaded only when its producer has finished, whoever took it and whenever."""
    one_name_at_a_time: bool = True
    """Of several taken sources of one name the oldest is finished first."""
    compares_term: bool = True
    compares_mod: bool = True
    takeover: Literal["steal", "restart"] = "steal"
    """What is done with an `intent` of somebody else: steal its temp files, or upload again."""
    journals_before_stealing: bool = True
    oldest_first: bool = True
    shortens: Literal["no", "may", "before stealing"] = "no"
    """Whether names may leave a record: the old ones once mine is stolen, mine if the partner refused to rename to it.

    As built only long records are shortened, so that a delivery that is refused for ever does not outgrow the journal.
    """
    withdraws: Literal["no", "may", "by forgetting", "after removing"] = "no"
    """Whether an intent may be taken back, because an overwrite rule forbids the last rename.

    may              journal `taken`, then remove the upload: the record stays until the delivery is done
    by forgetting    remove the record instead
    after removing   remove the upload first
    """
    publishes_by_source: bool = True
    """The last step fails if its temp file is gone. False: it always succeeds, as a copy or an HTTP PUT does."""
    refuses_existing: bool = False
    """The last rename fails if the final name exists; the leader then believes that it was published."""
    names_attempts: bool = True
    """Each attempt has a temp name of its own. False: one per term."""
    only_enoent_is_gone: bool = True
    looks_at_mine: bool = True
    """When all old names are gone, look whether mine is there before believing that it was published."""
    when_mine_is_gone: Literal["list again", "forget"] = "list again"
    """What a leader does whose own temp file is gone at the last rename."""
    guard: Literal["source", "record", "none"] = "source"
    """What stops an `intent` that was created late, after its delivery was done and forgotten.

    source   after `intent` is written and before the partner is touched, look at the taken source: gone → published
    record   the record is created as `taken` before the source is opened, so `intent` never compares "no record"
    """
    removes_before_forgetting: bool = True
    on_all_gone: Literal["done", "hold", "resend"] = "done"
    """What is journalled when no temp file is left: published; or, where the partner sweeps them, `uncertain`."""
    gives_up: bool = False
    """A delivery without an intent may be put into quarantine, which holds back nothing; the operator has it sent."""
    forgets_given_up: bool = False
    """For that the operator removes the record. False: he has `taken` journalled."""


class Bounds(NamedTuple):
    """How much of an endless world is looked at."""

    terms_max: int = 2
    attempts_max: int = 2
    """Attempts that one term begins; earlier ones go on beside it."""
    actors_max: int = 3
    contents: int = 2
    """Files that the producer writes, all under one name."""
    names_max: int = 3
    """Temp names that one record comes to hold. Without it two attempts of a term could extend in turn for ever."""
    late_max: int = 0
    """Transactions whose reply is lost while the sender goes on."""
    writes_in_place: bool = False
    """The producer makes the name first and finishes the content later. False: it renames into place."""
    partner_sweeps: bool = False
    """The partner removes temp files whenever it likes, as a location marked `sweeps_temp` does."""
    lying_renames: int = 0
    """Renames at the partner that were executed and are yet answered "no such file": a request sent twice by NFS, a
    fallback from posix-rename to plain rename after a lost reply."""
    settles: bool = True
    """Join worlds that differ in nothing that matters. Off only to show that this hides nothing."""


RIGHT = Protocol()
"""The protocol as it is built."""

AS_FIRST_DRAWN = RIGHT._replace(guard="none")
"""Without a guard against an `intent` that is created after its delivery was forgotten."""
