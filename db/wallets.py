"""Claiming wallets: who reads what, and until when. Plain SQL in the driver's own form.

A claim is a lease: ``lease_token`` says whose, ``lease_until`` until when. A wallet keeps its due time meanwhile, so
that one whose lease has run out is due like any other, and earlier than most: nothing has to be cleaned up after a
worker that died. Claims pass over what others hold, at the front of the queue: as many wallets as are being read.

The plans of these statements must not depend on what the planner knows of the table, which is stale after any rush:
rows are found by the queue's order, by where they lie (ctid) or by their key (docs/decisions/0015).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection

from config.settings import Network
from db.refresh import REQUEST_FOR_USER, REQUEST_FOR_WALLETS

FREE = "(lease_until IS NULL OR lease_until <= now())"
"""Nobody reads it: no claim was made, it was written, or its lease has run out."""

# The address is the wallet's own, which the API shows, whatever the schedule's copy says; none where the schedule takes
# the wallet for one of another network. A wallet that still has a token was given up with its worker, and that counts
# as a failure: see worker.sync.
_CLAIM = """
WITH claimed AS (
    UPDATE sync_schedule
       SET lease_token = %(token)s, claimed_at = now(), lease_until = now() + %(lease)s,
           failures = failures + (lease_token IS NOT NULL)::int,
           last_error = CASE WHEN lease_token IS NULL THEN last_error ELSE 'worker_lost' END
     WHERE ctid = ANY(ARRAY(
           SELECT ctid FROM sync_schedule WHERE {which} LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED))
 RETURNING wallet_id, account, failures, greatest(last_changed_at, requested_at) AS touched_at, next_sync_at,
           last_error IS NOT DISTINCT FROM 'worker_lost' AS lost
)
SELECT c.wallet_id, c.account, CASE WHEN w.network = %(network)s THEN w.address END, c.failures,
       date_part('epoch', c.touched_at), date_part('epoch', c.next_sync_at),
       b.usdt_balance::text, b.native_balance::text, b.block_number, c.lost, date_part('epoch', now())
  FROM claimed c JOIN wallets w ON w.id = c.wallet_id LEFT JOIN balance_cache b USING (wallet_id)
"""

# Something must be due for a claim to take anything. Then what falls due soon travels along: a batch costs the same
# however many are in it.
_FIRST = "(SELECT next_sync_at FROM sync_schedule WHERE network = %(network)s AND {free} ORDER BY next_sync_at LIMIT 1)"
_NEXT = (
    "network = %(network)s AND next_sync_at <= now() + %(ahead)s AND {free} AND {first} <= now() ORDER BY next_sync_at"
)
_DUE = _CLAIM.format(which=_NEXT.format(free=FREE, first=_FIRST.format(free=FREE)))

# A message that comes twice, or after somebody else has done its work, finds nothing: these are neither due nor asked
# for.
_NAMED = "wallet_id = ANY(%(wallet_ids)s) AND network = %(network)s AND next_sync_at <= now() AND {free}"
_THESE = _CLAIM.format(which=_NAMED.format(free=FREE))

_PASSED = "SELECT wallet_id FROM sync_schedule WHERE {which}"
_PASSED_OVER = _PASSED.format(which=_NAMED.format(free=FREE))

# In the queue's order: then no more is looked at than is asked for.
_COUNT = """
SELECT count(*) FROM (
    SELECT FROM sync_schedule WHERE network = %(network)s AND next_sync_at <= now() AND {free}
     ORDER BY next_sync_at LIMIT %(bound)s
) AS due
"""
_COUNT_DUE = _COUNT.format(free=FREE)

FOREVER = timedelta(days=3650)


class ClaimedWallet(NamedTuple):
    """A wallet under this claim's lease, and what is known of it. `lost`: its last worker never came back with it.

    Amounts in base units; None: never read. `account` is None until its address has been checked, and to be held
    against it: the schedule is one of many places. `address` is None for a wallet of another network. Times in unix
    seconds: `touched_at` is when its balance last changed or somebody last asked for it, `due_at` when it was due.
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
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """Wallets of one network that nobody else reads until the lease ends. `at` is in unix seconds."""

    network: Network
    token: UUID
    at: float
    wallets: tuple[ClaimedWallet, ...]


def claim_due(
    connection: Connection, network: Network, *, limit: int, lease: timedelta, ahead: timedelta
) -> Claim | None:
    """Claim up to `limit` wallets, the longest overdue first, and fill up with those due within `ahead`.

    None when nothing is due.
    """
    return _claim(connection, _DUE, network, limit=limit, lease=lease, ahead=ahead)


def claim_these(
    connection: Connection, network: Network, wallet_ids: Sequence[UUID], *, limit: int, lease: timedelta
) -> Claim | None:
    """Claim those of `wallet_ids` that are due, as a request makes them, and that nobody holds. None: no such."""
    return _claim(connection, _THESE, network, limit=limit, lease=lease, wallet_ids=list(wallet_ids))


def _claim(connection: Connection, statement: str, network: Network, **parameters: object) -> Claim | None:
    token = uuid4()
    rows = connection.exec_driver_sql(statement, {"network": network, "token": token, **parameters}).all()
    if not rows:
        return None
    return Claim(
        network=network,
        token=token,
        at=rows[0][-1],
        wallets=tuple(
            ClaimedWallet(wallet, account, address, failures, touched, due, _whole(usdt), _whole(native), block, lost)
            for wallet, account, address, failures, touched, due, usdt, native, block, lost, _ in rows
        ),
    )


def _whole(amount: str | None) -> int | None:
    """An amount in base units. As text on its way: the driver would make a Decimal of it."""
    return None if amount is None else int(amount)


def passed_over(connection: Connection, network: Network, wallet_ids: Sequence[UUID]) -> list[UUID]:
    """Those of these wallets that are due and free: after a claim, those whose rows somebody had locked."""
    parameters = {"network": network, "wallet_ids": list(wallet_ids)}
    return list(connection.exec_driver_sql(_PASSED_OVER, parameters).scalars())


def count_due(connection: Connection, network: Network, *, bound: int) -> int:
    """How many wallets of a network are due now, counted up to `bound`."""
    return int(connection.exec_driver_sql(_COUNT_DUE, {"network": network, "bound": bound}).scalar_one())


@dataclass(frozen=True, slots=True)
class Requested:
    """The wallets that will be read, with their networks, and those whose rows a worker was writing: ask again."""

    networks: dict[UUID, Network]
    locked: tuple[UUID, ...]


def request_wallets(connection: Connection, wallet_ids: Sequence[UUID], *, cooldown: timedelta) -> Requested:
    """Make these wallets due now, but for those read within `cooldown`."""
    return _request(connection, REQUEST_FOR_WALLETS, cooldown=cooldown, wallet_ids=list(wallet_ids))


def request_user(
    connection: Connection, user_id: UUID, networks: Sequence[Network], *, cooldown: timedelta
) -> Requested:
    """Make a user's wallets due now, but for those read within `cooldown`."""
    return _request(connection, REQUEST_FOR_USER, cooldown=cooldown, user_id=user_id, networks=list(networks))


def _request(connection: Connection, statement: str, **parameters: object) -> Requested:
    rows = connection.exec_driver_sql(statement, {"patience": FOREVER, **parameters}).all()
    return Requested(
        networks={row.wallet_id: row.network for row in rows if row.wait},
        locked=tuple(row.wallet_id for row in rows if row.locked),
    )


def limit_wallets(connection: Connection, per_user: int) -> None:
    """Let a user have so many wallets from now on; those who have more keep them. For the tables' owner."""
    if connection.exec_driver_sql("SELECT to_regclass('wallet_limits')").scalar_one() is not None:
        changed = "UPDATE wallet_limits SET per_user = %(per_user)s WHERE per_user <> %(per_user)s"
        connection.exec_driver_sql(changed, {"per_user": per_user})
