"""The endpoint while Postgres hangs or is away, and after."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import uvloop
from endpoint import ENV, Endpoint, StartEndpoint, log_lines
from running import await_lock_wait, hung
from tables import Tables

from api.database import UNAVAILABLE, Database, Statement
from config.settings import ApiSettings
from devstack.product import api
from devstack.seed import insert, wallets
from devstack.servers import CAP, Server, postgres, wait_for

PATIENCE = "0.5"
"""API_DATABASE_TIMEOUT, of an endpoint that is to give up."""


@contextmanager
def hung_with_its_backends(server: Server) -> Iterator[None]:
    """Its postmaster makes no new connection, and those that there are say nothing."""
    with hung(server), ExitStack() as backends:
        for backend in psutil.Process(server.process.pid).children():
            backend.suspend()
            backends.callback(backend.resume)
        yield


@pytest.fixture(scope="module")
def own_postgres(servers: Path) -> Iterator[Server]:
    """A migrated database on a server that may hang, with the contract's user."""
    from conftest import migrate

    with postgres(servers / "own") as server:
        migrate(server.url)
        insert(server.url, wallets(0))
        yield server


@pytest.fixture
def hanging(own_postgres: Server, redis_process: Server, tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint over the server that may hang, which soon gives up on it."""
    env = {**ENV, "DATABASE_URL": own_postgres.url, "REDIS_URL": redis_process.url}
    env |= {"API_DATABASE_TIMEOUT": PATIENCE, "REFRESH_DEADLINE": "3"}
    with api(tmp_path, env) as server, psycopg.connect(own_postgres.url, autocommit=True) as connection:
        endpoint = Endpoint(server, Tables(connection), own_postgres.url, redis_process.url)
        endpoint.read_all()
        await_answers(endpoint)
        yield endpoint


def await_answers(endpoint: Endpoint) -> None:
    wait_for(lambda: endpoint.get().status_code == 200, endpoint.server, what="the endpoint to recover")


def test_with_the_database_away_it_says_when_to_come_back_and_recovers(hanging: Endpoint, own_postgres: Server) -> None:
    with hung_with_its_backends(own_postgres):
        response = hanging.get()
        assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
        assert response.headers["Content-Type"] == "application/problem+json"
        assert hanging.get(path="/readyz").status_code == 503
        assert hanging.get(path="/healthz").status_code == 200
    await_answers(hanging)
    wait_for(lambda: hanging.get(path="/readyz").status_code == 200, hanging.server, what="the endpoint to be ready")


def test_a_refresh_is_answered_when_postgres_hangs_while_it_asks(hanging: Endpoint, own_postgres: Server) -> None:
    with psycopg.connect(own_postgres.url) as locking, ThreadPoolExecutor(1) as pool:
        locking.execute("LOCK TABLE sync_schedule IN SHARE MODE")  # it can be read, and nobody can ask
        headers = {**hanging.authorization, "X-Request-ID": "while-it-hangs"}
        asking = pool.submit(hanging.get, "?refresh=true", headers=headers)
        await_lock_wait(hanging.tables.rows, hanging.server, application="balance-sync-api")
        # The answer comes while everything hangs: it is the endpoint's own bounds that bring it.
        with hung_with_its_backends(own_postgres):
            assert asking.result(CAP).status_code == 503
        locking.rollback()
    assert log_lines(hanging, "while-it-hangs", "database_unavailable")
    await_answers(hanging)


@contextmanager
def refused(tables: Tables) -> Iterator[None]:
    """Nobody can connect to the database for the block, and whoever of the endpoint was connected is so no more."""
    allow = "UPDATE pg_database SET datallowconn = %s WHERE datname = current_database()"
    tables.rows(allow, False)
    try:
        tables.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'balance-sync-api%%'"
        )
        yield
    finally:
        tables.rows(allow, True)


def test_an_outage_is_over_for_the_endpoint_when_it_is_over(start_endpoint: StartEndpoint, tables: Tables) -> None:
    with start_endpoint(API_DATABASE_TIMEOUT=PATIENCE) as endpoint:
        endpoint.read_all()
        with refused(tables):
            for _ in range(5):
                assert endpoint.get().status_code == 503
        await_answers(endpoint)


def test_the_first_request_after_an_outage_is_answered_however_long_it_was(database_url: str, tables: Tables) -> None:
    settings = ApiSettings(database_url=database_url, redis_url="redis://h", jwt_secret="s" * 32, api_pool_max=1)
    one = Statement("SELECT 1")

    async def work() -> None:
        database = Database(settings)
        await database.open()
        with refused(tables):
            for _ in range(20):
                with pytest.raises(UNAVAILABLE):
                    await database.rows(one, {}, CAP)
        (row,) = await database.rows(one, {}, CAP)
        assert tuple(row) == (1,)
        await database.close()

    uvloop.run(work())
