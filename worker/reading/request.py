"""What a read is to bring, the same for each node that is asked, and what became of its wallets: values."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from worker.errors import OverBudget, ReadFailed
from worker.reading.batch_size import cut, left_of
from worker.reading.budget import Budget, latest_slot
from worker.reading.contract import Block, Snapshot
from worker.reading.plausibility import Expected


@dataclass(frozen=True, slots=True)
class Part:
    """What became of some of a read's wallets, `wallets` by their places: one snapshot, or one failure."""

    wallets: range
    snapshot: Snapshot | None = None
    failure: ReadFailed | None = None
    node_name: str = ""
    node_id: str = ""


@dataclass(slots=True)
class Failures:
    """Why wallets were not read: by the node that failed them by themselves, else by the last one that was asked."""

    _own: dict[int, Part] = field(default_factory=dict)
    _last: Part | None = None

    def note(self, of_node: Part, failing_alone: Sequence[range], failure_alone: ReadFailed | None) -> None:
        """A node's failure, if it has one, and that of the wallets that failed there by themselves."""
        for piece in failing_alone:
            self._own.setdefault(piece[0], replace(of_node, wallets=piece, failure=failure_alone))
        # What only waits for our budget is read as soon as that has room, whatever ails the other nodes.
        if of_node.failure and not (self._last and isinstance(self._last.failure, OverBudget)):
            self._last = of_node

    def parts(self, unread: Sequence[range], none_was_asked: ReadFailed) -> list[Part]:
        own = [self._own[piece[0]] for piece in cut(unread, 1) if piece[0] in self._own]
        others = left_of(unread, [part.wallets for part in own])
        last = self._last or Part(range(0), failure=none_was_asked)
        return [*own, *(replace(last, wallets=piece) for piece in others)]


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What every node's attempt at one read has in common. `started` and `deadline` are on the monotonic clock.

    `refresh`: somebody waits for it. `alone`: there is no other node. `probe`: it only finds out whether a node
    answers, and `any_time`: with a block of whatever time, for the database's time is not known yet. `mark` is the
    newest block that other processes say they have seen: their word, through Redis.
    """

    accounts: Sequence[bytes]
    expected: Expected
    started: float
    deadline: float
    request_limit: float
    budget: Budget
    refresh: bool
    alone: bool
    probe: bool = False
    any_time: bool = False
    mark: Block | None = None

    def latest_slot(self, pace: float) -> float:
        """By when a request's slot in the budget has to come, where answers take `pace` seconds."""
        return latest_slot(self.deadline, pace, self.request_limit)
