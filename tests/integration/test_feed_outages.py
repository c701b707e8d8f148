"""After an outage a network's blocks are caught up with, or left out, whichever takes fewer requests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import time

import pytest
from followed import MANY, Followed
from network import NETWORKS, SOLID_LAG, Net
from proxy import proxy
from tables import Tables

from config.networks import PRESETS, NetworkName
from db.networks import make_due
from db.session import transaction
from devstack.chain import Chain
from devstack.servers import anvil, tron_node
from devstack.stack import ETHEREUM_CHAIN_ID, TRON_CHAIN_ID
from worker.feed.gap import LEAST_CATCH_UP

Settings = Callable[..., None]
MINUTES, HOURS = 600, 36_000  # seconds
CHAIN_IDS = {"ethereum": ETHEREUM_CHAIN_ID, "tron": TRON_CHAIN_ID}


class Outage:
    """A chain that went on for a while when nobody followed it. Each wallet was paid once meanwhile."""

    def __init__(self, folder: Path, network: NetworkName, seconds: int, started: ExitStack) -> None:
        pace = int(PRESETS[network].block_seconds)
        genesis = int(time()) - seconds - 100
        evm = started.enter_context(anvil(folder, network, CHAIN_IDS[network], 1, "--timestamp", str(genesis)))
        chain = Chain(evm.url)
        token = chain.deploy_token()
        chain.ask("evm_setIntervalMining", 0)
        chain.ask("evm_setAutomine", True)
        node = evm if network == "ethereum" else started.enter_context(tron_node(folder, evm.url, SOLID_LAG))
        first, second = (started.enter_context(proxy(node.url)) for _ in range(2))
        self.net, self.seconds, self.pace = Net(network, chain, token, first, second), seconds, pace

    def happens(self, followed: Followed) -> int:
        """The number of the last block that was followed before it."""
        chain, before = self.net.chain, followed.newest()
        few = min(self.seconds // self.pace, 200)
        for part in range(3):
            chain.ask("anvil_mine", hex(few // 4), hex(self.pace))
            chain.transact(followed.give(part, 10))
        chain.ask("anvil_mine", hex(few // 4), hex(self.pace))
        for age in (self.pace, 0):
            chain.ask("evm_setTime", int(time()) - age)
            chain.mine()
        return before


@pytest.fixture(params=NETWORKS)
def start(
    request: pytest.FixtureRequest, tmp_path: Path, settings: Settings, tables: Tables
) -> Iterator[Callable[[int], tuple[Outage, Followed]]]:
    network: NetworkName = request.param
    with ExitStack() as started:

        def begin(seconds: int) -> tuple[Outage, Followed]:
            outage = Outage(tmp_path, network, seconds, started)
            name, net = network.upper(), outage.net
            token = net.address(net.token)
            settings(FEED="on", **{f"{name}_RPC_URLS": net.proxy.url, f"{name}_USDT_CONTRACT": token})
            followed = Followed(net, tables)
            before = outage.happens(followed)
            followed.begin()
            followed.as_of(before)
            return outage, followed

        yield begin


def test_ten_minutes_are_caught_up_with(start: Callable[[int], tuple[Outage, Followed]]) -> None:
    outage, followed = start(MINUTES)
    asked, before = followed.net.proxy.requests, followed.cursor()["block_number"]
    followed.follow()
    blocks = followed.newest() - before
    assert blocks >= MINUTES // outage.pace - 4
    assert 2 * blocks <= followed.net.proxy.requests - asked <= 2 * blocks + 8, "and some for what is not there yet"
    cursor = followed.cursor()
    assert (cursor["block_number"], cursor["since"], cursor["jumps"]) == (followed.newest(), before, 0)
    assert followed.touches() == [(0, 10), (1, 10), (2, 10)]
    followed.serve()
    assert followed.shown() == followed.really() == [(1010, 0), (1011, 0), (1012, 0)]
    assert followed.cursor()["missed_usdt"] == 0


@pytest.mark.parametrize(("seconds", "wallets"), [(HOURS, MANY), (MINUTES, 500)])
def test_ten_hours_and_for_few_wallets_ten_minutes_are_left_out_and_all_are_read(
    start: Callable[[int], tuple[Outage, Followed]], seconds: int, wallets: int
) -> None:
    _, followed = start(seconds)
    asked = followed.net.proxy.requests
    followed.follow_once(wallets)
    assert followed.net.proxy.requests - asked <= 2 * (LEAST_CATCH_UP + 1) + 2
    cursor = followed.cursor()
    assert (cursor["block_number"], cursor["since"], cursor["jumps"]) == (followed.newest(), followed.newest(), 1)
    with transaction() as connection:
        assert make_due(connection, followed.network) == len(followed.ids)
    followed.read()
    assert followed.shown() == followed.really() == [(1010, 0), (1011, 0), (1012, 0)]
    assert followed.cursor()["missed_usdt"] == 0, "nobody could tell"
