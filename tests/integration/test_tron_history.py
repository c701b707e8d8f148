"""The local Tron's blocks and infos are a real node's, where the same things happened in blocks of the same numbers.

The recordings are of a java-tron on which somebody paid wallets in several ways. Here that somebody does so again, on
the EVM node under the façade, and the façade is asked what the real node was asked.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from vectors import recorded

from devstack import contracts
from devstack.chain import Chain
from devstack.servers import CAP, anvil, tron_node
from devstack.stack import TRON_CHAIN_ID

FIRST = 520  # the local chain's first block; those that are recorded come soon after it
MAIN = 534  # the block in which nearly everything was recorded
LAG = 1  # blocks between the newest and the solidified one, as at the time of the recording
SENDER = bytes.fromhex("1563915e194d8cfba1943570603f7606a3115508")
WALLETS = [(0x6B0743D7FEED00 + number).to_bytes(20) for number in range(12)]
RECORDED = {"token": "d01180081ba9e8d8e1779c538a3382addb9535d0", "payer": "96e2ef8d2dccc1e0c90d13983cf3d2b67a68beac"}

# What differs by itself from one chain to another, or with what gas and energy cost.
MASKED = {
    "blockID",
    "blockTimeStamp",
    "energy_fee",
    "energy_usage_total",
    "expiration",
    "fee",
    "fee_limit",
    "hash",
    "id",
    "net_fee",
    "packingFee",
    "parentHash",
    "raw_data_hex",
    "ref_block_bytes",
    "ref_block_hash",
    "signature",
    "timestamp",
    "txID",
    "txTrieRoot",
    "witness_address",
    "witness_signature",
}


class Recreated:
    """A façade on whose chain there is again what was recorded, and the contracts that stand for the recorded ones."""

    def __init__(self, url: str, chain: Chain, ours: dict[str, bytes]) -> None:
        self.url, self.chain, self.ours = url, chain, ours

    def ask(self, path: str, body: Any) -> Any:
        response = requests.post(self.url + path, json=body, timeout=CAP)
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/json;charset=utf-8"
        return response.json()

    def replay(self, number: int) -> tuple[Any, Any]:
        """A recording's request: our reply, with the recorded contracts in the place of ours, and the recorded one."""
        vector = recorded("feed/tron", number)
        text = json.dumps(self.ask(vector["path"], vector["request"]))
        for name, theirs in RECORDED.items():
            text = text.replace(self.ours[name].hex(), theirs)
        return json.loads(text), vector["response"]


def happen_again(chain: Chain) -> dict[str, bytes]:
    """Make the recorded blocks: the contracts that they are about."""
    chain.make_no_blocks()
    token, payer = chain.deploy_token(mined=True), chain.deploy_payer(mined=True)
    chain.mint(token, [(SENDER, 10**9)], mined=True)
    chain.set_native([(SENDER, 10**20)])
    chain.mine(MAIN - 1 - chain.head())
    receipts = chain.make_block(
        contracts.transfer(token, WALLETS[0], 977_000_000, SENDER),
        contracts.transfer(token, WALLETS[1], 0, SENDER),
        contracts.payment(WALLETS[2], 1_993_893_600, SENDER),
        contracts.pay_through(payer, WALLETS[3:6], 3_000_000, SENDER),
        contracts.pay_in_vain(payer, WALLETS[6], 1_000_000, SENDER),
        contracts.transfer(token, WALLETS[7], 5_000_000, SENDER),
    )
    assert {int(receipt["blockNumber"], 16) for receipt in receipts} == {MAIN}
    chain.mine()
    chain.make_block(contracts.destroy(token, WALLETS[7]))
    chain.make_block(contracts.redeem(token, 1))
    chain.make_block(contracts.payment(WALLETS[8], 1, SENDER))  # where the real chain has a freeze
    chain.make_block(contracts.leave_to(payer, WALLETS[9], 2_000_000, SENDER))
    return {"token": token, "payer": payer}


@pytest.fixture(scope="module")
def again(servers: Path) -> Iterator[Recreated]:
    with anvil(servers, "tron-history-evm", TRON_CHAIN_ID, 1000, "--number", str(FIRST)) as evm:
        chain = Chain(evm.url)
        ours = happen_again(chain)
        with tron_node(servers, evm.url, LAG) as node:
            yield Recreated(node.url, chain, ours)


def masked(value: Any) -> Any:
    """A reply without the values that no two chains have in common: their kinds stay."""
    if isinstance(value, dict):
        named = {("net_fee" if key == "net_usage" else key): inner for key, inner in value.items()}
        return {key: type(inner).__name__ if key in MASKED else masked(inner) for key, inner in named.items()}
    return [masked(inner) for inner in value] if isinstance(value, list) else value


# Blocks and infos by number, at the head and solidified; the newest block; headers; several blocks at once.
@pytest.mark.parametrize("number", [1, 2, 3, 4, 12, 14, 15, 16, 24])
def test_a_block_and_its_infos_are_a_real_nodes_but_for_what_no_two_chains_share(again: Recreated, number: int) -> None:
    ours, theirs = again.replay(number)
    assert masked(ours) == masked(theirs)


# Blocks of the future, those that are not solidified, and their infos; infos of block 0; too many blocks at once.
@pytest.mark.parametrize("number", [7, 8, 9, 10, 11, 18])
def test_what_is_not_there_is_answered_to_the_letter_as_a_real_node_does(again: Recreated, number: int) -> None:
    ours, theirs = again.replay(number)
    assert ours == theirs


def test_the_newest_block_is_not_there_in_the_solidified_state(again: Recreated) -> None:
    head = again.chain.head()
    for state, there in (("wallet", True), ("walletsolidity", False)):
        assert bool(again.ask(f"/{state}/getblockbynum", {"num": head})) is there
        assert bool(again.ask(f"/{state}/gettransactioninfobyblocknum", {"num": head})) is there
        several = again.ask(f"/{state}/getblockbylimitnext", {"startNum": head - 1, "endNum": head + 1})
        assert len(several["block"]) == 1 + there


def test_a_block_without_transactions_has_none_and_no_infos(again: Recreated) -> None:
    block = again.ask("/wallet/getblockbynum", {"num": MAIN + 1})
    theirs = recorded("feed/tron", 5)["response"]
    assert set(block) == set(theirs)
    root = block["block_header"]["raw_data"]["txTrieRoot"]
    assert root == theirs["block_header"]["raw_data"]["txTrieRoot"], "by which one is known that has none"
    assert again.ask("/wallet/gettransactioninfobyblocknum", {"num": MAIN + 1}) == recorded("feed/tron", 6)["response"]


@pytest.mark.parametrize("number", [20, 21])
def test_events_besides_transfers_are_a_real_nodes(again: Recreated, number: int) -> None:
    (ours,), (theirs,) = again.replay(number)
    # Whose fee it was differs: there it was the sender's, and the amount that is redeemed.
    assert set(ours) == set(theirs)
    assert [log["topics"] for log in ours["log"]] == [log["topics"] for log in theirs["log"]]
    assert [len(log["data"]) for log in ours["log"]] == [len(log["data"]) for log in theirs["log"]]


def test_the_ids_of_infos_are_those_of_the_blocks_transactions(again: Recreated) -> None:
    for state in ("wallet", "walletsolidity"):
        block = again.ask(f"/{state}/getblockbynum", {"num": MAIN})
        infos = again.ask(f"/{state}/gettransactioninfobyblocknum", {"num": MAIN})
        assert [each["txID"] for each in block["transactions"]] == [info["id"] for info in infos]


def test_the_blocks_near_the_head_are_as_many_as_there_are(again: Recreated) -> None:
    ours, theirs = again.replay(17)
    assert [masked(each["block_header"]) for each in ours["block"]] == [
        masked(each["block_header"]) for each in theirs["block"]
    ]


def test_each_blocks_parent_is_the_block_before_it(again: Recreated) -> None:
    numbers = {"startNum": FIRST, "endNum": FIRST + 20}
    blocks = again.ask("/wallet/getblockbylimitnext", numbers)["block"]
    assert [block["block_header"]["raw_data"]["number"] for block in blocks] == list(range(FIRST, FIRST + 20))
    ids = [block["blockID"] for block in blocks]
    assert [block["block_header"]["raw_data"]["parentHash"] for block in blocks[2:]] == ids[1:-1]


def test_a_fee_is_what_the_senders_balance_lost(again: Recreated) -> None:
    before, after = (again.chain.native_of(SENDER, hex(number)) for number in (MAIN - 1, MAIN))
    infos = again.ask("/wallet/gettransactioninfobyblocknum", {"num": MAIN})
    assert before - after == sum(info["fee"] for info in infos) + 1_993_893_600 + 3_000_000
    for info in infos:
        assert info["fee"] == info["receipt"]["net_fee"] + info["receipt"].get("energy_fee", 0)


def test_addresses_are_base58_where_that_is_asked_for(again: Recreated) -> None:
    infos = again.ask("/wallet/gettransactioninfobyblocknum", {"num": MAIN, "visible": True})
    assert [each["note"] for each in infos[3]["internal_transactions"]] == ["call"] * 3
    assert infos[3]["internal_transactions"][0]["transferTo_address"] == "T9yD14Nj9j7xAB4dbGfB4VSSjzGnFNKDiJ"
    block = again.ask("/wallet/getblockbynum", {"num": MAIN, "visible": True})
    value = block["transactions"][2]["raw_data"]["contract"][0]["parameter"]["value"]
    assert value["to_address"] == "T9yD14Nj9j7xAB4dbGfB4VSSjzGn4fUb2t"


def test_a_contract_that_is_made_is_named_where_a_node_names_it(again: Recreated) -> None:
    block = again.ask("/wallet/getblockbynum", {"num": FIRST + 1})
    (made,) = block["transactions"]
    (contract,) = made["raw_data"]["contract"]
    assert contract["type"] == "CreateSmartContract"
    (info,) = again.ask("/wallet/gettransactioninfobyblocknum", {"num": FIRST + 1})
    assert info["contract_address"] == "41" + again.ours["token"].hex()
