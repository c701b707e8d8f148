"""Between two reads of a wallet, incoming less outgoing is the difference: what the blocks say explains what is read.

Random histories happen on a real EVM node, and its blocks are parsed as the feed parses them: as an EVM chain's, by
logs and by receipts, and as a Tron's through the local façade.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import requests
from histories import HISTORIES, Ledger, Step, ledger
from hypothesis import example, given, settings

from devstack.servers import CAP
from worker.feed import evm_blocks, tron_blocks
from worker.feed.blocks import FeedBlock

Balances = Mapping[bytes, tuple[int, int]]
"""Of each account, what it holds in USDT and in native coin."""

FEES = [[("set_fee", 1000, 5)], [("transfer", 1, 2, 9), ("transfer", 3, 0, 1000), ("transfer", 4, 4, 100)]]
BEYOND_TRANSFERS = [[("issue", 7), ("transfer", 0, 1, 3)], [("destroy", 3), ("transfer", 4, 3, 5), ("redeem", 1)]]
TO_ONESELF = [[("transfer", 2, 2, 9), ("transfer", 2, 1, 0), ("payment", 1, 1, 9)], [("transfer_from", 2, 1, 9, 3)]]
BY_CONTRACTS = [[("pay_through", 1, [2, 3, 2], 9), ("pay_in_vain", 2, 4, 9), ("leave_to", 3, 4, 9)]]

A_FEW = settings(max_examples=settings().max_examples // 4)  # each takes dozens of requests, of real servers


@dataclass(frozen=True, slots=True)
class Told:
    """A block as the feed tells of it, and what happened in it."""

    steps: list[Step]
    receipts: list[dict[str, Any]]
    evm: FeedBlock
    tron: FeedBlock

    def well_done(self) -> list[Step]:
        """The steps that did not fail."""
        pairs = zip(self.steps, self.receipts, strict=True)
        return [step for step, receipt in pairs if receipt["status"] == "0x1"]


@pytest.fixture(scope="module")
def book(servers: Path) -> Iterator[Ledger]:
    with ledger(servers) as made:
        yield made


def evm_block(book: Ledger, number: int) -> FeedBlock:
    """A block by the two requests of the feed, which tell the same by logs and by receipts."""
    block = book.chain.ask("eth_getBlockByNumber", hex(number), True)
    header = evm_blocks.header_of(block)
    addresses = ["0x" + book.token.hex(), evm_blocks.SYSTEM]
    wanted = {"blockHash": block["hash"], "address": addresses, "topics": [list(evm_blocks.ASKED_TOPICS)]}
    logs, receipts = book.chain.ask("eth_getLogs", wanted), book.chain.ask("eth_getBlockReceipts", block["hash"])
    by_logs = evm_blocks.feed_block(block, header, logs, token=book.token, way="logs")
    by_receipts = evm_blocks.feed_block(block, header, receipts, token=book.token, way="receipts")
    assert by_logs == replace(by_receipts, sees_native=by_logs.sees_native)
    return by_logs


def tron_block(book: Ledger, number: int) -> FeedBlock:
    """The same block as a Tron's."""

    def ask(path: str) -> Any:
        return requests.post(f"{book.tron.url}/wallet/{path}", json={"num": number}, timeout=CAP).json()

    block, infos = ask("getblockbynum"), ask("gettransactioninfobyblocknum")
    header = tron_blocks.header_of(block)
    assert header
    return tron_blocks.feed_block(block, header, infos, token=book.token)


def happen(book: Ledger, history: list[list[Step]]) -> tuple[list[Balances], list[Told]]:
    """Make the blocks: the balances before the first and after each, and what is told of each."""
    reads: list[Balances] = [book.balances(book.chain.head())]
    told = []
    for steps in history:
        receipts = book.chain.make_block(*map(book.call, steps))
        number = book.chain.head()
        reads.append(book.balances(number))
        told.append(Told(steps, receipts, evm_block(book, number), tron_block(book, number)))
    return reads, told


@A_FEW
@given(history=HISTORIES)
@example(history=FEES)
@example(history=BEYOND_TRANSFERS)
@example(history=TO_ONESELF)
@example(history=BY_CONTRACTS)
def test_between_two_reads_of_a_wallet_incoming_less_outgoing_is_the_difference(
    book: Ledger, history: list[list[Step]]
) -> None:
    with book.undone():
        reads, told = happen(book, history)
    for first, second in combinations(range(len(reads)), 2):
        between = told[first:second]
        for account in book.accounts:
            difference = reads[second][account][0] - reads[first][account][0]
            for blocks in ([each.evm for each in between], [each.tron for each in between]):
                changes = [block.usdt.get(account, 0) for block in blocks]
                known = [change for change in changes if change is not None]
                assert len(known) < len(changes) or sum(known) == difference


@A_FEW
@given(history=HISTORIES)
@example(history=BEYOND_TRANSFERS)
def test_what_a_change_was_is_unknown_only_where_the_token_issues_or_redeems(
    book: Ledger, history: list[list[Step]]
) -> None:
    with book.undone():
        _, told = happen(book, history)
    for each in told:
        issued = any(step[0] in {"issue", "redeem"} for step in each.well_done())
        for block in (each.evm, each.tron):
            unknown = {account for account, change in block.usdt.items() if change is None} - {bytes(20)}
            assert unknown == ({book.chain.owner, book.token} if issued else set())


@A_FEW
@given(history=HISTORIES)
@example(history=BY_CONTRACTS)
@example(history=BEYOND_TRANSFERS)
def test_whoevers_balance_changes_is_touched(book: Ledger, history: list[list[Step]]) -> None:
    with book.undone():
        reads, told = happen(book, history)
    for before, after, each in zip(reads, reads[1:], told, strict=False):
        changed = {account for account in book.accounts if before[account] != after[account]}
        usdt = {account for account in book.accounts if before[account][0] != after[account][0]}
        inside = set().union(*(book.paid_inside(step) for step in each.well_done()))
        assert changed <= each.tron.touched, "a Tron node keeps what contracts pay"
        assert changed - inside <= each.evm.touched
        assert usdt <= each.evm.touched, "USDT is seen whoever pays"
        for block in (each.evm, each.tron):
            assert block.usdt.keys() <= block.touched
            assert block.transactions == len(each.steps)
