"""Lanes and windows, in SQL: what every statement has to say alike of who holds a wallet. Imports nothing: the endpoint
uses it too.
"""

USUAL, MASSES, NAMED = 0, 1, 2
"""The lanes. A wallet is in the first or the second: there it has come with many others, by an import or a resync, and
these are read in a share of each batch. The third is of leases alone: wallets without a window."""

HOLDS = """
l.network = s.network
            AND CASE WHEN l.lane = 2 OR (l.lane = s.lane AND (s.next_sync_at, s.wallet_id) >= (l.first_due, l.first_id)
                                         AND (s.next_sync_at, s.wallet_id) <= (l.last_due, l.last_id))
                     THEN s.wallet_id = ANY(l.wallet_ids) ELSE false END"""
"""Whether a wallet `s` of sync_schedule is under a lease `l`. One that has left its window is not any more: its address
has changed, say."""

HOLDER = f"""
LATERAL (SELECT l.token, l.claimed_at, l.lease_until FROM leases l WHERE {HOLDS}
          ORDER BY l.claimed_at DESC LIMIT 1)"""
"""The lease that a wallet `s` of sync_schedule is under. For `LEFT JOIN … ON true`, or `EXISTS`."""

ITS_TURN = """(cardinality(wallet_ids) > 1 OR deaths < 3
                OR claimed_at + least(interval '1 minute' * 2 ^ least(deaths - 3, 6), interval '1 hour') <= now())"""
"""Whether a lost batch is to be tried now. A wallet that is alone and goes on killing is tried more and more rarely,
each hour in the end; whoever names it has it tried now."""

WAITS = f"(lease_until <= now() OR (lease_until IS NULL AND {ITS_TURN}))"
"""Whether a lease is of a lost batch that is to be tried now, or put aside first."""
