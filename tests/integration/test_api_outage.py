"""The endpoint while Postgres hangs or is away, and after."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg
from endpoint import ENV, Endpoint, hung
from tables import Tables

from devstack.product import api
from devstack.seed import insert, wallets
from devstack.servers import Server, postgres, wait_for


@contextmanager
def hung_with_its_backends(server: Server) -> Iterator[None]:
    """Its postmaster makes no new connection, and those that there are say nothing."""
    with hung(server), ExitStack() as backends:
        for backend in psutil.Process(server.process.pid).children():
            backend.suspend()
            backends.callback(backend.resume)
        yield


def test_a_refresh_is_answered_in_time_when_postgres_hangs_while_it_asks(
    redis_process: Server, servers: Path, tmp_path: Path
) -> None:
    from conftest import migrate

    with postgres(servers / "hanging") as own:
        migrate(own.url)
        insert(own.url, wallets(0))
        env = {**ENV, "DATABASE_URL": own.url, "REDIS_URL": redis_process.url}
        with (
            api(tmp_path, env) as server,
            psycopg.connect(own.url, autocommit=True) as connection,
            psycopg.connect(own.url) as locking,
            ThreadPoolExecutor(1) as pool,
        ):
            endpoint = Endpoint(server, Tables(connection), redis_process.url)
            endpoint.read_all()
            assert endpoint.get().status_code == 200
            locking.execute("LOCK TABLE sync_schedule IN SHARE MODE")  # it can be read, and nobody can ask
            began = time.monotonic()
            asking = pool.submit(endpoint.get, "?refresh=true")
            waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE '%%api'"
            wait_for(lambda: bool(endpoint.tables.rows(waiting)), server, what="it to ask")
            with hung_with_its_backends(own):
                assert asking.result().status_code == 503
                # Its deadline of 3 s, then 2 s for a connection or 2.5 s for an answer.
                assert time.monotonic() - began < 9
            locking.rollback()
            wait_for(lambda: endpoint.get().status_code == 200, server, what="the endpoint to recover")


def test_an_outage_is_over_for_the_endpoint_when_it_is_over(endpoint: Endpoint) -> None:
    endpoint.read_all()
    allow = "UPDATE pg_database SET datallowconn = %s WHERE datname = current_database()"
    endpoint.tables.rows(allow, False)
    endpoint.tables.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'balance-sync-api%%'"
    )
    began = time.monotonic()
    while time.monotonic() - began < 8:  # pauses of 1, 2, 4, 8 s would be in the last of them
        assert endpoint.get().status_code == 503
    endpoint.tables.rows(allow, True)
    back = time.monotonic()
    wait_for(lambda: endpoint.get().status_code == 200, endpoint.server, what="the endpoint to recover")
    assert time.monotonic() - back < 4
