WITH free AS MATERIALIZED (
    SELECT wallet_id, account, failures, last_changed_at, requested_at, next_sync_at FROM sync_schedule AS s
     WHERE wallet_id = ANY(%(wallet_ids)s) AND network = %(network)s AND next_sync_at <= now()
       AND NOT EXISTS (SELECT FROM 
LATERAL (SELECT l.token, l.claimed_at, l.lease_until FROM leases l WHERE 
l.network = s.network
            AND CASE WHEN l.lane = 2 OR (l.lane = s.lane AND (s.next_sync_at, s.wallet_id) >= (l.first_due, l.first_id)
                                         AND (s.next_sync_at, s.wallet_id) <= (l.last_due, l.last_id))
                     THEN s.wallet_id = ANY(l.wallet_ids) ELSE false END
          ORDER BY l.claimed_at DESC LIMIT 1) AS h)
     LIMIT %(limit)s
), leased AS (
    INSERT INTO leases (token, lane, network, claimed_at, lease_until, wallet_ids)
    SELECT %(token)s, 2, %(network)s, statement_timestamp(), now() + %(lease)s, array_agg(wallet_id)
      FROM free HAVING count(*) > 0
)

SELECT f.wallet_id, f.account, CASE WHEN w.network = %(network)s THEN w.address END, f.failures,
       date_part('epoch', greatest(f.last_changed_at, f.requested_at)), date_part('epoch', f.next_sync_at),
       b.usdt_balance::text, b.native_balance::text, b.block_number, date_part('epoch', statement_timestamp())
  FROM free AS f
  LEFT JOIN LATERAL (SELECT network, address FROM wallets WHERE id = f.wallet_id LIMIT 1) AS w ON true
  LEFT JOIN LATERAL (SELECT usdt_balance, native_balance, block_number FROM balance_cache
                      WHERE wallet_id = f.wallet_id LIMIT 1) AS b ON true
