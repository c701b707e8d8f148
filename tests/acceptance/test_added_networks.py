"""Networks that no preset has, added by a file of ten lines: read, refreshed, shown and checked like any other."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from commands import command, command_json
from scene import EVER, LONG_LEASE, NEVER, Scene

from devstack.chain import Chain
from devstack.product import api, migrate
from devstack.seed import SeededWallet, fund_all, insert
from devstack.servers import CAP, Server, anvil
from devstack.stack import BLOCK_TIME, LocalChain, base58_address, local_tron, settings

COIN_ID, COIN_DECIMALS = 7_770_001, 8
TRON_TWO_ID = 305_419_896
USER = uuid4()

FILE = """\
[minicoin]
family = "evm"
chain_id = {coin_id}
usdt_contract = "{coin_token}"
usdt_decimals = {coin_decimals}
native_symbol = "XYZ"

[tron-two]
family = "tron"
chain_id = {tron_id}
usdt_contract = "{tron_token}"
usdt_decimals = 6
"""


@pytest.fixture(scope="module")
def coin(servers: Path) -> Iterator[LocalChain]:
    """A chain of nobody's, whose USDT has eight decimals."""
    with anvil(servers / "added", "minicoin", COIN_ID, BLOCK_TIME) as node:
        chain = Chain(node.url)
        yield LocalChain(node, node, chain, chain.deploy_token(COIN_DECIMALS, mined=True))


@pytest.fixture(scope="module")
def tron_two(servers: Path) -> Iterator[LocalChain]:
    """A second Tron, beside the first one."""
    with local_tron(servers / "added-tron", TRON_TWO_ID) as chain:
        yield chain


@pytest.fixture(scope="module")
def seeded() -> list[SeededWallet]:
    """A user with wallets on both added networks and the two that everybody knows, the oldest one first."""
    dice = random.Random(8)
    one, two, three, four = (dice.randbytes(20) for _ in range(4))
    return [
        SeededWallet(uuid4(), USER, "minicoin", "0x" + one.hex(), one, 97_700_000_001, 5 * 10**17),
        SeededWallet(uuid4(), USER, "tron-two", base58_address(two), two, 12_345_678, 1_500_000),
        SeededWallet(uuid4(), USER, "tron", base58_address(three), three, 1_000_000, 7),
        SeededWallet(uuid4(), USER, "ethereum", "0x" + four.hex(), four, 2_000_000, 10**18),
    ]


SHOWN = {
    "minicoin": ("977.00000001", "0.50000000"),
    "tron-two": ("12.34567800", "1.50000000"),
    "tron": ("1.00000000", "0.00000700"),
    "ethereum": ("2.00000000", "1.00000000"),
}


@pytest.fixture
def scene(  # noqa: PLR0917  fixtures
    tmp_path: Path,
    database_url: str,
    redis_process: Server,
    chains: dict[str, LocalChain],
    coin: LocalChain,
    tron_two: LocalChain,
    seeded: list[SeededWallet],
) -> Iterator[Scene]:
    redis.Redis.from_url(redis_process.url).flushall()
    file = tmp_path / "networks.toml"
    coin_token, tron_token = "0x" + coin.token.hex(), base58_address(tron_two.token)
    file.write_text(
        FILE.format(
            coin_id=COIN_ID,
            coin_token=coin_token,
            coin_decimals=COIN_DECIMALS,
            tron_id=TRON_TWO_ID,
            tron_token=tron_token,
        )
    )
    added = {
        "NETWORKS_FILE": str(file),
        "MINICOIN_RPC_URLS": coin.node.url,
        "TRON_TWO_RPC_URLS": tron_two.node.url,
        "REFRESH_DEADLINE": f"{CAP:g}",
        "REFRESH_COOLDOWN": "3600",
    }
    env = settings(database_url, redis_process.url, **chains) | added | NEVER | LONG_LEASE
    migrate(env)
    all_chains = {**chains, "minicoin": coin, "tron-two": tron_two}
    fund_all(all_chains, seeded)
    insert(database_url, seeded)
    made = Scene(tmp_path, env, seeded, all_chains)
    with ExitStack() as started:
        started.enter_context(made.stack)
        yield made


def test_networks_of_a_file_are_checked_read_refreshed_and_shown(scene: Scene, coin: LocalChain) -> None:
    found = command_json(scene.env, "check")["checks"]
    assert {each["subject"].partition(" ")[0] for each in found} >= set(SHOWN)
    assert [each for each in found if not each["ok"]] == []
    scene.begin()
    scene.await_all_fresh(since=EVER)
    scene.check_balances()
    with api(scene.folder, scene.env) as served:
        reply = scene.ask(served).json()
        shown = {entry["network"]: (entry["usdt_balance"], entry["native_balance"]) for entry in reply["balances"]}
        assert shown == SHOWN
        assert reply["total_usdt"] == "992.34567801"
        wallet = scene.wallets[0]
        coin.chain.mint(coin.token, [(wallet.account, 100_000_000)], mined=True)
        scene.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 day'")
        (fresh,) = scene.ask(served, "?refresh=true&networks=minicoin").json()["balances"]
        assert (fresh["usdt_balance"], fresh["is_cached"]) == ("978.00000001", False)
    networks = {each["network"]: each for each in command_json(scene.env, "freshness")["networks"]}
    assert {name: networks[name]["read"] for name in SHOWN} == dict.fromkeys(SHOWN, 1)
    done = command(scene.env, "resync", "--network", "minicoin", "--dry-run")
    assert (done.exit_code, "minicoin" in done.output) == (0, True), done.output


def test_a_token_of_other_decimals_than_the_files_is_not_read(scene: Scene) -> None:
    file = Path(scene.env["NETWORKS_FILE"])
    file.write_text(file.read_text().replace("usdt_decimals = 8", "usdt_decimals = 18"))
    failed = [each for each in command_json(scene.env, "check", code=1)["checks"] if not each["ok"]]
    assert [each["subject"].partition(" ")[0] for each in failed] == ["minicoin"]
    assert "decimals" in failed[0]["detail"]
    scene.begin()
    others = [wallet.id for wallet in scene.wallets[1:]]
    read = "SELECT count(*) FROM balance_cache WHERE wallet_id = ANY(%s)"
    scene.wait_for(lambda: bool(scene.value(read, others) == len(others)), "the other networks to be read")
    scene.await_words("wrong_decimals")
    scene.wait_for(
        lambda: (
            scene.rows("SELECT reason FROM network_state WHERE network = 'minicoin'") == [{"reason": "wrong_decimals"}]
        ),
        "the network to be out",
    )
    assert scene.rows("SELECT FROM balance_cache WHERE wallet_id = %s", scene.wallets[0].id) == []
