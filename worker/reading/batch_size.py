"""How many wallets a request takes: the pieces of a batch, what is left of them, and the size that was learnt. Pure.

A piece is a range of places in the list of a batch's wallets.
"""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from config.families import Strategy
from worker.reading.strategies import requests_of

SINGLY = 5.0  # seconds of a budget that a batch takes where each wallet takes requests of its own
STEP = 16  # a learnt size grows by this part of itself


def most_wallets(strategy: Strategy, most: int, per_second: float, *, pace: float = 0.0, limit: float = inf) -> int:
    """How many wallets a request, or a batch of single ones, takes at the most.

    Singly, what a budget allows in SINGLY seconds, not to keep others waiting for long. And what is read in half of a
    read's `limit`, at a request each `pace` seconds: a batch is to be read whole.
    """
    if strategy != "single":
        return most
    by_budget = per_second * min(SINGLY, limit / 2) if per_second else inf
    by_time = limit / 2 / pace if pace else inf
    requests = min(by_budget, by_time, requests_of(strategy, most))
    return min(max(int((requests - requests_of(strategy, 0)) / 2), 1), most)


def learnt_size(node: str, strategy: str | None, entries: Mapping[str, Any], most: int) -> int:
    """How many wallets a request takes of a node just now, by what the workers have learnt of it."""
    used, *_ = entries.get(f"way:{node}") or (strategy,)
    learnt = entries.get(f"size:{node}") if used == strategy else None  # it was learnt of the strategy used then
    return min(learnt or most, most)


def left_of(pieces: Iterable[range], read: Iterable[range]) -> list[range]:
    """The places of `pieces` that are not in `read`, in order, as ranges."""
    done = {place for piece in read for place in piece}
    left: list[range] = []
    for piece in pieces:
        for place in piece:
            if place in done:
                continue
            if left and left[-1].stop == place != piece.start:
                left[-1] = range(left[-1].start, place + 1)
            else:
                left.append(range(place, place + 1))
    return left


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
