SELECT state, error, count(*) AS wallets,
       array_agg(wallet_id) FILTER (WHERE state = 'open')::text AS ids,
       array_agg(claimed_at) FILTER (WHERE state = 'open')::text AS claimed
  FROM (SELECT m.wallet_id, m.claimed_at, CASE WHEN over THEN s.last_error END AS error,
               CASE WHEN s.wallet_id IS NULL THEN 'gone' WHEN over THEN 'done' ELSE 'open' END AS state
          FROM unnest(%(ids)s::uuid[], %(claimed)s::timestamptz[]) AS m (wallet_id, claimed_at)
          LEFT JOIN sync_schedule s USING (wallet_id),
               LATERAL (SELECT coalesce(s.claimed_at > coalesce(m.claimed_at, '-infinity'), false)
                               AND NOT EXISTS (SELECT FROM 
LATERAL (SELECT l.token, l.claimed_at, l.lease_until FROM leases l WHERE 
l.network = s.network
            AND CASE WHEN l.lane = 2 OR (l.lane = s.lane AND (s.next_sync_at, s.wallet_id) >= (l.first_due, l.first_id)
                                         AND (s.next_sync_at, s.wallet_id) <= (l.last_due, l.last_id))
                     THEN s.wallet_id = ANY(l.wallet_ids) ELSE false END
          ORDER BY l.claimed_at DESC LIMIT 1) h) AS over) AS o) AS seen
 GROUP BY state, error
