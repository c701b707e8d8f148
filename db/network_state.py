"""What is true of a whole network: whether it is out, and what it is read from. One row each; an outage is a fact about
it, and of no wallet.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from config.network_settings import Source
from config.networks import NetworkName
from db.windows import WAITS


class Freshness(NamedTuple):
    """How a network is kept fresh (``worker.feed.policy``), and what its feed has told of."""

    policy: str = "cadence"
    """`cadence`, `every_block` or `feed`. It is the cadence where nobody has decided for a minute, or the feed stands
    still."""
    read_every: float = 0.0
    """Seconds over which reads are merged."""
    stretch: float = 1.0
    """The cadence is so many times as long."""
    number: int | None = None
    """The block that was followed last."""
    since: int | None = None
    """From this block on the feed has told everything; None: it covers nothing."""
    sees_native: bool = False
    """It sees native coin that contracts pay."""
    touches: bool = False
    """Reads are owed."""
    touched: bool = False
    """Some of them are due."""


class State(NamedTuple):
    """Since when no node of a network answers, and an error's code; when the last such time ended."""

    out_since: datetime | None = None
    reason: str | None = None
    back_lately: bool = False
    """It ended less than a minute ago."""
    lost: bool = False
    """A batch that was lost with its worker waits to be tried, or to be put aside."""
    over: bool = False
    """A lease is over, and its wallets are to be put aside."""
    masses: bool = False
    """Wallets are due in the lane of those that came with many others."""
    source_id: int | None = None
    """What it is read from, as a row of `sources`; None: no worker has registered it."""
    chain_id: int | None = None
    token: str | None = None
    decimals: int | None = None
    """The token's, as they were found on the chain; None: no balance has been read yet."""
    freshness: Freshness = Freshness()

    @property
    def source(self) -> Source | None:
        """What it is read from."""
        return None if self.chain_id is None or self.token is None else Source(self.chain_id, self.token)


NO_STATE = State()
_OF_STATE: int = State._fields.index("freshness")

_LOCK = f"""
SELECT out_since, network_state.reason, coalesce(back_at > now() - interval '1 minute', false),
       EXISTS (SELECT FROM leases WHERE network = %(network)s AND {WAITS}),
       EXISTS (SELECT FROM leases WHERE network = %(network)s AND lease_until <= now()),
       coalesce((SELECT true FROM sync_schedule WHERE network = %(network)s AND lane = 1 AND next_sync_at <= now()
                  ORDER BY next_sync_at LIMIT 1), false),
       n.source, o.chain_id, o.token, o.decimals,
       CASE WHEN f.policy = 'feed' AND coalesce(f.good_until <= now(), true) THEN 'cadence'
            WHEN coalesce(f.decided_at NOT BETWEEN now() - interval '1 minute' AND now() + interval '1 minute', true)
                 THEN 'cadence'
            ELSE f.policy END,
       coalesce(f.read_every, 0),
       CASE WHEN f.decided_at BETWEEN now() - interval '1 minute' AND now() + interval '1 minute'
            THEN f.stretch ELSE 1 END,
       f.block_number, f.since, coalesce(f.sees_native, false),
       EXISTS (SELECT FROM touches WHERE network = %(network)s),
       EXISTS (SELECT FROM touches WHERE network = %(network)s AND due_at <= now())
  FROM network_state LEFT JOIN networks n ON n.name = network_state.network LEFT JOIN sources o ON o.id = n.source
  LEFT JOIN feed_cursor f ON f.network = network_state.network
 WHERE network_state.network = %(network)s FOR UPDATE OF network_state
"""
_ADD = "INSERT INTO network_state (network) VALUES (%(network)s) ON CONFLICT DO NOTHING"

_OUT = """
INSERT INTO network_state AS n (network, out_since, reason) VALUES (%(network)s, now(), %(reason)s)
    ON CONFLICT (network) DO UPDATE SET out_since = coalesce(n.out_since, now()), reason = EXCLUDED.reason
 WHERE n.out_since IS NULL OR n.reason IS DISTINCT FROM EXCLUDED.reason
RETURNING out_since = now()
"""
_BACK = """
UPDATE network_state SET out_since = NULL, reason = NULL, back_at = now()
 WHERE network = %(network)s AND out_since IS NOT NULL
"""
_CONDITIONS = """
SELECT network, out_since, reason,
       (SELECT coalesce(sum(cardinality(wallet_ids)), 0) FROM leases AS l
         WHERE l.network = n.network AND coalesce(lease_until <= now(), true)) AS lost,
       (SELECT count(*) FROM held_changes JOIN wallets AS w ON w.id = wallet_id WHERE w.network = n.network) AS doubted
  FROM network_state AS n
"""


def lock(connection: Connection, network: NetworkName) -> State:
    """A network's state, locked until the transaction ends."""
    row = connection.exec_driver_sql(_LOCK, {"network": network}).one_or_none()
    if row is None:
        connection.exec_driver_sql(_ADD, {"network": network})
        row = connection.exec_driver_sql(_LOCK, {"network": network}).one()
    return State(*row[:_OF_STATE])._replace(freshness=Freshness(*row[_OF_STATE:]))


def note_out(connection: Connection, network: NetworkName, reason: str) -> bool:
    """No node of a network answers, by this error. Says whether that is news."""
    return bool(connection.exec_driver_sql(_OUT, {"network": network, "reason": reason}).scalar_one_or_none())


def note_back(connection: Connection, network: NetworkName) -> bool:
    """A node of a network has answered. Says whether that is news."""
    return bool(connection.exec_driver_sql(_BACK, {"network": network}).rowcount)


class Condition(NamedTuple):
    """What a person should know of a network. `lost`: wallets whose worker never came back, and which nobody reads yet.
    `doubted`: wallets of which one node alone says that they changed, with unlikely many others.
    """

    out_since: datetime | None
    reason: str | None
    lost: int
    doubted: int


SOUND = Condition(None, None, 0, 0)


def conditions(connection: Connection) -> dict[NetworkName, Condition]:
    """The condition of every network that was ever claimed for."""
    return {row[0]: Condition(row[1], row[2], int(row[3]), row[4]) for row in connection.exec_driver_sql(_CONDITIONS)}
