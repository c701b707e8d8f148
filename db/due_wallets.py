"""The queue of a network, in two lanes: the free wallets along their due times, and how many of them are due.

Windows that others hold are passed over whole, so that neither counting nor claiming looks at what is in them.
"""

from datetime import timedelta
from math import inf
from time import monotonic

from sqlalchemy import Connection

from config.networks import NetworkName
from db.windows import MASSES, USUAL

# What no window covers, in order: from the beginning of time to the first window, from its end to the next, and so on.
# Windows may overlap, for a claim may reach over one that is there. One bound at either end and no more: with two at
# one end, Postgres keeps to neither and looks at the whole queue.
FREE_OF_LANE = """
held AS MATERIALIZED (
    SELECT first_due, first_id, last_due, last_id FROM leases WHERE network = %(network)s AND lane = %(lane)s
), named AS MATERIALIZED (
    SELECT unnest(wallet_ids) AS wallet_id FROM leases WHERE network = %(network)s AND lane = 2
), stretches AS MATERIALIZED (
    SELECT b.due AS begin_due, b.id AS begin_id, e.due AS end_due, e.id AS end_id
      FROM (SELECT to_timestamp(%(begin)s::float8) AS due, '00000000-0000-0000-0000-000000000000'::uuid AS id
            UNION SELECT last_due, last_id FROM held WHERE last_due >= to_timestamp(%(begin)s::float8)) AS b
     CROSS JOIN LATERAL (SELECT first_due AS due, first_id AS id FROM held
                          WHERE (first_due, first_id) > (b.due, b.id) AND first_due <= now() + %(ahead)s
                          UNION ALL SELECT now() + %(ahead)s, 'ffffffff-ffff-ffff-ffff-ffffffffffff'
                          ORDER BY 1, 2 LIMIT 1) AS e
     WHERE NOT EXISTS (SELECT FROM held h
                        WHERE (h.first_due, h.first_id) <= (b.due, b.id) AND (b.due, b.id) < (h.last_due, h.last_id))
     ORDER BY 1, 2
), free AS MATERIALIZED (
    SELECT f.* FROM stretches AS t CROSS JOIN LATERAL (
           SELECT wallet_id, account, failures, last_changed_at, requested_at, forgotten_at, next_sync_at
             FROM sync_schedule
            WHERE network = %(network)s AND lane = %(lane)s
              AND (next_sync_at, wallet_id) > (t.begin_due, t.begin_id)
              AND (next_sync_at, wallet_id) < (t.end_due, t.end_id)
              AND wallet_id NOT IN (SELECT wallet_id FROM named)
            ORDER BY next_sync_at, wallet_id LIMIT %(limit)s) AS f
     LIMIT %(limit)s
)"""
"""Wallets of a lane that nobody holds, as a CTE `free`. Parameters: network, lane, begin (unix seconds), ahead and
limit."""

_COUNT_DUE = f"""
WITH {FREE_OF_LANE} SELECT count(*), date_part('epoch', coalesce(min(next_sync_at), now())) FROM free
"""

EVER = -inf
NOTHING = timedelta(0)

BEGIN_HOLDS = 5.0
"""Seconds for which a connection begins to look at a queue where it last found the first due wallet: while somebody's
transaction is open, all entries that died since stand before it. If too few are found there, it looks from the
beginning after all, unless that took long the last time."""

LONG = 0.25  # seconds


def count_due(connection: Connection, network: NetworkName, *, bound: int) -> int:
    """How many wallets of a network are due now and free, in each lane counted up to `bound`."""
    return sum(count_lane(connection, network, lane, bound=bound) for lane in (USUAL, MASSES))


def count_lane(connection: Connection, network: NetworkName, lane: int, *, bound: int) -> int:
    """How many are due and free in one of them, up to `bound`."""
    of_lane = {"network": network, "lane": lane, "limit": bound, "ahead": NOTHING}
    counted = 0
    for begin, least in beginnings(connection, network, lane, bound):
        started = monotonic()
        counted, first = connection.exec_driver_sql(_COUNT_DUE, {**of_lane, "begin": begin}).one()
        if begin == EVER:
            note_beginning(connection, network, lane, first, seconds=monotonic() - started)
        if counted >= least:
            break
    return int(counted)


def beginnings(
    connection: Connection, network: NetworkName, lane: int, wanted: int, trial: float | None = None
) -> list[tuple[float, int]]:
    """From when on to look, and how many must be found there to look no further. `trial`: there first, at any price."""
    if trial is not None:
        return [(trial, 1), (EVER, 1)]
    at, begin, long = connection.info.get((network, lane), (-inf, EVER, False))
    known = [(begin, 0 if long else wanted)] if monotonic() - at < BEGIN_HOLDS else []
    return [*known, (EVER, 1)]


def note_beginning(connection: Connection, network: NetworkName, lane: int, first: float, *, seconds: float) -> None:
    """Where the first due wallet was when it was looked for from the beginning of time, and how long that took."""
    connection.info[network, lane] = monotonic(), first, seconds > LONG
