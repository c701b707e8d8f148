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
) SELECT count(*), date_part('epoch', coalesce(min(next_sync_at), now())) FROM free
