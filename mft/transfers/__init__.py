"""OUTBOUND: what is sent to partners, each file exactly once.

remotes/        the places files come from and go to; table spec → class
delivery.py     one file: upload, intent, rename, done; and the takeover of what another attempt left
bundle.py       many small files at one time, each step of delivery.py for all of them together
context.py      what the deliveries of one run share: places, permit, journal
sending.py      bytes to a temp file; goes on where an attempt of the term was cut off
converting.py   content that becomes another on its way: encodings, line ends
hashing.py      the SHA-256 of what is sent, and places from which sending can go on
checking.py     whether what arrived is what was sent
naming.py       what a file is called at its destination; pure
overwrite.py    what is done where the name is taken; targets.py: two of our own that become one name
folders.py      folders that a path needs
archive.py      where sources are kept after their delivery, and for how long
commands.py     programs (programs.py) and steps at the partner that go with each file
memory.py       what a worker remembers of a transfer from run to run
taking.py       the sources: which are ready, how one is taken, what was taken and is not yet delivered
run.py          one pass over one transfer; runs in an outbound worker
missing.py      which kept sources are gone for certain, so that the ledger may forget them
journal.py      the fenced records in etcd, grouped (journal_writes.py); runs in the agent
record_file.py  what this node has journalled, on its own disk; recall.py: what that says of the present
owners.py       which leader group a transfer's records belong to, while it moves
arrivals.py     how many files came, where some are expected; counting.py: whether that is enough
dispatcher.py   one leader group: campaign, then passes while the term lasts; runs in the agent
schedule.py     when the next pass of a transfer is due; pure
"""
