SELECT tag, wallet_id, address, network, usdt, native, last_synced, hopeless, awaited, overdue, out_since, out_reason, block_number, block_time, finality, age_seconds, status, error
  FROM (SELECT f.*, bit_xor(version) OVER () AS tag, bool_or(awaited) OVER () AS waiting, row_number() OVER () AS number
          FROM (
SELECT w.id AS wallet_id, w.address, w.network, b.usdt_balance AS usdt, b.native_balance AS native, b.last_synced,
       coalesce(s.last_error = 'bad_address', false) AS hopeless,
       b.wallet_id IS NULL AND s.failures = 0
           AND (coalesce(s.requested_at >= now() - %(deadline)s::interval, true)
                OR EXISTS (SELECT FROM 
LATERAL (SELECT l.token, l.claimed_at, l.lease_until FROM leases l WHERE 
l.network = s.network
            AND CASE WHEN l.lane = 2 OR (l.lane = s.lane AND (s.next_sync_at, s.wallet_id) >= (l.first_due, l.first_id)
                                         AND (s.next_sync_at, s.wallet_id) <= (l.last_due, l.last_id))
                     THEN s.wallet_id = ANY(l.wallet_ids) ELSE false END
          ORDER BY l.claimed_at DESC LIMIT 1) h WHERE s.requested_at <= h.claimed_at)) AS awaited,
       b.wallet_id IS NOT NULL
           AND coalesce(s.next_sync_at < now() - %(patience)s::interval, false)
           AND NOT EXISTS (SELECT FROM 
LATERAL (SELECT l.token, l.claimed_at, l.lease_until FROM leases l WHERE 
l.network = s.network
            AND CASE WHEN l.lane = 2 OR (l.lane = s.lane AND (s.next_sync_at, s.wallet_id) >= (l.first_due, l.first_id)
                                         AND (s.next_sync_at, s.wallet_id) <= (l.last_due, l.last_id))
                     THEN s.wallet_id = ANY(l.wallet_ids) ELSE false END
          ORDER BY l.claimed_at DESC LIMIT 1) h WHERE h.lease_until > now()) AS overdue,
       n.out_since, n.reason AS out_reason,
       hash_record_extended((w.id, w.created_at, w.network, w.address, b.last_synced, b.block_number,
                                   b.usdt_balance, b.native_balance, s.last_error, n.out_since, n.reason, CASE WHEN b.wallet_id IS NULL THEN 'never_synced'
            WHEN s.failures > 0 THEN 'failing'
            WHEN s.next_sync_at < now() - %(patience)s::interval OR b.last_synced < now() - %(oldest)s::interval
            THEN 'stale' ELSE 'fresh' END), 0) AS version,
       b.block_number, b.block_time, b.finality,
       ceil(extract(epoch FROM now() - b.last_synced))::bigint AS age_seconds,
       CASE WHEN b.wallet_id IS NULL THEN 'never_synced'
            WHEN s.failures > 0 THEN 'failing'
            WHEN s.next_sync_at < now() - %(patience)s::interval OR b.last_synced < now() - %(oldest)s::interval
            THEN 'stale' ELSE 'fresh' END AS status, s.last_error AS error,
       w.created_at
  FROM wallets w
  LEFT JOIN balance_cache b ON b.wallet_id = w.id
  LEFT JOIN sync_schedule s ON s.wallet_id = w.id
  LEFT JOIN network_state n ON n.network = w.network
 WHERE w.user_id = %(user_id)s::uuid AND w.network = ANY(%(networks)s::text[])
) f) f
 WHERE NOT coalesce(tag = ANY(%(tags)s::bigint[]), true) OR number = 1 OR overdue OR waiting
 ORDER BY created_at, wallet_id
