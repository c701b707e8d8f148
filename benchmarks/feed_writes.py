"""What reads write, those that a block made due beside those that the cadence did."""

from collections.abc import Callable, Iterator
from time import sleep
from typing import Any

from benchmarks.reading import Figure
from benchmarks.stage import Stage, Unsound
from worker.feed.follow import follow
from worker.reading import reader_for
from worker.sync.batch import sync_due

BATCHES = 40
NETWORK = "ethereum"
MOST_WRITES = 2  # row versions for a read; before there was a feed it was as many
MOST_WAL = 800  # bytes for a read

_TOUCH = """
INSERT INTO touches (wallet_id, block_number, network, usdt_change, due_at)
SELECT wallet_id, (SELECT block_number FROM feed_cursor WHERE network = %s), %s, 0, now()
  FROM (SELECT wallet_id FROM sync_schedule WHERE network = %s ORDER BY wallet_id LIMIT %s) AS some
"""
_DUE = """
UPDATE sync_schedule SET next_sync_at = now()
 WHERE wallet_id IN (SELECT wallet_id FROM sync_schedule WHERE network = %s ORDER BY wallet_id LIMIT %s)
"""


def written(scene: Stage) -> Iterator[Figure]:
    """Batches of the same wallets: made due by the schedule, with the feed left, and by touches."""
    scene.touch(**{NETWORK: (0, 0)})
    wallets = BATCHES * reader_for(NETWORK).max_wallets

    def by_cadence() -> None:
        scene.database.execute(_DUE, (NETWORK, wallets))

    def by_touches() -> None:
        caught_up(scene)
        scene.database.execute(_TOUCH, (NETWORK, NETWORK, NETWORK, wallets))

    for name, policy, make_due in (("the cadence", "cadence", by_cadence), ("touches", "feed", by_touches)):
        scene.database.execute("DELETE FROM touches")
        scene.database.execute("DELETE FROM leases")
        scene.database.execute("UPDATE sync_schedule SET next_sync_at = now() + interval '1 day'")
        scene.database.execute("VACUUM sync_schedule, balance_cache, touches")
        # Decided for a day: what is measured is this policy.
        kept = "UPDATE feed_cursor SET policy = %s, decided_at = now(), counted_at = now() WHERE network = %s"
        scene.database.execute(kept, (policy, NETWORK))
        writes, wal = a_read(scene, wallets, make_due)
        yield Figure(f"writes to sync_schedule per read, by {name}", writes, MOST_WRITES)
        yield Figure(f"bytes of the write-ahead log per read, by {name}", wal, MOST_WAL)


def caught_up(scene: Stage) -> None:
    """The feed is at the newest block, so that reads are not ahead of it."""
    for _ in range(20):
        follow(NETWORK)
        if scene.value("SELECT next_at > now() FROM feed_cursor WHERE network = %s", NETWORK):
            return
    raise Unsound(f"{NETWORK} is not followed up to its newest block")


def a_read(scene: Stage, wallets: int, make_due: Callable[[], None]) -> tuple[float, float]:
    """Row versions of `sync_schedule` and bytes of the log that a read of so many wallets costs, once they are due."""
    read = "SELECT count(*) FROM sync_schedule WHERE network = %s AND claimed_at >= %s"
    counted = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'sync_schedule'"
    logged = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
    make_due()
    before, log, began = flushed(scene, counted), scene.value(logged), scene.now()
    for _ in range(BATCHES):
        sync_due(NETWORK)
    log = scene.value(logged) - log
    reads = scene.value(read, NETWORK, began)
    if reads < wallets * 0.99:
        raise Unsound(f"{reads} of {wallets} wallets were read")
    return (flushed(scene, counted) - before) / reads, float(log) / reads


def flushed(scene: Stage, query: Any) -> int:
    """A count of Postgres' statistics, once its processes have told what they did."""
    scene.database.execute("SELECT pg_stat_force_next_flush()")
    sleep(2)
    return int(scene.value(query))
