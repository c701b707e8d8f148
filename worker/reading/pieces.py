"""A read's wallets as one node is asked for them: in pieces of a size, halved where one is too much. Pure.

In come the places of wallets, and what became of each piece; out come the next piece, the wallets that fail by
themselves, and the size to begin with next time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.errors import TooMuch
from worker.reading.batch_size import cut, halves, learnt, most_requests

MOST_FAILING_ALONE = 8  # so many wallets failed by themselves, and none was read: it is the node


@dataclass(slots=True)
class Pieces:
    """The pieces that wait, in order, and what is known of those that were asked for."""

    size: int
    waiting: list[range] = field(default_factory=list)
    failing_alone: list[range] = field(default_factory=list)
    """Single wallets that are too much by themselves, and why the last one was."""
    failure_alone: TooMuch | None = None
    _read: list[range] = field(default_factory=list)
    _too_much: list[range] = field(default_factory=list)
    asked: int = 0
    """Reads of pieces that were sent, again ones among them."""
    _most_asked: int = 0

    def take_in(self, pieces: Sequence[range]) -> None:
        """Have these wallets waiting, cut to the size."""
        self.waiting = cut(pieces, self.size)
        self._most_asked = most_requests(len(self.waiting), sum(map(len, self.waiting)))

    def next(self) -> range:
        return self.waiting.pop(0)

    def put_back(self, *pieces: range) -> None:
        """Have these pieces waiting as the next ones."""
        self.waiting = [*(piece for piece in pieces if piece), *self.waiting]

    def read(self, piece: range) -> None:
        self._read.append(piece)

    @property
    def any_read(self) -> bool:
        return bool(self._read)

    def split(self, piece: range, failure: TooMuch) -> TooMuch | None:
        """Have both halves of a piece wait that was too much, until a single wallet is left that fails by itself.

        A failure: it has cost too many requests by now, and is left for later.
        """
        self._too_much.append(piece)
        if len(piece) > 1:
            spent = self.asked > self._most_asked
            self.put_back(*([piece] if spent else halves(piece)))
            return failure if spent else None
        self.failing_alone.append(piece)
        self.failure_alone = failure
        return None

    def one_first(self, piece: range) -> None:
        """A piece is to be read in halves, after its first wallet has been by itself."""
        self._too_much.append(piece)
        self.put_back(piece[:1], *halves(piece[1:]))

    def every_one_fails(self) -> bool:
        return not self._read and len(self.failing_alone) >= MOST_FAILING_ALONE

    def blame_node(self) -> None:
        """It was neither the wallets nor the size: they are to be read elsewhere, or otherwise."""
        self.waiting, self.failing_alone, self._too_much = [*self.failing_alone, *self.waiting], [], []

    def begin_anew(self, size: int) -> None:
        """Those that wait, by another strategy, of whose sizes nothing is known."""
        self.size, self._too_much = size, []
        self.waiting = cut(self.waiting, size)

    def size_next_time(self, most: int) -> int:
        return learnt(self.size, most, read=self._read, failed=self._too_much, lone=self.failing_alone)
