"""Claiming wallets: who reads what, and until when. Plain SQL in the driver's own form.

A claim writes one lease row and no wallet (``db.leases``): its wallets keep their due times, and are written when they
were read. So a batch that is handed back, or an outage, costs no wallet anything.

The plans of these statements must not depend on what the planner knows of the table, which is stale after any rush:
rows are found by the queue's order or by their key, one by one (docs/decisions/0020).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import random
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection

from config.networks import NetworkName
from db.claimed_wallets import DUE_AT, WALLETS, ClaimedWallet, claimed_wallet
from db.due_wallets import EVER, FREE_OF_LANE, NOTHING, beginnings, count_lane, note_beginning
from db.leases import end_empty, end_leases, take_lost
from db.network_state import NO_STATE, State, lock
from db.requests import REQUEST_FOR_USER, REQUEST_FOR_WALLETS
from db.touches import TOUCHED
from db.windows import HOLDER, HOLDS, MASSES, NAMED, USUAL

SHARE_OF_MASSES = 4
"""One wallet in so many of a batch may be of those that came in masses while others are due, and no more."""

# Something must be due for a claim to take anything. Then what falls due soon travels along: a batch costs the same
# however many are in it.
_DUE = f"""
WITH {FREE_OF_LANE}, leased AS (
    INSERT INTO leases
           (token, lane, network, first_due, first_id, last_due, last_id, claimed_at, lease_until, wallet_ids)
    SELECT %(token)s, %(lane)s, %(network)s, a.next_sync_at, a.wallet_id, z.next_sync_at, z.wallet_id,
           statement_timestamp(), now() + %(lease)s, (SELECT array_agg(wallet_id) FROM free)
      FROM (SELECT next_sync_at, wallet_id FROM free ORDER BY 1, 2 LIMIT 1) AS a,
           (SELECT next_sync_at, wallet_id FROM free ORDER BY 1 DESC, 2 DESC LIMIT 1) AS z
     WHERE a.next_sync_at <= now() AND (SELECT count(*) FROM free) >= %(least)s
 RETURNING token
)
{WALLETS} WHERE EXISTS (SELECT FROM leased)
"""

# A message that comes twice, or after somebody else has done its work, finds nothing: these are neither due nor asked
# for.
_THESE = f"""
WITH free AS MATERIALIZED (
    SELECT wallet_id, account, failures, last_changed_at, requested_at, forgotten_at, next_sync_at
      FROM sync_schedule AS s
     WHERE wallet_id = ANY(%(wallet_ids)s) AND network = %(network)s AND next_sync_at <= now()
       AND NOT EXISTS (SELECT FROM {HOLDER} AS h)
     LIMIT %(limit)s
), leased AS (
    INSERT INTO leases (token, lane, network, claimed_at, lease_until, wallet_ids)
    SELECT %(token)s, {NAMED}, %(network)s, statement_timestamp(), now() + %(lease)s, array_agg(wallet_id)
      FROM free HAVING count(*) > 0
)
{WALLETS}
"""

_LOST = f"""
WITH free AS MATERIALIZED (
    SELECT wallet_id, account, failures, last_changed_at, requested_at, forgotten_at, next_sync_at
      FROM sync_schedule AS s
     WHERE wallet_id = ANY(%(wallet_ids)s) AND network = %(network)s
       AND EXISTS (SELECT FROM leases l WHERE l.token = %(token)s AND {HOLDS})
       AND NOT EXISTS (SELECT FROM leases l WHERE l.token <> %(token)s AND l.lease_until > now() AND {HOLDS})
)
{WALLETS}
"""

_ANYWHERE = """
SELECT date_part('epoch', next_sync_at + (now() - next_sync_at) * random()) FROM sync_schedule
 WHERE network = %(network)s AND lane = 0 AND next_sync_at > '-infinity' AND next_sync_at < now()
 ORDER BY next_sync_at LIMIT 1
"""

FOREVER = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Claim:
    """Wallets of one network that nobody else reads until the lease ends. `at` is in unix seconds.

    `deaths`: of workers that had these very wallets, in a row. `state`: of their network, when it was locked for this.
    """

    network: NetworkName
    token: UUID
    at: float
    wallets: tuple[ClaimedWallet, ...]
    deaths: int = 0
    state: State = NO_STATE


def claim_due(
    connection: Connection, network: NetworkName, *, limit: int, lease: timedelta, ahead: timedelta
) -> Claim | None:
    """Claim up to `limit` wallets, the longest overdue first, and fill up with those due within `ahead`.

    Wallets that a block has touched come first, whenever they were due. Up to a quarter is of the lane of masses, and
    what the others leave. Where nothing is due, it is a batch that was lost with its worker; None when there is none
    either. While the network is out a claim is a trial: of some wallets anywhere in the queue, so that none of them can
    be why every trial fails. Claims of one network come one after another: the second sees the first one's window.
    """
    state = lock(connection, network)
    if state.over:
        end_leases(connection, network)
    trial = None
    if state.out_since is not None:
        limit = max(int(limit ** random()), 1)  # noqa: S311  no secret
        trial = connection.exec_driver_sql(_ANYWHERE, {"network": network}).scalar_one_or_none()
    if state.freshness.policy == "every_block":
        ahead = timedelta(seconds=state.freshness.read_every / 2)  # they travel together, once a block
    token, of_both = uuid4(), {"network": network, "lease": lease, "follows": state.freshness.policy == "feed"}
    touched = _touched(connection, state, limit, {**of_both, "token": token}) if trial is None else []
    limit -= len(touched)
    rows: list[Any] = []
    share = int(limit / SHARE_OF_MASSES + random())  # noqa: S311  no secret; of a batch of one it is one in four
    masses = count_lane(connection, network, MASSES, bound=max(share, 1)) if state.masses else 0
    for lane in (USUAL, MASSES) if masses else (USUAL,):
        left = limit - (min(masses, share) if lane == USUAL else len(rows))
        of_lane = {**of_both, "token": token, "lane": lane, "limit": left, "ahead": NOTHING if masses else ahead}
        for begin, least in beginnings(connection, network, lane, left, trial) if left else ():
            started = monotonic()
            found = connection.exec_driver_sql(_DUE, {**of_lane, "begin": begin, "least": max(least, 1)}).all()
            rows += found
            if found and begin == EVER:
                note_beginning(connection, network, lane, found[0][DUE_AT], seconds=monotonic() - started)
            if found or least == 0:
                break
    claim = _claim(network, token, touched + rows, state=state)
    return claim or claim_lost(connection, network, lease=lease, state=state)


def _touched(connection: Connection, state: State, limit: int, of_claim: dict[str, Any]) -> list[Any]:
    """Claim wallets whose reads are owed. Where others are due as well, they have half of the batch."""
    if not state.freshness.touched:
        return []
    overdue = count_lane(connection, of_claim["network"], USUAL, bound=1)
    most = max(limit // 2, 1) if overdue else limit
    return list(connection.exec_driver_sql(TOUCHED, {**of_claim, "limit": most}).all())


def claim_these(
    connection: Connection, network: NetworkName, wallet_ids: Sequence[UUID], *, limit: int, lease: timedelta
) -> Claim | None:
    """Claim those of these wallets that are due and that nobody holds, up to `limit`. In turn, as by `claim_due`."""
    state, token = lock(connection, network), uuid4()
    named = {"network": network, "token": token, "wallet_ids": list(wallet_ids), "limit": limit, "lease": lease}
    named["follows"] = state.freshness.policy == "feed"
    return _claim(network, token, connection.exec_driver_sql(_THESE, named).all(), state=state)


def claim_lost(
    connection: Connection,
    network: NetworkName,
    *,
    lease: timedelta,
    wallet_ids: Sequence[UUID] | None = None,
    state: State | None = None,
) -> Claim | None:
    """Claim a batch that was lost with its worker: with `wallet_ids`, one that has some of these.

    `state`: of the network, for whoever has it locked.
    """
    if state is None:
        state = lock(connection, network)
        end_leases(connection, network)
    while taken := take_lost(connection, network, lease, None if wallet_ids is None else list(wallet_ids)):
        token, found, deaths = taken
        lost = {"network": network, "token": token, "wallet_ids": found}
        lost["follows"] = state.freshness.policy == "feed"
        rows = connection.exec_driver_sql(_LOST, lost).all()
        if claim := _claim(network, token, rows, deaths=deaths, state=state):
            return claim
        end_empty(connection, token)
    return None


def _claim(network: NetworkName, token: UUID, rows: Sequence[Any], **of_batch: Any) -> Claim | None:
    if not rows:
        return None
    return Claim(
        network=network,
        token=token,
        at=rows[0][-1],
        wallets=tuple(map(claimed_wallet, rows)),
        **of_batch,
    )


@dataclass(frozen=True, slots=True)
class Requested:
    """The wallets that will be read, with their networks, and those whose rows a worker was writing: ask again."""

    networks: dict[UUID, NetworkName]
    locked: tuple[UUID, ...]


def request_wallets(connection: Connection, wallet_ids: Sequence[UUID], *, cooldown: timedelta) -> Requested:
    """Make these wallets due now, but for those read within `cooldown`."""
    return _request(connection, REQUEST_FOR_WALLETS, cooldown=cooldown, wallet_ids=list(wallet_ids))


def request_user(
    connection: Connection, user_id: UUID, networks: Sequence[NetworkName], *, cooldown: timedelta
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
