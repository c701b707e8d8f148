"""What a read is to bring, the same for each endpoint that is asked, and what became of its wallets: values."""

from collections.abc import Sequence
from dataclasses import dataclass

from config.settings import Network
from worker.chains.budget import Budget
from worker.chains.snapshot import Block, Expected, Snapshot
from worker.errors import ReadFailed


@dataclass(frozen=True, slots=True)
class Part:
    """What became of some of a read's wallets, `wallets` by their places: one snapshot, or one failure."""

    wallets: range
    snapshot: Snapshot | None = None
    failure: ReadFailed | None = None
    endpoint: str = ""
    endpoint_id: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """What every endpoint's turn at one read has in common. `started` and `deadline` are on the monotonic clock.

    `refresh`: somebody waits for it. `probe`: it only finds out whether an endpoint answers. `mark` is the newest block
    that other processes say they have seen: their word, through Redis.
    """

    network: Network
    token: bytes
    accounts: Sequence[bytes]
    expected: Expected
    started: float
    deadline: float
    request_limit: float
    budget: Budget
    refresh: bool
    alone: bool
    probe: bool = False
    mark: Block | None = None
