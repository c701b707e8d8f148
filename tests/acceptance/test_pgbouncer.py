"""The whole product through a PgBouncer that lends another connection for each transaction."""

from collections.abc import Callable, Iterator

import pytest
from poolers import real_pgbouncer
from scene import LONG_LEASE, NEVER, Scene

from devstack.product import api
from devstack.servers import CAP

NOTICED = "settings_in_each_transaction"


@pytest.fixture
def pgbouncer(database_url: str) -> Iterator[str]:
    with real_pgbouncer(database_url) as url:
        yield url


def test_wallets_are_read_shown_and_refreshed_through_it(pgbouncer: str, start: Callable[..., Scene]) -> None:
    scene = start(**NEVER, **LONG_LEASE, DATABASE_URL=pgbouncer, REFRESH_DEADLINE=f"{CAP:g}", REFRESH_COOLDOWN="3600")
    scene.await_words(NOTICED)
    with api(scene.folder, scene.env) as served:
        scene.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 day'")
        for _ in range(20):  # more often than it takes until a driver prepares a statement
            response = scene.ask(served)
            assert [entry["is_cached"] for entry in response.json()["balances"]] == [True, True]
        assert response.headers["Balances-Complete"] == "true"
        fresh = scene.ask(served, "?refresh=true").json()
        assert [entry["is_cached"] for entry in fresh["balances"]] == [False, False]
        assert NOTICED in served.log.read_text()
        told = [served.log.read_text(), scene.worker.server.log.read_text(), scene.beat.server.log.read_text()]
    assert not [each for each in told if "Traceback" in each]
    scene.check_balances()
