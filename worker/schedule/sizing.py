"""What a number of wallets comes to: reads, requests, processes, disk. Pure.

In come a network's wallets, its settings and how lively they are; out comes a `Sizing`. The cadence is asked of the
very rule by which wallets are due (``worker.schedule.cadence``). Costs of processes and of Postgres are those that were
measured (docs/performance.md); on other machines they differ, so that what follows from them is an estimate.
"""

from dataclasses import dataclass
from math import ceil

from worker.schedule.cadence import Policy, due_after_success

DAY = 86_400.0  # seconds
MEAN = 0.5  # of a chance that is evenly spread

WORKER_CPU = 0.02e-3  # seconds of a worker's processor for a wallet
POSTGRES_CPU = 0.1e-3  # and of Postgres', vacuum among it
BATCH_SECONDS = 2.0  # that a process is busy with a batch: the node's answer, a second request at times, and the write
BUSY = 0.7  # the share of its time that a process should be busy at the most
HEADROOM = 2.0  # refreshes and confirmations have half of a budget

# Bytes of the tables and indexes for a wallet once it was read, and of the write-ahead log for a read: without images
# of whole pages, and with them.
DISK_BYTES = 804
WAL_BYTES = (800, 2300)


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a network's wallets come to. `a_day` and `a_second` are requests, `size` the wallets that one covers."""

    wallets: int
    size: int
    reads_a_second: float
    a_second: float
    first_pass_seconds: float | None
    """How long it takes to read every wallet once, at the configured budget; None: there is no bound."""
    processes: int
    worker_cores: float
    postgres_cores: float
    disk_bytes: int
    wal_bytes_a_day: tuple[int, int]

    @property
    def a_day(self) -> float:
        return self.a_second * DAY

    @property
    def a_second_needed(self) -> float:
        """The budget, of all endpoints together, that leaves room for refreshes."""
        return self.a_second * HEADROOM


def sizing(wallets: int, size: int, policy: Policy, *, touches: int, ahead: float, budget: float) -> Sizing:
    """What `wallets` come to. `touches`: how often in a day each changes or is looked at; `ahead`: seconds before their
    time in which wallets may fill a batch up; `budget`: requests a second of all endpoints together, 0 is no bound.
    """
    reads = wallets * reads_a_day(policy, touches) / DAY
    requests = reads / min(size, 1 + reads * ahead)
    return Sizing(
        wallets=wallets,
        size=size,
        reads_a_second=reads,
        a_second=requests,
        first_pass_seconds=ceil(wallets / size) / budget if budget else None,
        processes=max(ceil(max(requests * BATCH_SECONDS, reads * WORKER_CPU) / BUSY), 1),
        worker_cores=reads * WORKER_CPU,
        postgres_cores=reads * POSTGRES_CPU,
        disk_bytes=wallets * DISK_BYTES,
        wal_bytes_a_day=(int(reads * DAY * WAL_BYTES[0]), int(reads * DAY * WAL_BYTES[1])),
    )


def reads_a_day(policy: Policy, touches: int) -> float:
    """How often a wallet is read in a day in which it is touched so many times, evenly spread; 0: it stays quiet."""
    if not touches:
        return DAY / (due_after_success(DAY, -policy.idle * DAY, policy, MEAN) - DAY)
    between = DAY / touches
    now, reads = 0.0, 0
    while now < between and reads < MOST_READS:
        now = due_after_success(now, 0.0, policy, MEAN)
        reads += 1
    return reads * between / now * touches


MOST_READS = 100_000
"""That are gone through one by one: a second's work for a cadence of a second."""
