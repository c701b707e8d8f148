"""Transfers that show by themselves: nobody asks for the wallet, and its new balance is in the cache."""

from datetime import UTC, datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from config.addresses import account_bytes
from devstack.product import Product, resync_all
from devstack.saying import DemoFailed, step
from devstack.servers import wait_for
from devstack.stack import SOLID_LAG, LocalChain, Stack, node_requests

MOVED = 23_000_000  # 23 USDT

_ROW = """
SELECT b.usdt_balance AS usdt, b.block_number AS block, b.last_synced AS at, w.address
  FROM wallets AS w JOIN balance_cache AS b ON b.wallet_id = w.id WHERE w.id = %s
"""
_POLICIES = "SELECT network, policy, reason, wallets FROM feed_cursor ORDER BY network"
WAYS = {
    "cadence": "each wallet is read at its own interval",
    "every_block": "all wallets are read once a block: it takes no more requests than to follow blocks",
    "feed": "blocks are followed, and whoever they touch is read",
}


def rows(stack: Stack, query: LiteralString, *parameters: Any) -> list[dict[str, Any]]:
    """What the database says."""
    with psycopg.connect(stack.env["DATABASE_URL"], autocommit=True, row_factory=dict_row) as connection:
        return connection.execute(query, parameters).fetchall()


def show_policies(stack: Stack, running: Product) -> None:
    """How each network is kept fresh, as the worker has decided by its wallets and its budget."""
    step("Waiting until it is decided how each network is kept fresh …")

    def decided() -> bool:
        found = rows(stack, _POLICIES)
        return len(found) == len(stack.chains) and all(each["reason"] not in {None, "starting"} for each in found)

    wait_for(decided, *running.processes, what="the policies to be decided")
    for each in rows(stack, _POLICIES):
        print(f"  {each['network']:<10} {each['policy']:<12} {WAYS[each['policy']]}", flush=True)
    step("The feed looks for a wallet from its next read on. So that it need not be waited for: resync --all --wait …")
    print(f"  {resync_all(stack.env).strip().splitlines()[-1]}", flush=True)


def show_arrival(stack: Stack, running: Product, network: str, wallet: UUID) -> None:
    """Move USDT to a wallet, ask nobody, and tell how it came into the cache. Raises DemoFailed."""
    chain = stack.chains[network]
    (before,) = rows(stack, _ROW, wallet)
    step(f"Moving {MOVED / 10**6:.0f} USDT to {before['address']} on {network.capitalize()}, and asking nobody …")
    chain.chain.mint(chain.token, [(chain.chain.owner, MOVED)])
    account = account_bytes("tron" if network == "tron" else "evm", before["address"])
    asked, head = node_requests(chain), chain.chain.head()
    block = chain.chain.transfer(chain.token, account, MOVED)
    readable = moment_of(chain, block)
    arrived: list[dict[str, Any]] = []

    def is_there() -> bool:
        arrived[:] = rows(stack, _ROW, wallet)
        return bool(arrived[0]["usdt"] != before["usdt"])

    wait_for(is_there, *running.processes, what="the transfer to be in the cache", pause=0.02)
    (after,) = arrived
    if (after["usdt"], after["block"] >= block) != (before["usdt"] + MOVED, True):
        raise DemoFailed(f"expected {before['usdt'] + MOVED} as of block {block}, got {after}")
    took, blocks = node_requests(chain) - asked, chain.chain.head() - head
    print(f"  block {block:,} could be read at {clock(readable)}, with the finality that is configured")
    print(f"  the row shows it since {clock(after['at'])}, as of block {after['block']:,}")
    later = max((after["at"] - readable).total_seconds(), 0)
    print(f"  that is {later:.1f} s later, where a block comes each second; nobody has asked")
    told = ", ".join(f"{count} {method}" for method, count in sorted(took.items()))
    print(f"  requests to the node for the {blocks} blocks since the transfer was sent: {told}", flush=True)


def moment_of(chain: LocalChain, block: int) -> datetime:
    """Wait until a block can be read at the finality that the product's settings leave as it is: when that was."""
    lag = SOLID_LAG if chain.node is not chain.evm else 0
    wait_for(lambda: chain.chain.head() >= block + lag, chain.evm, what="the block to be final", pause=0.02)
    return datetime.now(UTC)


def clock(moment: datetime) -> str:
    """A time of day."""
    return f"{moment.astimezone(UTC):%H:%M:%S.%f}"[:-4]
