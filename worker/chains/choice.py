"""Which endpoint next, with which key, how many wallets a request, how long a rest. Pure: time comes as an argument."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.chains.ways import ApiKey
from worker.errors import ReadFailed

LONGEST_REST = 300.0  # seconds, unless the endpoint itself said more
LONGEST_REST_ALONE = 30.0  # where no other endpoint could be asked instead
STEP = 16  # a learnt size grows by this part of itself


@dataclass(frozen=True, slots=True)
class Rest:
    """Until when an endpoint or a key is left alone (unix seconds), how often in a row it failed, and how last."""

    until: float = 0.0
    strikes: int = 0
    code: str = ""

    @classmethod
    def from_entry(cls, entry: Any) -> "Rest":
        return cls(*entry) if entry else cls()


def to_ask(rests: Sequence[Rest], keys: Sequence[Sequence[Rest]], now: float) -> list[int]:
    """The positions of the endpoints to ask, best first.

    Left out are those that rest, and those of which every key does. `keys` has a list for each endpoint, empty where it
    takes none.
    """
    return [
        at
        for at, (rest, of_keys) in enumerate(zip(rests, keys, strict=True))
        if rest.until <= now and (not of_keys or any(key.until <= now for key in of_keys))
    ]


def key_for(keys: Sequence[ApiKey], rests: Mapping[str, Rest], now: float, turn: int) -> ApiKey | None:
    """The key for the `turn`-th request, by turns out of those that do not rest; None where there is none."""
    awake = [key for key in keys if rests.get(key.id, Rest()).until <= now]
    return awake[turn % len(awake)] if awake else None


def rest_after(failure: ReadFailed, before: Rest, now: float, *, alone: bool) -> Rest:
    """How long to leave alone what failed: as long as it said, or longer with each failure in a row.

    Where no other endpoint could be asked instead (`alone`), it is tried again sooner.
    """
    if failure.retry_after is not None:
        seconds = failure.retry_after
    else:
        growth, longest = (2, LONGEST_REST_ALONE) if alone else (4, LONGEST_REST)
        seconds = min(failure.rest * growth ** min(before.strikes, 16), longest)
    return Rest(now + seconds, before.strikes + 1, failure.code)


def cut(pieces: Iterable[range], size: int) -> list[range]:
    """The same wallets in the same order, in pieces of at most `size`."""
    return [piece[at : at + size] for piece in pieces for at in range(0, len(piece), size)]


def halves(piece: range) -> list[range]:
    return cut([piece], -(-len(piece) // 2))


def most_requests(pieces: int, wallets: int) -> int:
    """How many requests one endpoint may cost for one read: enough to find two wallets that spoil a batch."""
    return pieces + 4 * wallets.bit_length() + 8


def learnt(size: int, most: int, *, read: Iterable[range], failed: Iterable[range], lone: Iterable[range]) -> int:
    """How many wallets to ask for next time, from the pieces that were read and those that were too much.

    A piece that holds a wallet that failed by itself (`lone`) says nothing of sizes, nor does one that is small beside
    what is known to do: a pause of the node's. Any other one that failed was too large: half of the smallest is the
    size from now on. It grows again slowly as long as full pieces succeed.
    """
    spoilt, before = {piece[0] for piece in lone}, size
    for failure in sorted((len(piece) for piece in failed if not spoilt.intersection(piece)), reverse=True):
        if 2 * failure >= size:
            size = max(failure // 2, 1)
    if size < before:
        return size
    if any(len(piece) >= size for piece in read):
        return min(size + max(size // STEP, 1), most)
    return size
