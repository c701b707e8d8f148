"""Worker, beat and endpoint over a Redis that speaks TLS alone: one that wants certificates of its clients, and a pair
behind Sentinels that fails over.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from authorities import Authority
from forwarding import Forwarder, port_of
from redis_clients import redis_with_tls
from sentinels import watched
from tables import Tables
from terminal import celery

from devstack.product import product, token
from devstack.seed import fund, insert, wallets
from devstack.servers import CAP, HOST, redis_server, wait_for
from devstack.stack import LocalChain, settings

TROUBLE = ("CERTIFICATE_VERIFY_FAILED", "hunter2")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def demanding(tmp_path: Path, authority: Authority) -> Iterator[str]:
    """The URL of a Redis that asks its clients for certificates."""
    certificate, key = authority.issue("balance-sync")
    with (
        redis_server(tmp_path) as server,
        Forwarder(port_of(server), authority.server(HOST, of_clients=authority)) as forwarder,
    ):
        own = f"ssl_ca_certs={authority.file}&ssl_certfile={certificate}&ssl_keyfile={key}"
        yield f"rediss://{HOST}:{forwarder.port}/0?{own}"


@pytest.fixture
def chains(ethereum: LocalChain, tron: LocalChain) -> tuple[LocalChain, LocalChain]:
    return ethereum, tron


@pytest.mark.parametrize("kind", ["one that wants certificates", "Sentinels"])
def test_a_refresh_is_read_over_tls(
    kind: str,
    request: pytest.FixtureRequest,
    database_url: str,
    tables: Tables,
    chains: tuple[LocalChain, LocalChain],
) -> None:
    ethereum, tron = chains
    tmp_path: Path = request.getfixturevalue("tmp_path")
    seeded = wallets(2)
    for chain, network in ((ethereum, "ethereum"), (tron, "tron")):
        fund(chain, [wallet for wallet in seeded if wallet.network == network])
    insert(database_url, seeded)

    def works(url: str, fail_over: object = None) -> None:
        env = settings(database_url, url, ethereum, tron)
        env |= {"REFRESH_DEADLINE": str(CAP), "REFRESH_COOLDOWN": "0.1"}
        with product(tmp_path / "product", env) as made:

            def refreshed() -> bool:
                answer = requests.get(
                    f"{made.api.url}/api/v1/auth/balances/user/{seeded[0].user_id}?refresh=true",
                    headers={"Authorization": f"Bearer {token(env, seeded[0].user_id)}"},
                    timeout=CAP,
                )
                return [each["is_cached"] for each in answer.json()["balances"]] == [False, False]

            wait_for(
                lambda: len(tables.rows("SELECT FROM balance_cache")) == len(seeded),
                *made.processes,
                what="first reads",
            )
            assert refreshed()
            checked = celery(env, "check", "--without-endpoint")
            assert "redis: version" in " ".join(checked.stdout.split()), checked.stdout + checked.stderr
            if callable(fail_over):
                fail_over()
                wait_for(refreshed, *made.processes, what="a refresh at the new master")
            for process in made.processes:
                log = process.log.read_text()
                assert not [word for word in TROUBLE if word in log], log[-3000:]

    if kind == "Sentinels":
        authority: Authority = request.getfixturevalue("authority")
        with watched(tmp_path, authority=authority, program=redis_with_tls()) as pair:
            works(pair.url, pair.fail_over)
    else:
        works(request.getfixturevalue("demanding"))
