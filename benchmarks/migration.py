"""The newest migration on tables in use: how long whoever reads and whoever writes waits for it.

The statements beside it are those of the release before, for that is what runs while the schema is changed.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import cache, partial
from random import randrange
from threading import Event
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

import psycopg

from benchmarks.reading import Figure
from benchmarks.stage import FOLDER, Unsound, fresh_folder
from db.rights import OWNER
from devstack.product import environment
from devstack.roles import as_role, make_roles
from devstack.servers import ROOT, postgres
from devstack.stack import alone_in

WALLETS = 1_000_000
BATCH = 500
BEFORE = "0006"
PAUSE = 0.005  # seconds between two statements of one client
REPORT_SECONDS = 5.0
"""For which somebody's transaction goes on reading the tables after the migration has begun to wait for it."""
QUIET_SECONDS = 10.0
CLIENTS = ("a read of the endpoint", "a batch's write", "an insert")
PATIENCE = 2.0
"""Seconds after which the endpoint gives up."""
MINUTE = timedelta(minutes=1)

# As rows that were read some time ago are; without triggers, of which a million would take minutes.
FILL = """
SET session_replication_role = replica;
INSERT INTO wallets (id, user_id, network, address)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n / 5), 32, '0')::uuid,
       CASE WHEN n % 2 = 0 THEN 'ethereum' ELSE 'tron' END, '0x' || lpad(to_hex(n), 40, '0')
  FROM generate_series(1, {wallets}) AS n;
INSERT INTO sync_schedule (wallet_id, network, address, next_sync_at, claimed_at, account)
SELECT id, network, address, now() + random() * interval '1 day', now(), decode(right(address, 40), 'hex') FROM wallets;
INSERT INTO balance_cache SELECT id, 977000000, 10 ^ 18, 60000000, now(), 'latest', now() FROM wallets;
SET session_replication_role = origin;
"""


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Each figure as soon as it is measured. Takes some minutes."""
    with ExitStack() as started:
        started.enter_context(alone_in(FOLDER))
        fresh_folder()
        url = started.enter_context(postgres(FOLDER, shared_buffers="1GB")).url
        make_roles(url)
        migrate(url, BEFORE)
        tell(f"inserting {WALLETS:,} wallets …")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL.replace("{wallets}", str(WALLETS)).encode())
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
        tell("what is usual …")
        quiet = waits(url, partial(Event().wait, QUIET_SECONDS))
        tell("the migration …")
        with ThreadPoolExecutor() as pool:
            reports = Event()
            reported = pool.submit(report, url, reports)
            reports.wait()
            begun = perf_counter()
            during = waits(url, partial(migrate, url, "head"))
            seconds = perf_counter() - begun
            reported.result()
        yield Figure(
            f"seconds that the migration takes, {WALLETS:,} wallets, {REPORT_SECONDS:g} of them behind a report",
            seconds,
        )
        for who, usual, longest in zip(
            ("a read of the endpoint", "a batch's write", "an insert"), quiet, during, strict=True
        ):
            yield Figure(f"longest wait of {who} during it, seconds", longest, 2.0)
            yield Figure(f"the same without it, in {QUIET_SECONDS:g} seconds", usual)


def migrate(url: str, to: str) -> None:
    """Run alembic as an operator does."""
    env = environment({"DATABASE_URL": as_role(url, OWNER)})
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", to], cwd=ROOT, env=env, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise Unsound(done.stderr[-1000:])


def report(url: str, begun: Event) -> None:
    """Somebody else's transaction that reads the tables."""
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
    with psycopg.connect(url) as connection, psycopg.connect(url, autocommit=True) as look:
        connection.execute("SELECT FROM balance_cache, sync_schedule, wallets LIMIT 1")
        begun.set()
        while not look.execute(waiting).fetchall():
            Event().wait(PAUSE)
        Event().wait(REPORT_SECONDS)


def waits(url: str, work: Callable[[], object]) -> list[float]:
    """The longest that each of three clients waited for an answer while something was done."""
    done = Event()
    with ThreadPoolExecutor() as pool:
        clients = [pool.submit(longest, url, ask, done) for ask in (read, write, insert)]
        try:
            work()
        finally:
            done.set()
        return [client.result() for client in clients]


def longest(url: str, ask: "Callable[[psycopg.Connection[Any]], None]", done: Event) -> float:
    """Ask again and again until it is done; the longest time that an answer took."""
    found = 0.0
    with psycopg.connect(url, autocommit=True) as connection:
        while not done.wait(PAUSE):
            begun = perf_counter()
            ask(connection)
            found = max(found, perf_counter() - begun)
    return found


def read(connection: "psycopg.Connection[Any]") -> None:
    """A user's balances, as the endpoint of the release before asks for them."""
    user = UUID(int=randrange(1, WALLETS // 5))  # noqa: S311  no secret
    asked = {"user_id": user, "networks": ["ethereum", "tron"], "tags": [], "deadline": MINUTE, "patience": MINUTE}
    if len(connection.execute(sent("user_balances"), {**asked, "oldest": MINUTE}).fetchall()) != 5:
        raise Unsound("a user has five wallets")


def write(connection: "psycopg.Connection[Any]") -> None:
    """A batch, as a worker of the release before writes it."""
    first = randrange(1, WALLETS - BATCH)  # noqa: S311  no secret
    token, wallets = uuid4(), [UUID(int=first + at) for at in range(BATCH)]
    with connection.transaction():
        connection.execute(
            "INSERT INTO leases (token, lane, network, claimed_at, lease_until, wallet_ids)"
            " VALUES (%s, 2, 'tron', now(), now() + interval '1 minute', %s)",
            [token, wallets],
        )
        due = "SELECT wallet_id, date_part('epoch', next_sync_at) FROM sync_schedule WHERE wallet_id = ANY(%s)"
        rows = connection.execute(due, [wallets]).fetchall()
        each = {"due": 4e9, "failures": 0, "errors": None, "changed": True, "usdt": 1, "native": 1}
        block = {"block_number": 60_000_001, "block_time": 1_795_000_000, "one_block": True, "accounts": None}
        arrays: dict[str, Any] = {name: [value] * len(rows) for name, value in {**each, **block}.items()}
        arrays["ids"], arrays["was_due"] = (list(column) for column in zip(*rows, strict=True))
        whole = {"token": token, "channel": "bench", "finality": "latest"}
        connection.execute(sent("record"), {**arrays, **whole})


def insert(connection: "psycopg.Connection[Any]") -> None:
    """A new wallet."""
    connection.execute(
        "INSERT INTO wallets (user_id, network, address) VALUES (gen_random_uuid(), 'tron', gen_random_uuid()::text)"
    )


@cache
def sent(name: str) -> bytes:
    """A statement of the release before."""
    return (ROOT / "tests" / "previous_release" / f"{name}.sql").read_bytes()
