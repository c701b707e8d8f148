WITH held AS MATERIALIZED (
    SELECT DISTINCT unnest(wallet_ids) AS wallet_id FROM leases WHERE lease_until > now()
), wallet AS (
    SELECT w.network, s.last_error, coalesce(s.failures > 0, false) AS failing, b.last_synced,
           coalesce(s.last_error = 'bad_address', false) AS hopeless,
           h.wallet_id IS NOT NULL AS held,
           coalesce(s.next_sync_at <= now(), true) AND h.wallet_id IS NULL AS due,
           coalesce(s.next_sync_at <= now() - %(grace)s, true) AND h.wallet_id IS NULL AS overdue,
           CASE WHEN h.wallet_id IS NULL AND s.failures = 0
                     AND s.next_sync_at > now() AND s.next_sync_at > s.claimed_at
                THEN extract(epoch FROM s.next_sync_at - s.claimed_at)::float8 END AS cadence
      FROM wallets w LEFT JOIN sync_schedule s ON s.wallet_id = w.id LEFT JOIN balance_cache b ON b.wallet_id = w.id
      LEFT JOIN held h ON h.wallet_id = w.id
)
SELECT network, grouping(last_error) = 0 AS of_error, last_error, count(*) AS wallets, count(last_synced) AS read,
       count(*) FILTER (WHERE last_synced IS NOT NULL AND NOT failing AND NOT overdue) AS fresh,
       count(*) FILTER (WHERE hopeless) AS hopeless, count(*) FILTER (WHERE held) AS held,
       count(*) FILTER (WHERE due) AS due, count(*) FILTER (WHERE overdue) AS overdue,
       count(*) FILTER (WHERE failing) AS failing,
       count(cadence) AS waiting, coalesce(sum(3600 / cadence), 0)::float8 AS reads_per_hour,
       percentile_disc(%(shares)s::float8[]) WITHIN GROUP (ORDER BY extract(epoch FROM now() - last_synced)::float8)
           AS ages
  FROM wallet GROUP BY GROUPING SETS ((network), (network, last_error))
