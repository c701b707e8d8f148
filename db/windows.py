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
