"""How each network is kept fresh: what was decided, and what it was decided by. Plain SQL in the driver's own form."""

from typing import NamedTuple

from sqlalchemy import Connection

from config.networks import NetworkName
from db.feed import MAKE_ALL_DUE
from db.feed_cursor import Cursor
from db.networks import BEGIN

_DECIDE = """
UPDATE feed_cursor
   SET policy = %(policy)s, reason = %(reason)s, read_every = %(read_every)s, stretch = %(stretch)s,
       requests_a_day = %(requests_a_day)s, decided_at = now(), wallets = %(wallets)s,
       counted_at = CASE WHEN %(counted)s THEN now() ELSE counted_at END
 WHERE network = %(network)s
"""
# A feed that is behind keeps its place: it may catch up, and then it covers what it covered before.
_LEAVE = """
UPDATE feed_cursor SET since = CASE WHEN %(follows)s THEN since END, due_below = NULL, due_spread = %(spread)s
 WHERE network = %(network)s
"""
# Wallets whose network was changed are read there, and owe nothing here; nor do those that are gone (a wallet takes its
# touches along, but not where triggers are off). One that is due long after now, and not with its wallet, which fails,
# was noted by a clock that was wrong.
_FORGET_STRAYS = """
DELETE FROM touches AS t
 WHERE t.network = %(network)s
   AND NOT EXISTS (SELECT FROM sync_schedule AS s WHERE s.wallet_id = t.wallet_id AND s.network = t.network)
"""
_MEND_DUES = """
UPDATE touches AS t SET due_at = now() FROM sync_schedule AS s
 WHERE t.network = %(network)s AND t.due_at > now() + interval '10 minutes'
   AND s.wallet_id = t.wallet_id AND t.due_at <> s.next_sync_at
"""
_FALL_BACK = """
UPDATE feed_cursor
   SET policy = 'cadence', reason = 'behind', due_below = NULL, due_spread = %(spread)s, decided_at = NULL
 WHERE network = %(network)s AND policy = 'feed' AND coalesce(good_until <= now(), true)
RETURNING 1
"""

_COUNT_WALLETS = "SELECT count(*) FROM sync_schedule WHERE network = %(network)s"

_COUNT_MISSED = """
UPDATE feed_cursor SET missed_usdt = missed_usdt + %(usdt)s, missed_native = missed_native + %(native)s
 WHERE network = %(network)s
"""


class Decision(NamedTuple):
    """How a network is kept fresh from now on: columns of `feed_cursor`."""

    policy: str
    reason: str | None
    read_every: float
    stretch: float
    requests_a_day: int | None
    wallets: int
    counted: bool
    follows: bool = False
    """Blocks are followed, also where that is not relied on."""


def note_decision(
    connection: Connection, network: NetworkName, before: Cursor, decision: Decision, *, spread: float
) -> None:
    """Note it. The wallets that would come later than by the way from now on come within `spread` seconds: those that
    wait for a sweep, where the feed is left, and all where they are read once a block.
    """
    connection.exec_driver_sql(_DECIDE, {"network": network, **decision._asdict()})
    if decision.counted:  # now and then: both go through all touches
        connection.exec_driver_sql(_FORGET_STRAYS, {"network": network})
        connection.exec_driver_sql(_MEND_DUES, {"network": network})
    if decision.policy != before.policy and (decision.policy == "every_block" or before.policy == "feed"):
        connection.exec_driver_sql(_LEAVE, {"network": network, "spread": spread, "follows": decision.follows})
        connection.exec_driver_sql(MAKE_ALL_DUE, {"network": network, "begin": BEGIN})


def fall_back(connection: Connection, network: NetworkName, *, spread: float) -> bool:
    """Keep a network fresh by the cadence, if its feed has stood still for too long. Says whether that is news."""
    fell = connection.exec_driver_sql(_FALL_BACK, {"network": network, "spread": spread}).scalar_one_or_none()
    if fell:
        connection.exec_driver_sql(MAKE_ALL_DUE, {"network": network, "begin": BEGIN})
    return bool(fell)


def count_wallets(connection: Connection, network: NetworkName) -> int:
    """All wallets of a network. It goes through an index: not for each block."""
    return int(connection.exec_driver_sql(_COUNT_WALLETS, {"network": network}).scalar_one())


def count_missed(connection: Connection, network: NetworkName, *, usdt: int, native: int) -> None:
    """Count changes that were believed and that the feed had not told of."""
    connection.exec_driver_sql(_COUNT_MISSED, {"network": network, "usdt": usdt, "native": native})
