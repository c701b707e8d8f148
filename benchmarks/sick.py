"""What is sick beside what is healthy: batches in hand, a lost one, a network that is out."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from statistics import median
from time import perf_counter
from uuid import uuid4

from benchmarks.reading import Figure, settings
from benchmarks.stage import Stage, Unsound, stage
from config.logging import configure_logging
from db.claims import Claim, claim_due
from db.leases import release
from db.session import transaction
from worker.reading import reader_for
from worker.sync.batch import sync_due

WALLETS = 80_000
HELD = 40_000
CLAIMS = 30
ROUNDS = 9
OUT_SECONDS = 25.0


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Each figure as soon as it is measured."""
    configure_logging("CRITICAL", "console")
    with stage(WALLETS) as scene:
        sync_due("ethereum")  # connections and plans are made, what is learnt is learnt
        tell(f"claims with {HELD:,} wallets in others' hands …")
        yield Figure(f"time of a claim with {HELD:,} wallets held by others ÷ with none", held_ratio(scene), 1.3)
        tell("versions of rows …")
        yield Figure("row versions a wallet and read", versions(scene), 2.0)
        tell("a lost batch …")
        yield Figure(
            f"healthy wallets that {CLAIMS} claims read beside a lost batch ÷ without",
            beside_a_lost_batch(scene),
            0.95,
            "at least",
        )
        tell(f"no endpoint answers for {OUT_SECONDS:.0f} s …")
        yield Figure(f"row updates in {OUT_SECONDS:.0f} s in which no endpoint answers", out(scene), 10)


def claim(limit: int) -> Claim:
    with transaction() as connection:
        found = claim_due(connection, "ethereum", limit=limit, lease=timedelta(hours=1), ahead=timedelta(0))
    if found is None or len(found.wallets) != limit:
        raise Unsound("a claim was not full")
    return found


def give_back(found: Claim) -> None:
    with transaction() as connection:
        release(connection, found.token)


def held_ratio(scene: Stage) -> float:
    """Turn by turn: each claim is handed back, so that all find the same queue."""
    limit = reader_for("ethereum").max_wallets
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for held in (False, True):
            scene.all_due()
            if held:
                for _ in range(-(-HELD // limit)):
                    claim(limit)
            give_back(claim(limit))
            for _ in range(3):
                started = perf_counter()
                found = claim(limit)
                times[held].append(perf_counter() - started)
                give_back(found)
    return median(times[True]) / median(times[False])


EVERY = ("sync_schedule", "balance_cache", "leases", "network_state", "held_changes", "change_rates")


def written(scene: Stage, tables: tuple[str, ...] = EVERY) -> int:
    """Row versions written to tables so far. Our own session has to have told the statistics of them."""
    with transaction() as connection:
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    query = "SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_user_tables WHERE relname = ANY(%s)"
    return int(scene.value(query, list(tables)))


def versions(scene: Stage) -> float:
    scene.all_due()
    limit, batches = reader_for("ethereum").max_wallets, 10
    of_wallets = EVERY[:2]
    before = written(scene, of_wallets)
    for _ in range(batches):
        sync_due("ethereum")
    return (written(scene, of_wallets) - before) / (batches * limit)


def beside_a_lost_batch(scene: Stage) -> float:
    """It has one wallet that failed a dozen times, and its worker never came back."""
    return read_by_claims(scene, lost=True) / read_by_claims(scene, lost=False)


def read_by_claims(scene: Stage, *, lost: bool) -> int:
    limit = reader_for("ethereum").max_wallets
    scene.all_due()
    if lost:
        ids = [wallet.id for wallet in claim(limit).wallets]
        scene.database.execute("UPDATE sync_schedule SET failures = 12 WHERE wallet_id = %s", (ids[0],))
        scene.database.execute("UPDATE leases SET lease_until = now()")
    else:
        ids = []
    began = scene.now()
    for _ in range(CLAIMS):
        sync_due("ethereum")
    return int(
        scene.value("SELECT count(*) FROM balance_cache WHERE last_synced > %s AND wallet_id <> ALL(%s)", began, ids)
    )


def out(scene: Stage) -> int:
    """By a worker that looks again and again: nobody listens where its endpoints are said to be."""
    scene.all_due()
    with settings(ETHEREUM_RPC_URLS=f"http://127.0.0.1:1/{uuid4().hex}"):
        before, end = written(scene), time.monotonic() + OUT_SECONDS
        while time.monotonic() < end:
            sync_due("ethereum")
            time.sleep(0.05)
        return written(scene) - before
