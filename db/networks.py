"""What is true of a whole network: whether it is out. One row each; an outage is a fact about it, and of no wallet."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from config.settings import Network


class State(NamedTuple):
    """Since when no endpoint of a network answers, and an error's code; when the last such time ended."""

    out_since: datetime | None = None
    reason: str | None = None
    back_lately: bool = False
    """It ended less than a minute ago."""
    lost: bool = False
    """A batch that was lost with its worker waits to be tried."""


_LOCK = """
SELECT out_since, reason, coalesce(back_at > now() - interval '1 minute', false),
       EXISTS (SELECT FROM leases WHERE network = %(network)s AND (lease_until IS NULL OR lease_until <= now()))
  FROM network_state WHERE network = %(network)s FOR UPDATE
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
_STATES = "SELECT network, out_since, reason FROM network_state"


def lock(connection: Connection, network: Network) -> State:
    """A network's state, locked until the transaction ends."""
    row = connection.exec_driver_sql(_LOCK, {"network": network}).one_or_none()
    if row is None:
        connection.exec_driver_sql(_ADD, {"network": network})
        row = connection.exec_driver_sql(_LOCK, {"network": network}).one()
    return State(*row)


def note_out(connection: Connection, network: Network, reason: str) -> bool:
    """No endpoint of a network answers, by this error. Says whether that is news."""
    return bool(connection.exec_driver_sql(_OUT, {"network": network, "reason": reason}).scalar_one_or_none())


def note_back(connection: Connection, network: Network) -> bool:
    """An endpoint of a network has answered. Says whether that is news."""
    return bool(connection.exec_driver_sql(_BACK, {"network": network}).rowcount)


def states(connection: Connection) -> dict[Network, State]:
    """The state of every network that has one."""
    return {row.network: State(row.out_since, row.reason) for row in connection.exec_driver_sql(_STATES)}
