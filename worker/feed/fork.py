"""Where a chain has parted from the blocks that were followed."""

from collections.abc import Callable, Mapping

from worker.feed.blocks import FeedBlock


def newest_common(known: Mapping[int, bytes], newest: int, fetch: Callable[[int], FeedBlock | None]) -> int | None:
    """The number of the newest block that is still the chain's. None: it is older than those that are remembered.

    `known` has the hashes of followed blocks by number, `newest` the highest of them, and `fetch` gives the chain's
    block of a number, or None where it has none. As a rule one block is gone, which takes one block to see; otherwise
    it is found in halves, for below the fork all are known, and above it none is.
    """
    low, high = min(known, default=0), newest
    first = fetch(high)
    if first is not None and known.get(high - 1) == first.parent:
        return high - 1
    lowest = fetch(low) if low in known else None
    if lowest is None or lowest.hash != known[low]:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        block = fetch(middle)
        if block is not None and block.hash == known.get(middle):
            low = middle
        else:
            high = middle
    return low
