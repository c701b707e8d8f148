"""Several endpoints, several keys, and what one alone cannot tell: whether a zero is true."""

from contextlib import ExitStack
from time import time
from typing import Any

import faults as f
import json_rpc_faults as j
import pytest
import tron_faults as t
from network import Net, Scene
from proxy import Exchange, Fault, passed_on, proxy
from tables import Tables

from config.networks import NetworkName
from worker.reading import reader_for


def both(net: Net) -> dict[str, str]:
    """Two endpoints of one network, the faulty one first."""
    return {f"{net.network.upper()}_RPC_URLS": f"{net.proxy.url},{net.other.url}"}


def test_a_zero_that_one_endpoint_keeps_telling_is_not_believed_where_another_knows_better(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net]
) -> None:
    net = nets["ethereum"]
    settings(**both(net))
    scene = Scene(net, tables)
    scene.sync()
    with net.proxy.faulty(f.wallets(lambda _: 0)):
        for _ in range(3):
            scene.change()
            scene.sync()
            assert scene.errors() == {"zero_unconfirmed"}
    scene.sync()
    assert scene.fresh()


@pytest.mark.parametrize("endpoints", [1, 2])
def test_a_zero_that_is_true_is_written_at_once(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net], endpoints: int
) -> None:
    net = nets["ethereum"]
    settings(**(both(net) if endpoints == 2 else {}))
    scene = Scene(net, tables)
    scene.sync()
    scene.set_usdt(scene.holders[1], 0)
    scene.history[1].append((0, scene.history[1][-1][1]))
    before = net.proxy.requests + net.other.requests
    scene.sync()
    assert scene.fresh()
    of_contact = 3 * (endpoints - 1)  # supply, decimals and block of a node that was not asked before
    assert net.proxy.requests + net.other.requests - before == 2 + of_contact, "read twice"


def test_a_suspended_key_rests_alone_and_the_others_are_used_evenly(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net]
) -> None:
    """F4 with a key to spare. A read is one request here: the supply is known before the first that counts."""
    net = nets["tron"]
    settings(TRON_API_KEYS="key-one,key-two,key-three", TRON_API_KEY_HOSTS="127.0.0.1")
    scene = Scene(net, tables)
    scene.sync()
    used: list[str | None] = []
    reader: Any = reader_for("tron")
    moment = time()
    reader.shared.clock = lambda: moment  # the suspension does not end meanwhile, however slow the machine is

    def fault(exchange: Exchange) -> None:
        used.append(exchange.headers.get("TRON-PRO-API-KEY"))
        t.suspended_by_key(exchange)

    with net.proxy.faulty(fault):
        for _ in range(10):
            scene.change()
            scene.sync()
            assert scene.fresh()
    assert used.count("key-one") == 1
    since = used[used.index("key-one") + 1 :]
    assert len(since) >= 8
    assert abs(since.count("key-two") - since.count("key-three")) <= 1


def test_keys_go_to_no_host_that_they_are_not_for(tables: Tables, settings: Any, nets: dict[NetworkName, Net]) -> None:
    net = nets["tron"]
    settings(TRON_API_KEYS="key-one")
    scene = Scene(net, tables)
    used: list[str | None] = []

    def fault(exchange: Exchange) -> None:
        used.append(exchange.headers.get("TRON-PRO-API-KEY"))
        passed_on(exchange)

    with net.proxy.faulty(fault):
        scene.sync()
    assert scene.fresh()
    assert set(used) == {None}


TROUBLES: dict[str, Fault] = {
    "throttling": f.said(b"", 429),
    "lagging": j.behind(50, f.header(f.TIME, lambda moment: moment - 150)),
    "wrong chain": f.header(f.CHAIN, lambda _: 5),
    "good": passed_on,
}


# Each first once. Which of all the orders it is makes no difference: tests/unit/test_endpoints.py has the 24.
ORDERS = [[*TROUBLES][at:] + [*TROUBLES][:at] for at in range(len(TROUBLES))]


@pytest.mark.parametrize("order", ORDERS, ids=" - ".join)
def test_beside_a_good_endpoint_three_bad_ones_are_hardly_asked_and_all_is_right(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net], order: list[str]
) -> None:
    net = nets["ethereum"]
    for _ in range(60):
        net.chain.ask("evm_mine")
    with ExitStack() as started:
        proxies = {name: started.enter_context(proxy(net.proxy.node)) for name in order}
        settings(ETHEREUM_RPC_URLS=",".join(each.url for each in proxies.values()))
        scene = Scene(net, tables)
        scene.sync()
        for name, each in proxies.items():
            started.enter_context(each.faulty(TROUBLES[name]))
            each.requests = 0
        reader: Any = reader_for("ethereum")
        began = time()
        reader.shared.clock = lambda: began + scene.later  # however long a batch takes here, it is one a second
        for number in range(200):
            scene.later += 1  # a batch a second
            if number % 50 == 0:
                scene.change()
            scene.sync()
            assert scene.fresh()
        asked = {name: each.requests for name, each in proxies.items()}
    assert sum(asked.values()) - asked["good"] < 0.05 * sum(asked.values()), asked
    assert all(asked[name] for name in order[: order.index("good")]), "each bad one before it was met"
