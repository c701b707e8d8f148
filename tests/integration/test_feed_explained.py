"""What was read is held against the blocks' events: lies and old states are found out by them, also of a lone node, and
a feed that leaves something out by the reads.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faults as f
import pytest
import requests
from followed import Followed
from network import SOLID_LAG
from proxy import Exchange, Fault, Proxy, passed_on, proxy
from structlog.testing import capture_logs

from devstack import contracts
from devstack.servers import CAP, tron_node
from worker.sync.likely import NEVER_UNLIKELY
from worker.sync.verify import HOLD_BLOCKS, HOLD_READS, HOLD_SECONDS

Settings = Callable[..., None]
USDT = 1 << 128  # one base unit in a wallet's word


def more(amount: int) -> Fault:
    """Every wallet has so much more USDT, by this node's word."""
    return f.wallets(lambda word: word + amount * USDT)


def becomes(before: int, now: int) -> Fault:
    """Whoever has one sum of USDT has another one, by this node's word."""
    return f.wallets(lambda word: word + (now - before) * USDT if word >> 128 == before else word)


def without_events(exchange: Exchange) -> None:
    """The node's own blocks, without what the token logged."""
    reply = exchange.upstream().json()
    if "infobyblocknum" in exchange.path:
        reply = [{key: value for key, value in info.items() if key != "log"} for info in reply]
    elif b"eth_getLogs" in exchange.body:
        reply["result"] = []
    elif b"eth_getBlockReceipts" in exchange.body:
        reply["result"] = [{**receipt, "logs": []} for receipt in reply["result"]]
    elif b"eth_getBlockByNumber" in exchange.body and reply.get("result"):
        reply["result"]["logsBloom"] = "0x" + "00" * 256
    exchange.send(reply)


def no_blocks(exchange: Exchange) -> None:
    """The node gives no block by its number, and reads well."""
    if "getblockbynum" in exchange.path or (b"eth_getBlockByNumber" in exchange.body and b"true" in exchange.body):
        exchange.send(b"", 503)
    else:
        passed_on(exchange)


def two_nodes(followed: Followed, settings: Settings) -> Proxy:
    """The network has a second node, which is asked second."""
    net = followed.net
    settings(**{f"{followed.network.upper()}_RPC_URLS": f"{net.proxy.url},{net.other.url}"})
    return net.other


def logged(logs: list[Any], event: str) -> list[dict[str, Any]]:
    return [log for log in logs if log["event"] == event]


def held(followed: Followed) -> int:
    return len(followed.rows("SELECT FROM held_changes"))


def test_a_lone_node_that_lies_about_usdt_is_not_believed(followed: Followed) -> None:
    followed.begin()
    before = followed.shown()
    with followed.net.proxy.faulty(more(5)), capture_logs() as logs:
        followed.read_all()
    assert followed.shown() == before
    assert held(followed) == 3
    (log,) = logged(logs, "unexplained_changes")
    assert (log["log_level"], log["network"], log["wallets"], log["held"]) == ("error", followed.network, 3, 3)
    assert followed.tables.schedule(followed.ids[0])["last_error"] is None, "its row is as good as before"
    followed.read_all()
    assert followed.shown() == before
    assert held(followed) == 0
    assert followed.cursor()["missed_usdt"] == 0


def test_a_lone_node_that_shows_less_than_the_events_say_is_not_believed(followed: Followed) -> None:
    """Its state is old, though it says that it is new."""
    followed.begin()
    followed.happens(followed.give(0, 7))
    followed.follow()
    followed.due()
    with followed.net.proxy.faulty(becomes(1007, 1000)), capture_logs() as logs:
        followed.read()
    assert followed.usdt()[0] == 1000
    assert followed.touches() == [(0, 7)], "a read is still owed"
    assert logged(logs, "unexplained_changes")
    followed.serve()
    assert followed.usdt() == [1007, 1001, 1002]
    assert followed.cursor()["missed_usdt"] == 0


def test_a_payment_of_another_sum_than_the_events_say_is_not_believed(followed: Followed) -> None:
    followed.begin()
    followed.happens(followed.give(0, 7))
    followed.follow()
    followed.due()
    with followed.net.proxy.faulty(becomes(1007, 1_000_007)):
        followed.read()
    assert followed.usdt()[0] == 1000
    followed.serve()
    assert followed.usdt() == [1007, 1001, 1002]


def test_what_a_lone_node_goes_on_saying_against_the_events_is_believed_late_and_counted(followed: Followed) -> None:
    """The node may be right, and the feed has left something out."""
    followed.begin()
    with followed.net.proxy.faulty(without_events):
        followed.happens(followed.give(0, 7))
        followed.follow()
        assert followed.touches() == []
    for _ in range(HOLD_READS - 1):
        followed.read_all()
        followed.net.chain.mine(HOLD_BLOCKS)
    followed.follow()
    assert followed.usdt()[0] == 1000
    followed.rows("UPDATE held_changes SET since = since - make_interval(secs => %s)", HOLD_SECONDS)
    followed.read_all()
    assert followed.usdt() == [1007, 1001, 1002]
    assert followed.cursor()["missed_usdt"] == 1


def test_of_two_nodes_the_others_word_counts_against_a_lie(followed: Followed, settings: Settings) -> None:
    two_nodes(followed, settings)
    followed.begin()
    before, block = followed.shown(), followed.row(0)["block_number"]
    followed.net.chain.mine(2)
    with followed.net.proxy.faulty(more(5)), capture_logs() as logs:
        followed.read_all()
    assert followed.shown() == before
    assert held(followed) == 0
    assert followed.row(0)["block_number"] > block, "it was read well"
    (log,) = logged(logs, "unexplained_changes")
    assert (log["wallets"], log["unconfirmed"]) == (3, 3)
    assert followed.cursor()["missed_usdt"] == 0


def test_a_change_that_two_nodes_show_and_the_feed_has_left_out_is_written_and_counted(
    followed: Followed, settings: Settings
) -> None:
    other = two_nodes(followed, settings)
    followed.begin()
    with followed.net.proxy.faulty(without_events), other.faulty(without_events):
        followed.happens(followed.give(0, 7), followed.give(1, 8))
        followed.follow()
    assert followed.touches() == []
    followed.read_all()
    assert followed.usdt() == [1007, 1009, 1002]
    assert followed.cursor()["missed_usdt"] == 2
    followed.read_all()
    assert followed.cursor()["missed_usdt"] == 2, "each once"


def test_a_change_that_was_read_before_its_block_was_followed_is_followed_first(followed: Followed) -> None:
    followed.begin()
    followed.happens(followed.give(0, 7))
    with capture_logs() as logs:
        followed.read_all()
    assert followed.usdt() == [1007, 1001, 1002]
    assert followed.cursor()["block_number"] == followed.row(0)["block_number"] == followed.newest()
    assert followed.touches() == [], "it is served by the read that it came after"
    assert logged(logs, "unexplained_changes") == logged(logs, "changes_ahead_of_the_feed") == []
    assert followed.cursor()["missed_usdt"] == 0


def test_a_change_in_a_block_that_cannot_be_followed_yet_waits_for_it(followed: Followed) -> None:
    followed.begin()
    followed.happens(followed.give(0, 7))
    with followed.net.proxy.faulty(no_blocks), capture_logs() as logs:
        followed.read_all()
    assert followed.usdt() == [1000, 1001, 1002]
    (log,) = logged(logs, "changes_ahead_of_the_feed")
    assert (log["wallets"], log["block"]) == (1, followed.newest())
    assert logged(logs, "unexplained_changes") == []


def test_native_coin_that_no_block_showed_is_written_and_counted(followed: Followed) -> None:
    followed.begin()
    followed.net.chain.set_native([(followed.holders[0], 9)])
    followed.net.chain.mine(2)
    followed.follow()
    followed.read_all()
    assert followed.shown() == [(1000, 9), (1001, 0), (1002, 0)]
    cursor = followed.cursor()
    assert (cursor["missed_usdt"], cursor["missed_native"]) == (0, 1)


def test_what_the_owner_issues_is_read_without_a_word_against_it(followed: Followed) -> None:
    """An event says that, and not who has it."""
    owner = followed.net.chain.owner
    followed.holders.append(owner)
    followed.ids += followed.tables.add(followed.network, followed.net.address(owner))
    followed.begin()
    followed.net.chain.mine()
    held_before = followed.really()[3][0]
    followed.happens(contracts.issue(followed.net.token, 500))
    followed.follow()
    assert (3, None) in followed.touches()
    with capture_logs() as logs:
        followed.serve()
    assert followed.usdt()[3] == held_before + 500
    assert logged(logs, "unexplained_changes") == []


# A node that is behind


@pytest.fixture
def lags(followed: Followed, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy before a node whose newest block is some before the chain's."""
    if followed.network == "tron":
        evm: str = followed.net.chain._url
        with tron_node(tmp_path, evm, SOLID_LAG + 3) as node, proxy(node.url) as made:
            yield made
        return

    def behind(exchange: Exchange) -> None:
        asked = exchange.json
        head = followed.net.chain.head() - 3
        params = [hex(head) if each == "latest" else each for each in asked.get("params", [])]
        raw = requests.post(exchange.handler.server.node, json={**asked, "params": params}, timeout=CAP)
        exchange.send(raw.content)

    with proxy(followed.net.proxy.node) as made, made.faulty(behind):
        yield made


def only(followed: Followed, settings: Settings, *nodes: Proxy) -> None:
    settings(**{f"{followed.network.upper()}_RPC_URLS": ",".join(node.url for node in nodes)})


def test_a_lone_node_that_is_behind_leaves_the_touch_open_until_it_has_the_block(
    followed: Followed, settings: Settings, lags: Proxy
) -> None:
    followed.begin()
    followed.net.chain.mine(4)
    followed.happens(followed.give(0, 7))
    followed.follow()
    only(followed, settings, lags)
    followed.due()
    followed.read()
    assert followed.usdt()[0] == 1000
    assert followed.row(0)["block_number"] == followed.newest() - 3, "it was read"
    assert followed.touches() == [(0, 7)]
    (row,) = followed.rows("SELECT due_at > now() AND due_at < now() + interval '10 seconds' AS soon FROM touches")
    assert row["soon"]
    followed.net.chain.mine(4)
    followed.serve()
    assert followed.usdt() == [1007, 1001, 1002]


def test_where_one_node_is_behind_another_one_is_asked(followed: Followed, settings: Settings, lags: Proxy) -> None:
    followed.begin()
    followed.net.chain.mine(4)
    followed.happens(followed.give(0, 7))
    followed.follow()
    only(followed, settings, lags, followed.net.proxy)
    followed.due()
    followed.read()
    assert followed.usdt() == [1007, 1001, 1002]
    assert followed.touches() == []


def test_so_many_touched_wallets_change_at_once_that_it_would_be_unlikely_without_their_events(
    followed: Followed,
) -> None:
    for _ in range(8):
        more_holders = followed.net.new_holders()
        followed.holders += more_holders
        followed.ids += followed.tables.add(followed.network, *map(followed.net.address, more_holders))
    followed.begin()
    assert len(followed.ids) > NEVER_UNLIKELY
    amounts = [5] * len(followed.holders)
    followed.happens(contracts.mint(followed.net.token, followed.holders, amounts))
    followed.follow()
    followed.due()
    with capture_logs() as logs:
        followed.read()
    assert followed.shown() == followed.really()
    assert held(followed) == 0
    assert logged(logs, "unlikely_changes") == []
    assert sum(row["changed"] for row in followed.rows("SELECT changed FROM change_rates")) <= 3, "it teaches nothing"
