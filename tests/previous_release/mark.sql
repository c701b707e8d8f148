WITH asked AS (
    SELECT wallet_id FROM sync_schedule WHERE wallet_id = ANY(%(ids)s::uuid[])
), free AS (
    SELECT s.wallet_id, least(coalesce(h.claimed_at, s.claimed_at), now()) AS claimed_at, h.token IS NOT NULL AS held,
           s.next_sync_at > now() AS early
      FROM sync_schedule s LEFT JOIN 
LATERAL (SELECT l.token, l.claimed_at, l.lease_until FROM leases l WHERE 
l.network = s.network
            AND CASE WHEN l.lane = 2 OR (l.lane = s.lane AND (s.next_sync_at, s.wallet_id) >= (l.first_due, l.first_id)
                                         AND (s.next_sync_at, s.wallet_id) <= (l.last_due, l.last_id))
                     THEN s.wallet_id = ANY(l.wallet_ids) ELSE false END
          ORDER BY l.claimed_at DESC LIMIT 1) h ON true WHERE s.wallet_id = ANY(%(ids)s::uuid[])
       FOR NO KEY UPDATE OF s SKIP LOCKED
), marked AS (
    UPDATE sync_schedule s
       SET requested_at = CASE WHEN f.held THEN now() ELSE s.requested_at END,
           next_sync_at = CASE WHEN f.held THEN s.next_sync_at ELSE now() END,
           lane = CASE WHEN f.held THEN s.lane ELSE 1 END
      FROM free f WHERE f.wallet_id = s.wallet_id AND (f.held OR f.early)
)
SELECT count(f.wallet_id) AS wallets,
       array_agg(f.wallet_id) FILTER (WHERE f.wallet_id IS NOT NULL)::text AS ids,
       array_agg(f.claimed_at) FILTER (WHERE f.wallet_id IS NOT NULL)::text AS claimed,
       array_agg(a.wallet_id) FILTER (WHERE f.wallet_id IS NULL)::text AS locked
  FROM asked a LEFT JOIN free f USING (wallet_id)
