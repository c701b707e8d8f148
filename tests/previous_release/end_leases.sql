WITH ran_out AS (
    DELETE FROM leases WHERE network = %(network)s AND lease_until <= now() RETURNING *
), ended AS (
    SELECT l.token, l.lane, l.network, first_due, first_id, last_due, last_id, l.claimed_at, deaths,
           ARRAY(SELECT s.wallet_id FROM unnest(l.wallet_ids) WITH ORDINALITY AS u (id, place)
                   JOIN sync_schedule s ON s.wallet_id = u.id WHERE 
l.network = s.network
            AND CASE WHEN l.lane = 2 OR (l.lane = s.lane AND (s.next_sync_at, s.wallet_id) >= (l.first_due, l.first_id)
                                         AND (s.next_sync_at, s.wallet_id) <= (l.last_due, l.last_id))
                     THEN s.wallet_id = ANY(l.wallet_ids) ELSE false END ORDER BY place) AS wallet_ids
      FROM ran_out l
), halves AS (
    SELECT e.*, gen_random_uuid() AS half, deaths > 0 AS split, piece
      FROM ended e, LATERAL (SELECT (cardinality(wallet_ids) + 1) / 2 AS middle) AS m,
           LATERAL (SELECT wallet_ids AS piece WHERE deaths = 0
                    UNION ALL SELECT wallet_ids[:middle] WHERE deaths > 0
                    UNION ALL SELECT wallet_ids[middle + 1:] WHERE deaths > 0) AS p
     WHERE cardinality(piece) > 0
)
INSERT INTO leases (token, lane, network, first_due, first_id, last_due, last_id, claimed_at, deaths, wallet_ids)
SELECT half, CASE WHEN split THEN 2 ELSE lane END, network,
       CASE WHEN NOT split THEN first_due END, CASE WHEN NOT split THEN first_id END,
       CASE WHEN NOT split THEN last_due END, CASE WHEN NOT split THEN last_id END, claimed_at,
       CASE WHEN cardinality(piece) = 1 AND cardinality(wallet_ids) > 1 THEN 2 ELSE least(deaths, 1000) + 1 END, piece
  FROM halves
