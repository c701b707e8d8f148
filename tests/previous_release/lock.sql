SELECT out_since, reason, coalesce(back_at > now() - interval '1 minute', false),
       EXISTS (SELECT FROM leases WHERE network = %(network)s AND (lease_until <= now() OR (lease_until IS NULL AND (cardinality(wallet_ids) > 1 OR deaths < 3
                OR claimed_at + least(interval '1 minute' * 2 ^ least(deaths - 3, 6), interval '1 hour') <= now())))),
       EXISTS (SELECT FROM leases WHERE network = %(network)s AND lease_until <= now()),
       coalesce((SELECT true FROM sync_schedule WHERE network = %(network)s AND lane = 1 AND next_sync_at <= now()
                  ORDER BY next_sync_at LIMIT 1), false)
  FROM network_state WHERE network = %(network)s FOR UPDATE
