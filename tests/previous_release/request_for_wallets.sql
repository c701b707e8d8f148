WITH asked AS (
    SELECT id, network FROM wallets WHERE id = ANY(%(wallet_ids)s::uuid[])
), free AS (
    SELECT s.wallet_id, s.next_sync_at, s.lane,
           coalesce(s.requested_at > coalesce(h.claimed_at, s.claimed_at, '-infinity'), false)
               AND s.requested_at <= clock_timestamp()
               AND (h.token IS NOT NULL OR s.next_sync_at <= clock_timestamp()) AS pending,
           h.token IS NOT NULL AS held,
           coalesce(h.lease_until > now(), false) AS read_now,
           coalesce(s.requested_at < now() - %(patience)s::interval, false) AS lost,
           coalesce(s.claimed_at > now() - %(cooldown)s::interval AND s.claimed_at <= now(), false) AS cooling
      FROM sync_schedule s LEFT JOIN 
LATERAL (SELECT l.token, l.claimed_at, l.lease_until FROM leases l WHERE 
l.network = s.network
            AND CASE WHEN l.lane = 2 OR (l.lane = s.lane AND (s.next_sync_at, s.wallet_id) >= (l.first_due, l.first_id)
                                         AND (s.next_sync_at, s.wallet_id) <= (l.last_due, l.last_id))
                     THEN s.wallet_id = ANY(l.wallet_ids) ELSE false END
          ORDER BY l.claimed_at DESC LIMIT 1) h ON true
     WHERE s.wallet_id IN (SELECT id FROM asked)
       FOR NO KEY UPDATE OF s SKIP LOCKED
), marked AS (
    UPDATE sync_schedule s
       SET requested_at = now(),
           next_sync_at = CASE WHEN f.held THEN s.next_sync_at ELSE least(f.next_sync_at, now()) END,
           lane = CASE WHEN NOT f.held AND f.next_sync_at > now() AND (SELECT count(*) FROM asked) > 500
                       THEN 1 ELSE s.lane END
      FROM free f
     WHERE s.wallet_id = f.wallet_id AND (NOT f.pending OR f.lost) AND NOT f.cooling
 RETURNING s.wallet_id
)
SELECT a.id AS wallet_id, a.network, now() AS asked_at,
       coalesce(f.pending OR NOT f.cooling, false) AS wait,
       m.wallet_id IS NOT NULL AND NOT f.read_now AS enqueue,
       f.wallet_id IS NULL AND EXISTS (SELECT FROM sync_schedule WHERE wallet_id = a.id) AS locked,
       m.wallet_id IS NOT NULL AS marked
  FROM asked a LEFT JOIN free f ON f.wallet_id = a.id LEFT JOIN marked m ON m.wallet_id = a.id
