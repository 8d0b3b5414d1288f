"""What was produced against what was taken, and what was left behind. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

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
    beside: tuple[int, ...] = ()
    """Sizes of what else stood in the inbox, hidden or not; noted where files come in batches."""


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
    early: tuple[str, ...]
    """Files of a batch that appeared before all of it stood at the partner, or after its marker."""
    left: Left
    trouble: tuple[str, ...]
    """What else went wrong: not drained, a process outliving its guardian, reports lost by the kernel."""

    @property
    def holds(self) -> bool:
        """Whether every file arrived exactly once, in order, and nothing was left behind."""
        wrong = (self.lost, self.duplicated, self.foreign, self.disordered, self.overwritten, self.early, self.trouble)
        return not any(wrong) and self.left == Left()


def judge(
    produced: Sequence[Produced], took: Sequence[Took], left: Left, trouble: Sequence[str], *, marker: str = ""
) -> Verdict:
    """Compare. With `marker`, the name that ends each batch, look at batches as well."""
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
        early=tuple(_early(produced, arrivals, marker)) if marker else (),
        left=left,
        trouble=(*trouble, *("the kernel lost reports of the inbox" for each in took if each.overflow)),
    )


def _early(produced: Sequence[Produced], arrivals: Sequence[Took], marker: str) -> Iterator[str]:
    """Name the files that appeared while one of their batch neither stood beside them nor had been taken before."""
    batches: list[list[Produced]] = [[]]
    for content in produced:
        batches[-1].append(content)
        if content.name == marker:
            batches.append([])
    batch_of = {content.sha256: batch for batch in batches for content in batch}
    before: set[str] = set()
    for each in arrivals:
        before.add(each.sha256)
        batch = batch_of.get(each.sha256, [])
        beside = Counter(each.beside)
        awaited = [content for content in batch if content.sha256 not in before]
        if each.name == marker and awaited:
            yield f"{each.name} before {_say(awaited[0])}"
        absent = Counter(content.size_bytes for content in awaited) - beside
        if absent:
            without = next(content for content in awaited if content.size_bytes in absent)
            yield f"{_say(next(one for one in batch if one.sha256 == each.sha256))} without {_say(without)}"


def _say(content: Produced) -> str:
    return f"{content.name} #{content.number}"
