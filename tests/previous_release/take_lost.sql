UPDATE leases SET token = %(token)s, claimed_at = statement_timestamp(), lease_until = now() + %(lease)s
 WHERE (token, lane) = (
       SELECT token, lane FROM leases
        WHERE network = %(network)s AND lease_until IS NULL AND (cardinality(wallet_ids) > 1 OR deaths < 3
                OR claimed_at + least(interval '1 minute' * 2 ^ least(deaths - 3, 6), interval '1 hour') <= now())
        ORDER BY deaths, claimed_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING wallet_ids, deaths
