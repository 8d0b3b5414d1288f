"""OUTBOUND: what is sent to partners, each file exactly once.

remotes/        the places files come from and go to; table spec → class
delivery.py     one file: upload, intent, rename, done; and the takeover of what another attempt left
taking.py       the sources: which are ready, how one is taken, what was taken and is not yet delivered
run.py          one pass over one transfer; runs in an outbound worker
journal.py      the fenced records in etcd, grouped; runs in the agent
owners.py       which leader group a transfer's records belong to, while it moves
dispatcher.py   one leader group: campaign, then passes while the term lasts; runs in the agent
schedule.py     when the next pass of a transfer is due; pure
"""
