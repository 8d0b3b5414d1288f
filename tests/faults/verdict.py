"""What was produced against what was taken, and what was left behind. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from tests.faults.producer import Produced


class Took(Struct, frozen=True):
    """What the consumer says of one event: what it took, or that it came too late."""

    name: str = ""
    sha256: str = ""
    size_bytes: int = 0
    at: float = 0.0
    gone: bool = False
    """The kernel reported a file of this name, and it was not there any more."""
    overflow: bool = False
    """The kernel could not report all: nothing can be said."""
    ready: bool = False


class Left(Struct, frozen=True, kw_only=True):
    """What must not be there in the end."""

    inbox: tuple[str, ...] = ()
    outgoing: tuple[str, ...] = ()
    records: tuple[str, ...] = ()


class Verdict(Struct, frozen=True, kw_only=True):
    """What a run came to. All but `delivered` is to be empty."""

    delivered: int
    """Contents that arrived."""
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    foreign: tuple[str, ...]
    """Arrivals whose content nobody produced: incomplete or mixed."""
    disordered: tuple[str, ...]
    """Contents that arrived after a newer one of the same name."""
    overwritten: tuple[str, ...]
    """Names that were given to a file which another replaced before the consumer could take it."""
    left: Left
    trouble: tuple[str, ...]
    """What else went wrong: not drained, a process outliving its guardian, reports lost by the kernel."""

    @property
    def holds(self) -> bool:
        """Whether every file arrived exactly once, in order, and nothing was left behind."""
        wrong = (self.lost, self.duplicated, self.foreign, self.disordered, self.overwritten, self.trouble)
        return not any(wrong) and self.left == Left()


def judge(produced: Sequence[Produced], took: Sequence[Took], left: Left, trouble: Sequence[str]) -> Verdict:
    """Compare."""
    known: Mapping[str, Produced] = {content.sha256: content for content in produced}
    arrivals = [each for each in took if each.sha256]
    counts = Counter(each.sha256 for each in arrivals if each.sha256 in known)
    newest: dict[str, int] = {}
    disordered = []
    for each in arrivals:
        content = known.get(each.sha256)
        if content and counts[each.sha256] == 1:
            if content.number < newest.get(content.name, -1):
                disordered.append(_say(content))
            newest[content.name] = max(content.number, newest.get(content.name, -1))
    foreign = [
        f"{each.name} with {each.size_bytes} bytes"
        for each in arrivals
        if each.sha256 not in known or known[each.sha256].name != each.name
    ]
    return Verdict(
        delivered=len(counts),
        lost=tuple(_say(content) for content in produced if content.sha256 not in counts),
        duplicated=tuple(_say(known[sha256]) for sha256, count in counts.items() if count > 1),
        foreign=tuple(foreign),
        disordered=tuple(disordered),
        overwritten=tuple(each.name for each in took if each.gone),
        left=left,
        trouble=(*trouble, *("the kernel lost reports of the inbox" for each in took if each.overflow)),
    )


def _say(content: Produced) -> str:
    return f"{content.name} #{content.number}"
