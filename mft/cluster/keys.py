"""The names of all keys that the cluster has in etcd, in one place (ARCHITECTURE §5). ° marks keys on a lease.

/mft/<cluster>/
    meta/incarnation                    random id of this store's life; changes with every restore or rebuild
    meta/restore                        while nobody may lead, because nodes have not posted their records yet: which
    marks/<kind>/<name>                 how often this process has marked the store: a lower number than it knows proves
                                        that etcd has gone back in time
    restore/noticed                     who has found that, before a controller has
    restore/posted/<node>               this node has posted its records
    restore/without/<node>              an operator says to go on without them
    records/<node>/<n>                  the records
    config/current                      pointer {stable, next, to}
    config/sweep                        put by the sweeper, compared by every apply
    config/versions/<N, 12 digits>      signed manifest
    config/chunks/<sha256>              one bucket of components
    nodes/<name>/alive °                who is there
    nodes/<name>/ack                    which version it runs, and why not the newest
    controllers/<name> °                which controllers run
    elect/<leader group>/<lease> °      candidates
    probe/<leader group>/ask °          a leader asks who reaches its partners
    probe/<leader group>/answers/<node> °   who reaches which
    probe/<leader group>/last °         why a leader gave way, for as long as it is not to happen again
    journal/<transfer>/<delivery>       deliveries on their way
    owners/<transfer>                   leader group whose records these are
    ledger/<transfer>/<hash of path>    files already delivered from flows that keep their source
    steer/<transfer>                    paused or resumed by an operator: by whom, since when, why
    schedule/<transfer>                 the last slot of its cron that was started, and since when files are counted
    arrivals/<transfer>                 files ever delivered, where some are expected
    join/<node>/request, …/answer       how a node gets the cluster's keys
    bans/<address> °  limits/<account>/<node> °
"""

from __future__ import annotations

import hashlib

from mft.errors import Invalid, Problem

NAME_CHARACTERS_MAX = 200


class Keys:
    """Names the keys of one cluster. Each name is a str; those that end in `/` are prefixes."""

    def __init__(self, cluster: str) -> None:
        self.cluster = part(cluster, "the cluster's name")
        self.prefix = f"/mft/{cluster}/"
        self.incarnation = f"{self.prefix}meta/incarnation"
        self.meta = f"{self.prefix}meta/"
        self.restore = f"{self.prefix}meta/restore"
        self.restores = f"{self.prefix}restore/"
        self.restore_noticed = f"{self.restores}noticed"
        self.restore_posts = f"{self.restores}posted/"
        self.restore_without = f"{self.restores}without/"
        self.posted_records = f"{self.prefix}records/"
        self.current = f"{self.prefix}config/current"
        self.sweep = f"{self.prefix}config/sweep"
        self.versions = f"{self.prefix}config/versions/"
        self.chunks = f"{self.prefix}config/chunks/"
        self.nodes = f"{self.prefix}nodes/"
        self.controllers = f"{self.prefix}controllers/"
        self.elections = f"{self.prefix}elect/"
        self.probes = f"{self.prefix}probe/"
        self.journals = f"{self.prefix}journal/"
        self.ledgers = f"{self.prefix}ledger/"
        self.owners = f"{self.prefix}owners/"
        self.steers = f"{self.prefix}steer/"
        self.schedules = f"{self.prefix}schedule/"
        self.arrivals = f"{self.prefix}arrivals/"
        self.joins = f"{self.prefix}join/"
        self.bans = f"{self.prefix}bans/"
        self.limits = f"{self.prefix}limits/"

    def mark(self, kind: str, name: str) -> str:
        """Name the key in which a process counts how often it has marked the store; `kind`: `node`, `controller`."""
        return f"{self.prefix}marks/{kind}/{part(name)}"

    def restore_posted(self, node: str) -> str:
        """Name the key that says that this instance has posted its records."""
        return f"{self.restore_posts}{part(node)}"

    def restore_left_out(self, node: str) -> str:
        """Name the key that says that an operator goes on without this instance's records."""
        return f"{self.restore_without}{part(node)}"

    def posted_record(self, node: str, number: int) -> str:
        """Name one portion of the records that an instance has posted."""
        return f"{self.posted_records}{part(node)}/{number:06d}"

    def version(self, number: int) -> str:
        """Name a version's manifest. Twelve digits, so that the keys sort as the numbers do."""
        return f"{self.versions}{number:012d}"

    def chunk(self, sha256: str) -> str:
        """Name a chunk by its hash."""
        return f"{self.chunks}{sha256}"

    def alive(self, node: str) -> str:
        """Name the leased key that says that this instance is there."""
        return f"{self.nodes}{part(node)}/alive"

    def ack(self, node: str) -> str:
        """Name the key in which this instance says which version it runs."""
        return f"{self.nodes}{part(node)}/ack"

    def controller(self, name: str) -> str:
        """Name the leased key of one controller."""
        return f"{self.controllers}{part(name)}"

    def election(self, leader_group: str) -> str:
        """Name the prefix under which the candidates of a leader group stand."""
        return f"{self.elections}{part(leader_group)}/"

    def candidate(self, leader_group: str, lease: int) -> str:
        """Name one candidate's key: the lease in hexadecimal, as etcd's own recipe does."""
        return f"{self.election(leader_group)}{lease:x}"

    def probe(self, leader_group: str) -> str:
        """Name the prefix of what candidates of a leader group ask each other about its partners."""
        return f"{self.probes}{part(leader_group)}/"

    def probe_ask(self, leader_group: str) -> str:
        """Name the leased key in which a leader asks who reaches the partners."""
        return f"{self.probe(leader_group)}ask"

    def probe_answers(self, leader_group: str) -> str:
        """Name the prefix of the answers."""
        return f"{self.probe(leader_group)}answers/"

    def probe_answer(self, leader_group: str, node: str) -> str:
        """Name the leased key in which one candidate answers."""
        return f"{self.probe_answers(leader_group)}{part(node)}"

    def probe_last(self, leader_group: str) -> str:
        """Name the key that says why a leader gave way; its lease ends when that may happen again."""
        return f"{self.probe(leader_group)}last"

    def journal(self, transfer: str) -> str:
        """Name the prefix of a transfer's records."""
        return f"{self.journals}{part(transfer)}/"

    def record(self, transfer: str, delivery: str) -> str:
        """Name one delivery's record in the journal."""
        return f"{self.journal(transfer)}{part(delivery)}"

    def delivery_of(self, record: str) -> tuple[str, str]:
        """Give transfer and delivery of a record's key."""
        transfer, _, delivery = record.removeprefix(self.journals).partition("/")
        return transfer, delivery

    def owner(self, transfer: str) -> str:
        """Name the key that says which leader group a transfer's records belong to."""
        return f"{self.owners}{part(transfer)}"

    def ledger(self, transfer: str) -> str:
        """Name the prefix of a transfer's ledger."""
        return f"{self.ledgers}{part(transfer)}/"

    def ledger_entry(self, transfer: str, path: str) -> str:
        """Name the ledger's entry for one source; by a hash, because a path may be longer than a key should be."""
        return f"{self.ledger(transfer)}{hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"

    def transfer_of(self, ledger_entry: str) -> str:
        """Give the transfer of an entry's key in a ledger."""
        return ledger_entry.removeprefix(self.ledgers).partition("/")[0]

    def steer(self, transfer: str) -> str:
        """Name the key that says that an operator has paused a transfer."""
        return f"{self.steers}{part(transfer)}"

    def schedule(self, transfer: str) -> str:
        """Name the key that says how far a transfer's schedule is."""
        return f"{self.schedules}{part(transfer)}"

    def arrived(self, transfer: str) -> str:
        """Name the key that says how many files of a transfer were delivered."""
        return f"{self.arrivals}{part(transfer)}"

    def join_request(self, node: str) -> str:
        """Name the key in which a node asks for the cluster's keys."""
        return f"{self.joins}{part(node)}/request"

    def join_answer(self, node: str) -> str:
        """Name the key in which the controller answers."""
        return f"{self.joins}{part(node)}/answer"


def part(name: str, what: str = "a name") -> str:
    """Return the name if it can stand between two slashes of a key, else raise `Invalid`."""
    if not name or "/" in name or not name.isprintable() or len(name) > NAME_CHARACTERS_MAX or name in {".", ".."}:
        raise Invalid(
            f"{what} cannot be {name[:40]!r}",
            (Problem("", f"expected 1 to {NAME_CHARACTERS_MAX} printable characters without a slash"),),
            code="MFT-CONFIG-1005",
        )
    return name
