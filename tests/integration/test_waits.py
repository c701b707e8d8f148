"""Waiting for a read: woken by the transaction that writes it, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from leases import SOON, claim_ids, good, only, write
from structlog.testing import capture_logs
from tables import Tables

from api import listening, waits
from api.database import Database, Statement
from api.listening import APPLICATION_NAME, Listener
from api.waits import Waits
from config.settings import ApiSettings
from db.claims import request_wallets
from db.outcomes import record
from db.requests import CHANNEL
from db.session import transaction
from devstack.servers import CAP

NEVER = 3600.0


class Counting(Waits):
    """Counts how often it has looked."""

    looks = 0

    async def _look(self, wallets: Any) -> None:
        await super()._look(wallets)
        self.looks += 1


@pytest.fixture(autouse=True)
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks again and again: a wait that ends has been woken."""
    monkeypatch.setattr(waits, "LOOK_SECONDS", {True: NEVER, False: NEVER})
    # Nor is anything given up, and begun anew, because the machine is slow.
    monkeypatch.setattr(waits, "STATEMENT_SECONDS", CAP)
    monkeypatch.setattr(listening, "ANSWER_SECONDS", CAP)
    monkeypatch.setattr(listening, "PROOF_SECONDS", NEVER)


@asynccontextmanager
async def waiting(url: str, *, listens: bool = True, hears: bool = False) -> AsyncIterator[tuple[Counting, Listener]]:
    database = Database(ApiSettings(database_url=url, redis_url="redis://h", jwt_secret="s" * 32))
    await database.open()
    made = Counting(database, lambda: hears or listener.hears)
    listener = Listener(url, made.heard)
    running: list[Counting | Listener] = [made, listener] if listens else [made]
    loops = [asyncio.create_task(each.run()) for each in running]
    try:
        if listens:
            await until(lambda: listener.hears)
        yield made, listener
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await database.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(CAP):
        while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0.01)


async def started(made: Counting, wallets: list[UUID], asked_at: datetime) -> "asyncio.Task[None]":
    """A wait that has looked for the first time, in vain."""
    looks = made.looks
    wait = asyncio.create_task(made.until_read(wallets, asked_at))
    await until(lambda: made.looks > looks)
    assert not wait.done()
    return wait


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 2 * CAP))


@pytest.fixture
def wallets(tables: Tables) -> list[UUID]:
    return tables.add("tron", "T0", "T1")


def ask(tables: Tables, *wallets: UUID) -> datetime:
    """Ask for wallets as the endpoint does. Returns the moment."""
    with transaction() as connection:
        assert len(request_wallets(connection, wallets, cooldown=SOON).networks) == len(wallets)
    asked_at: datetime = tables.schedule(wallets[0])["requested_at"]
    return asked_at


def test_a_wait_ends_with_the_transaction_that_writes_the_last_of_its_wallets(
    tables: Tables, database_url: str, wallets: list[UUID]
) -> None:
    async def test() -> None:
        async with waiting(database_url) as (made, _):
            asked_at = ask(tables, *wallets)
            wait = await started(made, wallets, asked_at)
            looks = made.looks
            write(only(claim_ids(wallets[:1])).token, good(wallets[0]))
            await until(lambda: made.looks > looks)
            assert not wait.done()
            write(only(claim_ids(wallets[1:])).token, good(wallets[1]))
            await asyncio.wait_for(wait, CAP)

    run(test())


def test_a_read_that_began_before_the_request_wakes_a_wait_and_does_not_end_it(
    tables: Tables, database_url: str, wallets: list[UUID]
) -> None:
    wallet = wallets[0]

    async def test() -> None:
        async with waiting(database_url) as (made, _):
            early = only(claim_ids([wallet]))
            wait = await started(made, [wallet], ask(tables, wallet))
            looks = made.looks
            assert write(early.token, good(wallet)).asked_again == (wallet,)
            await until(lambda: made.looks > looks)
            assert not wait.done()
            write(only(claim_ids([wallet])).token, good(wallet))
            await wait

    run(test())


def test_what_was_written_before_the_wait_began_is_not_missed(
    tables: Tables, database_url: str, wallets: list[UUID]
) -> None:
    asked_at = ask(tables, wallets[0])
    write(only(claim_ids(wallets[:1])).token, good(wallets[0]))

    async def test() -> None:
        async with waiting(database_url) as (made, _):
            await asyncio.wait_for(made.until_read(wallets[:1], asked_at), CAP)

    run(test())


def test_many_waits_are_looked_after_by_one_statement(tables: Tables, database_url: str, wallets: list[UUID]) -> None:
    async def test() -> None:
        async with waiting(database_url) as (made, _):
            asked_at = ask(tables, *wallets)
            crowd = [asyncio.create_task(made.until_read(wallets, asked_at)) for _ in range(200)]
            await until(lambda: made.looks > 0 and len(made._of) == 2 and not made._wake.is_set())
            looks = made.looks
            found = only(claim_ids(wallets))
            write(found.token, *(good(wallet) for wallet in wallets))
            await asyncio.gather(*crowd)
            assert made.looks - looks <= 2, "one for each wallet that was told of, at the most"
            assert made._of == {}

    run(test())


def test_a_wait_that_is_given_up_leaves_nothing_behind(tables: Tables, database_url: str, wallets: list[UUID]) -> None:
    async def test() -> None:
        async with waiting(database_url) as (made, _):
            asked_at = ask(tables, *wallets)
            gone, stays = await started(made, wallets, asked_at), await started(made, wallets[:1], asked_at)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            assert made._of.keys() == {wallets[0]}
            write(only(claim_ids(wallets)).token, *(good(wallet) for wallet in wallets))
            await stays
            assert made._of == {}

    run(test())


def test_a_connection_that_is_killed_is_made_anew_and_what_was_told_meanwhile_is_looked_for(
    tables: Tables, database_url: str, wallets: list[UUID]
) -> None:
    async def test() -> None:
        async with waiting(database_url) as (made, listener):
            wait = await started(made, wallets[:1], ask(tables, wallets[0]))
            found = only(claim_ids(wallets[:1]))
            # Nobody can connect: the write falls into the time in which nobody listens.
            allow = "UPDATE pg_database SET datallowconn = %s WHERE datname = current_database()"
            tables.rows(allow, False)
            tables.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND"
                " datname = current_database()",
                APPLICATION_NAME,
            )
            await until(lambda: not listener.hears)
            write(found.token, good(wallets[0]))
            tables.rows(allow, True)
            await asyncio.wait_for(wait, CAP)
            assert listener.hears

    run(test())


@pytest.mark.parametrize("hears", [True, False])
def test_a_wait_ends_too_when_nothing_is_heard(
    tables: Tables, database_url: str, wallets: list[UUID], monkeypatch: pytest.MonkeyPatch, *, hears: bool
) -> None:
    monkeypatch.setattr(waits, "LOOK_SECONDS", {hears: 0.05, not hears: NEVER})

    async def test() -> None:
        async with waiting(database_url, listens=False, hears=hears) as (made, _):
            wait = await started(made, wallets, ask(tables, *wallets))
            write(only(claim_ids(wallets[:1])).token, good(wallets[0]))
            tables.rows("DELETE FROM wallets WHERE id = %s", wallets[1])
            await asyncio.wait_for(wait, CAP)

    run(test())


def test_a_database_that_fails_once_ends_no_wait_and_no_looking(
    tables: Tables, database_url: str, wallets: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "LOOK_SECONDS", {True: 0.05, False: 0.05})

    async def test() -> None:
        async with waiting(database_url, listens=False) as (made, _):
            wait = await started(made, wallets[:1], ask(tables, wallets[0]))
            with capture_logs() as logs:
                tables.rows("ALTER TABLE sync_schedule RENAME TO elsewhere")
                await until(lambda: any(line["event"] == "waits_not_looked_after" for line in logs))
                tables.rows("ALTER TABLE elsewhere RENAME TO sync_schedule")
            write(only(claim_ids(wallets[:1])).token, good(wallets[0]))
            await asyncio.wait_for(wait, CAP)

    run(test())


def test_a_connection_that_brings_nothing_is_not_taken_for_one_that_hears(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Behind a pooler it listens on one connection and tells on another.
    monkeypatch.setattr(listening, "_TELL", Statement("SELECT %(channel)s::text, %(text)s::text"))
    monkeypatch.setattr(listening, "PROOF_SECONDS", 0.3)
    monkeypatch.setattr(listening, "PAUSES", (0.01, 0.01))

    async def test() -> None:
        listener = Listener(database_url, lambda _: None)
        with capture_logs() as logs:
            loop = asyncio.create_task(listener.run())
            await until(lambda: sum(line.get("error") == "Deaf" for line in logs) >= 2)
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)
        assert not listener.hears

    run(test())


def told(tables: Tables, connection: "psycopg.Connection[Any]") -> list[str]:
    """What was told on the channel until now."""
    last = uuid4().hex
    tables.rows("SELECT pg_notify(%s, %s)", CHANNEL, last)
    heard: list[str] = []
    for each in connection.notifies(timeout=CAP):
        if each.payload == last:
            return heard
        heard.append(each.payload)
    raise AssertionError("the last word did not come")


def test_only_wallets_that_somebody_may_wait_for_are_told_of_and_only_when_they_are_written(
    tables: Tables, database_url: str
) -> None:
    ids = tables.add("tron", *(f"T{n}" for n in range(4)))
    asked, failed, long_ago, _ = ids
    ask(tables, asked, failed, long_ago)
    tables.rows("UPDATE sync_schedule SET requested_at = now() - interval '1 hour' WHERE wallet_id = %s", long_ago)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"LISTEN {CHANNEL}")
        found = only(claim_ids(ids))
        outcomes = [good(each) for each in ids if each != failed]
        outcomes.append(good(failed)._replace(usdt=None, native=None, failures=1, error="unreachable"))
        dated = [each._replace(block_number=1, block_time=1) for each in outcomes]
        with transaction() as writing:
            assert record(writing, found.token, dated, finality="solid").recorded == 4
            writing.get_transaction().rollback()  # type: ignore[union-attr]
        assert told(tables, connection) == [], "it was rolled back"
        write(found.token, *outcomes)
        assert sorted(told(tables, connection)) == sorted([str(asked), str(failed)])


def test_a_full_batch_that_was_asked_for_is_told_of_wallet_by_wallet(tables: Tables, database_url: str) -> None:
    tables.rows(
        "INSERT INTO wallets (id, user_id, network, address)"
        " SELECT gen_random_uuid(), gen_random_uuid(), 'tron', 'T' || n FROM generate_series(1, 1000) n"
    )
    ids = [row["id"] for row in tables.rows("SELECT id FROM wallets")]
    ask(tables, *ids)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"LISTEN {CHANNEL}")
        write(only(claim_ids(ids)).token, *(good(each) for each in ids))
        assert sorted(told(tables, connection)) == sorted(map(str, ids))
