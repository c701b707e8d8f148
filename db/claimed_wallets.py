"""What a claim knows of each of its wallets: in SQL, and as a value."""

from typing import Any, NamedTuple
from uuid import UUID

from db.sources import OF_SOURCE

# A claim is made when its statement begins, not when its transaction did: that may have waited for its turn, and
# whoever asked meanwhile is served by this read.
# The address is the wallet's own, which the API shows, whatever the schedule's copy says; none where the schedule takes
# the wallet for one of another network, or where there is no such wallet. By their keys, one by one, whatever the
# planner thinks of their number. A balance of another source than the network's is as if it had never been read. Where
# `resync --forget` was run for a wallet after its last read (forgotten_at), its balance is still known, but its block
# counts as 0, so that what is read next may be of any block.
WALLETS = f"""
SELECT f.wallet_id, f.account, CASE WHEN w.network = %(network)s THEN w.address END, f.failures,
       date_part('epoch', greatest(f.last_changed_at, f.requested_at)), date_part('epoch', f.next_sync_at),
       b.usdt_balance::text, b.native_balance::text,
       CASE WHEN f.forgotten_at > b.last_synced THEN 0 ELSE b.block_number END, b.finality, x.account,
       date_part('epoch', statement_timestamp())
  FROM free AS f
  LEFT JOIN networks AS n ON n.name = %(network)s
  LEFT JOIN LATERAL (SELECT network, address FROM wallets WHERE id = f.wallet_id LIMIT 1) AS w ON true
  LEFT JOIN LATERAL (SELECT usdt_balance, native_balance, block_number, finality, last_synced FROM balance_cache AS b
                      WHERE wallet_id = f.wallet_id AND {OF_SOURCE} LIMIT 1) AS b ON true
  LEFT JOIN LATERAL (SELECT account FROM watched
                      WHERE %(follows)s AND wallet_id = f.wallet_id AND network = %(network)s LIMIT 1) AS x ON true
"""
"""For a statement with a CTE `free`, of rows of sync_schedule. Parameters: network, and whether somebody follows it."""


class ClaimedWallet(NamedTuple):
    """A wallet under this claim's lease, and what is known of it.

    Amounts in base units; None: never read from what its network is read from now. `block_number` is 0 where somebody
    had the balance forgotten: any block may follow. `account` is None until its address has been checked, and to be
    held against it: the schedule is one of many places. `address` is None for a wallet of another network. Times in
    unix seconds: `touched_at` is when its balance last changed or somebody last asked for it, `due_at` when it was due.
    """

    id: UUID
    account: bytes | None
    address: str | None
    failures: int
    touched_at: float | None
    due_at: float
    usdt: int | None
    native: int | None
    block_number: int | None
    finality: str | None = None
    watched: bytes | None = None
    """The account that the feed looks for; None also where nobody follows the network."""


DUE_AT = ClaimedWallet._fields.index("due_at")


def claimed_wallet(row: Any) -> ClaimedWallet:
    """A wallet out of a row of `WALLETS`, whose last column is when it was claimed."""
    wallet, account, address, failures, touched, due, usdt, native, *more, _ = row
    return ClaimedWallet(wallet, account, address, failures, touched, due, _whole(usdt), _whole(native), *more)


def _whole(amount: str | None) -> int | None:
    """An amount in base units. As text on its way: the driver would make a Decimal of it."""
    return None if amount is None else int(amount)
