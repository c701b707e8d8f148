"""A stage whose blocks are followed: wallets as if they had been read long ago, and a worker that has settled."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from benchmarks.stage import Stage, insert
from config.addresses import account_bytes
from devstack.product import beat, worker
from devstack.servers import Server, wait_for

SWEEP = 21_600.0  # seconds

_KNOWN = "CREATE TEMPORARY TABLE known (wallet_id uuid, network text, account bytea, amount numeric)"
# What a read of each of them would have left behind. They are swept like wallets that were read at any time.
_AS_READ = (
    """
    INSERT INTO balance_cache (wallet_id, usdt_balance, native_balance, block_number, block_time, finality, last_synced,
                               one_block, source)
    SELECT k.wallet_id, amount, amount, t.block_number, t.block_time, t.finality, now(), t.one_block, t.source
      FROM known AS k CROSS JOIN LATERAL (SELECT b.* FROM balance_cache AS b JOIN wallets AS w ON w.id = b.wallet_id
                                           WHERE w.network = k.network ORDER BY b.block_number DESC LIMIT 1) AS t
    """,
    """
    UPDATE sync_schedule AS s
       SET account = k.account, lane = 0, claimed_at = now(), next_sync_at = now() + random() * %s * interval '1 s'
      FROM known AS k WHERE k.wallet_id = s.wallet_id
    """,
    "INSERT INTO watched (wallet_id, network, account) SELECT wallet_id, network, account FROM known",
    "DROP TABLE known",
    "VACUUM ANALYZE wallets, sync_schedule, balance_cache, watched",
)


def add(scene: Stage, each: int, there: int) -> None:
    """So many wallets of each network instead of those that are there, the new ones as if they had been read.

    Reading a million takes a busy machine half an hour. Some must have been read in earnest before.
    """
    if each == there:
        return
    insert(scene.database, each - there, there=there)
    new = "SELECT id, network, address FROM wallets WHERE NOT EXISTS (SELECT FROM balance_cache WHERE wallet_id = id)"
    rows = scene.database.execute(new).fetchall()
    scene.database.execute(_KNOWN)
    with scene.database.cursor() as cursor, cursor.copy("COPY known FROM STDIN") as copy:
        for wallet, network, address in rows:
            account = account_bytes("tron" if network == "tron" else "evm", address)
            copy.write_row((wallet, network, account, int.from_bytes(account)))
    for statement in _AS_READ:
        scene.database.execute(statement, (SWEEP,) if "%s" in statement else None)


@contextmanager
def followed(
    scene: Stage, networks: Sequence[str], wallets: int, more: Mapping[str, str] | None = None
) -> Iterator[tuple[Server, ...]]:
    """Worker and beat at work, all wallets read, and it decided how the networks are kept fresh.

    `more`: settings beside those of the stage.
    """
    env = {**scene.env, **(more or {})}
    with worker(scene.folder, env) as working, beat(scene.folder, env) as ticking:
        running = (working, ticking)
        wait_for(scene.all_read, *running, what="every wallet to be read", seconds=900, pause=1)
        scene.database.execute("UPDATE feed_cursor SET counted_at = NULL, decided_at = NULL")
        wait_for(lambda: decided(scene, networks, wallets), *running, what="a decision", seconds=300, pause=1)
        calm(scene)
        wait_for(lambda: all(map(scene.done, networks)), *running, what="no wallet to be due", seconds=900, pause=1)
        yield running


def decided(scene: Stage, networks: Sequence[str], wallets: int) -> bool:
    """Whether each network is kept fresh as it is right for so many wallets."""
    found = (
        "SELECT count(*) FROM feed_cursor WHERE network = ANY(%s) AND wallets = %s"
        "   AND (policy = 'every_block' OR (policy = 'feed' AND watched_up_to IS NULL))"
    )
    return bool(scene.value(found, list(networks), wallets) == len(networks))


def calm(scene: Stage) -> None:
    """Each wallet is looked for in blocks, and none is due because the feed stood still while nothing ran.

    The next reads would come to that, by the cadence: they are not what is measured.
    """
    scene.database.execute(
        "INSERT INTO watched (wallet_id, network, account) SELECT wallet_id, network, account FROM sync_schedule"
        "  JOIN feed_cursor USING (network) WHERE policy = 'feed' AND account IS NOT NULL ON CONFLICT DO NOTHING"
    )
    scene.database.execute("UPDATE networks SET due_up_to = NULL")
    scene.database.execute("UPDATE feed_cursor SET due_below = NULL")
    scene.database.execute(
        "UPDATE sync_schedule SET next_sync_at = now() + random() * %s * interval '1 s' WHERE wallet_id IN ("
        "SELECT wallet_id FROM sync_schedule AS s JOIN feed_cursor AS f USING (network)"
        " WHERE policy = 'feed' AND s.next_sync_at < now() + interval '20 minutes' FOR UPDATE OF s SKIP LOCKED)",
        (SWEEP,),
    )
