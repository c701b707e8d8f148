SELECT s.wallet_id, coalesce(h.claimed_at, s.claimed_at) AS claimed_at, h.token IS NULL AS over
  FROM sync_schedule s LEFT JOIN 
LATERAL (SELECT l.token, l.claimed_at, l.lease_until FROM leases l WHERE 
l.network = s.network
            AND CASE WHEN l.lane = 2 OR (l.lane = s.lane AND (s.next_sync_at, s.wallet_id) >= (l.first_due, l.first_id)
                                         AND (s.next_sync_at, s.wallet_id) <= (l.last_due, l.last_id))
                     THEN s.wallet_id = ANY(l.wallet_ids) ELSE false END
          ORDER BY l.claimed_at DESC LIMIT 1) h ON true WHERE s.wallet_id = ANY(%(wallet_ids)s::uuid[])
