WITH 
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
           SELECT wallet_id, account, failures, last_changed_at, requested_at, next_sync_at FROM sync_schedule
            WHERE network = %(network)s AND lane = %(lane)s
              AND (next_sync_at, wallet_id) > (t.begin_due, t.begin_id)
              AND (next_sync_at, wallet_id) < (t.end_due, t.end_id)
              AND wallet_id NOT IN (SELECT wallet_id FROM named)
            ORDER BY next_sync_at, wallet_id LIMIT %(limit)s) AS f
     LIMIT %(limit)s
), leased AS (
    INSERT INTO leases
           (token, lane, network, first_due, first_id, last_due, last_id, claimed_at, lease_until, wallet_ids)
    SELECT %(token)s, %(lane)s, %(network)s, a.next_sync_at, a.wallet_id, z.next_sync_at, z.wallet_id,
           statement_timestamp(), now() + %(lease)s, (SELECT array_agg(wallet_id) FROM free)
      FROM (SELECT next_sync_at, wallet_id FROM free ORDER BY 1, 2 LIMIT 1) AS a,
           (SELECT next_sync_at, wallet_id FROM free ORDER BY 1 DESC, 2 DESC LIMIT 1) AS z
     WHERE a.next_sync_at <= now() AND (SELECT count(*) FROM free) >= %(least)s
 RETURNING token
)

SELECT f.wallet_id, f.account, CASE WHEN w.network = %(network)s THEN w.address END, f.failures,
       date_part('epoch', greatest(f.last_changed_at, f.requested_at)), date_part('epoch', f.next_sync_at),
       b.usdt_balance::text, b.native_balance::text, b.block_number, date_part('epoch', statement_timestamp())
  FROM free AS f
  LEFT JOIN LATERAL (SELECT network, address FROM wallets WHERE id = f.wallet_id LIMIT 1) AS w ON true
  LEFT JOIN LATERAL (SELECT usdt_balance, native_balance, block_number FROM balance_cache
                      WHERE wallet_id = f.wallet_id LIMIT 1) AS b ON true
 WHERE EXISTS (SELECT FROM leased)
