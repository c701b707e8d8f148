"""``celery -A worker check`` of a network's nodes and tokens: what it makes of nodes that answer in every manner."""

from time import time
from typing import Any

import pytest
from fakes import NOW, FakeNode, fails, only
from fakes import facts as known

from config.networks import PRESETS
from config.settings import WorkerSettings
from worker.admin import check_nodes
from worker.admin.check_nodes import node_finding, nodes, tokens_of
from worker.admin.finding import Finding
from worker.errors import BadReply, StateGone
from worker.reading.reader import NodeReader
from worker.reading.shared import Shared

EVM_TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
USDT0, _ = PRESETS["optimism"].other_tokens
USDT, USDT_E = PRESETS["avalanche"].usdt_contract, *PRESETS["avalanche"].other_tokens


def settings(**variables: Any) -> WorkerSettings:
    return WorkerSettings(database_url="postgresql://nobody/", redis_url="redis://nobody", feed=False, **variables)


def finding(node: FakeNode) -> Finding:
    reader = NodeReader(known(node), [node], Shared("check", None), 10, per_second=0)
    return node_finding(reader, NOW - time(), [])


def test_a_node_whose_reply_is_bad_by_one_strategy_and_good_by_another_is_used() -> None:
    node = FakeNode()
    node.fault = lambda strategy, _accounts: BadReply("cut") if strategy == "revert" else None
    assert finding(node).ok


def test_a_node_that_is_read_wallet_by_wallet_is_good_enough_only_where_the_networks_data_say_so() -> None:
    assert finding(FakeNode(strategies={"single": 4})).ok
    node = FakeNode()
    node.fault = only("single")
    assert "only wallet by wallet" in finding(node).detail


def test_a_node_without_the_state_is_told_how_to_be_read() -> None:
    node = FakeNode()
    node.fault = fails(StateGone)
    found = finding(node)
    assert found.detail == "state_gone: for a test"
    assert found.to_do == "use an archive node, or set ETHEREUM_FINALITY=latest"


def found_of(monkeypatch: pytest.MonkeyPatch, *decimals: int) -> list[Finding]:
    """What is said of nodes whose token has these decimals, where the settings have none."""
    several = [FakeNode(f"node-{at}") for at in range(len(decimals))]
    for node, each in zip(several, decimals, strict=True):
        node.decimals = each
    monkeypatch.setattr(check_nodes, "nodes_for", lambda *_: several)
    made = settings(ethereum_rpc_urls="https://node", ethereum_usdt_contract=EVM_TOKEN, ethereum_rps="0")
    return list(nodes("ethereum", made, NOW - time(), []))


def test_decimals_that_nobody_has_said_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each.detail.rpartition(", ")[2] for each in found_of(monkeypatch, 18, 18)] == [
        "its token has 18 decimals"
    ] * 2


def test_of_nodes_whose_tokens_have_other_decimals_not_all_are_good(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = found_of(monkeypatch, 18, 6)
    assert (first.ok, second.ok) == (True, False)
    assert second.detail == "wrong_decimals: the token has 6 decimals, not 18"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, [PRESETS["avalanche"].warning]),
        ({"usdt_contract": USDT and USDT.lower()}, [PRESETS["avalanche"].warning]),
        ({"usdt_contract": USDT_E}, [f"balances of {USDT} are not read: people call these USDT as well"]),
        (
            {"usdt_contract": EVM_TOKEN},
            [f"balances of {USDT}, {USDT_E} are not read: people call these USDT as well"],
        ),
    ],
    ids=["the usual token", "in another spelling", "the other token", "neither"],
)
def test_a_warning_is_told_with_the_token_that_it_is_about_and_others_in_a_sentence_without_one(
    variables: dict[str, Any], told: list[str]
) -> None:
    made = settings(**{f"avalanche_{name}": value for name, value in variables.items()})
    assert [each.detail for each in tokens_of(made.chain("avalanche"))] == told


def test_of_two_tokens_of_which_neither_is_usual_the_operator_is_told_in_one_sentence() -> None:
    assert [each.detail for each in tokens_of(settings(optimism_usdt_contract=USDT0).chain("optimism"))] == [
        PRESETS["optimism"].warning
    ]
    assert [*tokens_of(settings(ethereum_usdt_contract=EVM_TOKEN).chain("ethereum"))] == []
