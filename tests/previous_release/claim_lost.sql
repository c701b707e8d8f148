WITH free AS MATERIALIZED (
    SELECT wallet_id, account, failures, last_changed_at, requested_at, next_sync_at FROM sync_schedule AS s
     WHERE wallet_id = ANY(%(wallet_ids)s) AND network = %(network)s
       AND EXISTS (SELECT FROM leases l WHERE l.token = %(token)s AND 
l.network = s.network
            AND CASE WHEN l.lane = 2 OR (l.lane = s.lane AND (s.next_sync_at, s.wallet_id) >= (l.first_due, l.first_id)
                                         AND (s.next_sync_at, s.wallet_id) <= (l.last_due, l.last_id))
                     THEN s.wallet_id = ANY(l.wallet_ids) ELSE false END)
       AND NOT EXISTS (SELECT FROM leases l WHERE l.token <> %(token)s AND l.lease_until > now() AND 
l.network = s.network
            AND CASE WHEN l.lane = 2 OR (l.lane = s.lane AND (s.next_sync_at, s.wallet_id) >= (l.first_due, l.first_id)
                                         AND (s.next_sync_at, s.wallet_id) <= (l.last_due, l.last_id))
                     THEN s.wallet_id = ANY(l.wallet_ids) ELSE false END)
)

SELECT f.wallet_id, f.account, CASE WHEN w.network = %(network)s THEN w.address END, f.failures,
       date_part('epoch', greatest(f.last_changed_at, f.requested_at)), date_part('epoch', f.next_sync_at),
       b.usdt_balance::text, b.native_balance::text, b.block_number, date_part('epoch', statement_timestamp())
  FROM free AS f
  LEFT JOIN LATERAL (SELECT network, address FROM wallets WHERE id = f.wallet_id LIMIT 1) AS w ON true
  LEFT JOIN LATERAL (SELECT usdt_balance, native_balance, block_number FROM balance_cache
                      WHERE wallet_id = f.wallet_id LIMIT 1) AS b ON true
