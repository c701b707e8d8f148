"""A reader without endpoints, in the place of `worker.reading.ChainReader`: it says at once what a test has set."""

from collections.abc import Callable, Collection, Sequence

import pytest
from environment import forget_settings
from structlog.testing import capture_logs

from config.networks import NetworkName
from config.work_counts import BatchOutcome
from worker.errors import ReadFailed
from worker.reading.contract import Balance, Block, Snapshot
from worker.reading.request import Part
from worker.sync import batch as sync


class Died(BaseException):
    """What a kill leaves: no outcome, and a lease that nobody hands back."""


class FakeReader:
    """Answers for every account, but for those in `deadly`, at which the worker dies; or fails with `failure`.

    Wallets are known by the numbers that `queue_model.address` made their addresses of.
    """

    finality, several, decimals = "solid", False, 6

    def __init__(self, network: NetworkName = "tron", max_wallets: int = 1000) -> None:
        self.network, self.max_wallets = network, max_wallets
        self.deadly: set[int] = set()
        self.failure: Callable[[list[int]], ReadFailed | None] = lambda _numbers: None
        self.closed: ReadFailed | None = None
        """Why no endpoint may be asked."""
        self.while_reading: Callable[[], object] = lambda: None
        self.batches: list[tuple[BatchOutcome, int, bool]] = []
        """What was counted."""
        self.reads: list[list[int]] = []
        """The accounts of each read, by number."""

    def may_read(
        self,
        deadline: float,  # noqa: ARG002
        *,
        refresh: bool = False,  # noqa: ARG002
        wallets: int | None = None,  # noqa: ARG002
    ) -> ReadFailed | None:
        return self.closed

    def expect_decimals(self, decimals: int | None) -> None:
        """It has those that a test wants."""

    def give_back(self) -> None:
        """It has no budget."""

    def count_batch(self, outcome: BatchOutcome, wallets: int, *, lost: bool) -> None:
        self.batches.append((outcome, wallets, lost))

    def count_denied(self, nodes: Collection[str]) -> None:
        """There is nobody who could deny what it says."""

    def read(
        self,
        accounts: Sequence[bytes],
        now: float,
        deadline: float,  # noqa: ARG002  it answers at once
        *,
        avoid: Collection[str] = (),  # noqa: ARG002  there is but one
        refresh: bool = False,  # noqa: ARG002  nor a budget
    ) -> list[Part]:
        numbers = [int.from_bytes(account) for account in accounts]
        if self.deadly & set(numbers):
            raise Died
        self.reads.append(numbers)
        self.while_reading()
        everybody = range(len(numbers))
        if failure := self.failure(numbers):
            return [Part(everybody, failure=failure)]
        balances = tuple(Balance(number + 1, 7) for number in numbers)
        return [Part(everybody, Snapshot(Block(10, int(now)), 1, balances))]

    def read_so_far(self) -> list[int]:
        return [number for numbers in self.reads for number in numbers]


def in_place(reader: FakeReader, monkeypatch: pytest.MonkeyPatch) -> FakeReader:
    """Have batches of any network read by this one, without a pause between them."""
    monkeypatch.setenv(f"{reader.network.upper()}_RPC_URLS", "http://127.0.0.1:1")
    forget_settings()
    monkeypatch.setattr(sync, "reader_for", lambda _network: reader)
    return reader


def sync_times(times: int, network: NetworkName = "tron") -> None:
    """So many messages of a network's queue, without a word."""
    with capture_logs():
        for _ in range(times):
            sync.sync_due(network)
