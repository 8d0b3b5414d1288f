"""The delivery protocol, checked exhaustively: every interleaving of everybody's accesses, within bounds.

state.py      the world, one frozen value
protocol.py   the rules, each a field; the bounds of a search
moves.py      what can happen next
checker.py    breadth-first search; the trace of what it finds
variants.py   tempting protocols, each with one rule left out and the harm it does
__main__.py   `python -m tests.model`: counts; `--deep`: wider bounds; `--trace NAME`: a variant's story

**What is modelled.** A *producer* that uses one name again and again, at any moment once its last file was taken; on
demand it writes in place, so that a name stands before its content is whole. *Taking* by rename to
`.mft/<delivery>/<name>`. *Leaders*: several terms, and several attempts in one term, all beginning at any moment,
each a sequence of single accesses to what is shared, with its beliefs in between. Any of them may stop before any
access, for ever or until later: it is just not its turn. An ex-leader notices nothing until the journal refuses it.
The *journal*: transactions that compare the term and the record's mod revision, where a record that was forgotten
compares as new again. The *partner*: temp files, renames, and a *consumer* that takes each file at once, so that a
second publish is a second copy. On demand a partner that sweeps temp files, and renames that are executed but
answered "no such file".

**What needs no move of its own.**
- *A deadline check* gives no safety: whoever is paused right after it has passed it. So there is none.
- *A crash, a killed worker, a lost connection*: the attempt never has its turn again, and another begins.
- *A late operation at the partner* (a rename sent on a connection that is dead since, executed by the server later):
  the old attempt has its turn once more, performs that one rename, and never another. Its successor, in the same term
  or a newer one, knows no more of it than of a paused leader, and the same steal makes the late rename find nothing.
  What makes this hold: no name in an `intent` is ever created again, since a new connection is a new attempt.
- *A lost reply of the partner*: the attempt ends after the effect; the next one begins.
- *A late transaction* of an attempt that has ended: it has its turn once more. Of an attempt that goes on, it is a
  move of its own (`late_max`): the sender reads again, believes what it reads, and the transaction may still be
  applied.
- *Records grouped into one transaction*: applied, they are the single ones without others in between; refused as a
  whole, each of them is as if never sent.
- *The deadline of a lease*: a new term may begin at any moment, so the model is harsher than any lease.

**What must hold**, in every state: no content is published twice; `done` only of what is published; a source is
removed only when its content is published; no rename lands on something that is there; of one name no older content
is published after a newer one; no half-written file is published. And from every state, when all others stop for
ever, one new attempt alone, as a new term or within the present one, gets every file published exactly once and
leaves neither record nor taken source.

**What the search taught, beyond the rules it was given:**
1. `intent` is the first record of a delivery, so it compares "no record", which is true *again* after the delivery
   was forgotten. An attempt of the same term (or a transaction that etcd applies late) can then journal `intent` for
   a delivery long done; its temp file still stands, the next attempt steals and publishes it: a second copy. The
   guard: once `intent` is written, and before the partner is touched, look at the taken source. It is removed only
   after `done`, so gone means published. (Where sources are kept, `intent` must compare the ledger's entry for the
   same reason. A record created as `taken` before the source is opened guards as well, at one more write.)
2. A leader that was paused between seeing a name stable and renaming it takes whatever stands there then: perhaps a
   file still being written. So a taken source, too, is uploaded only once it is stable.
3. Two files of one name can be taken at one time. Finished side by side, the older may replace the newer at the
   partner. So of one name only the oldest is worked on, by the files' own times: ids are older than the renames that
   use them.
4. A rename that was executed may be answered "no such file". So when all old names are gone, look at one's own before
   believing in publication; and when one's own is gone at the last rename, list again, and do not forget.

5. Where an overwrite rule forbids the last rename, the intent is taken back by a record that says so (`withdraws`),
   and only then the upload is removed. Removed first, or with the record forgotten instead, a successor or a late
   `intent` would find no temp file, and believe that it was published.

**Overwrite rules** need no more than that. A rule looks only while the own upload stands under its temp name, so what
it sees under the final name is never the own file, and what was published is recognised before any rule has a say. One
that is *skipped* is `done` without a publication, on purpose: the record then has no name that leads anywhere, and the
upload, which is removed after it, has a name that nobody else uses. *Resuming* an upload renames it to a new temp name
first; it was never in an `intent`, whose attempt has ended in the same process, so it is an upload like any other.

**What is not modelled.** Bytes, sizes and hashes; whether rename is atomic at a given server; folders and their
removal; files that others put at the final name; batches of unlike size; ledgers of kept sources;
the journal's restore from a backup (a term there has another incarnation and is simply newer). A source counts as
gone only by "no such file" on storage that is known to be mounted.

**How a search stays small.** A delivery has one content, so it is named by it. A mod revision that was read is either
that of the record as it stands, or none, or never again. An attempt whose next effect must be refused has ended; a
temp file that no name leads to is litter (`settles` turns the first off, and a test compares). A record comes to hold
at most `names_max` names, since two attempts of a term could otherwise extend in turn for ever.
"""
