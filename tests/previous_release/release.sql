WITH lost AS (
    UPDATE leases SET lease_until = NULL, token = gen_random_uuid() WHERE token = %(token)s AND deaths > 0
 RETURNING wallet_ids
), free AS (
    DELETE FROM leases WHERE token = %(token)s AND deaths = 0 RETURNING wallet_ids
)
SELECT cardinality(wallet_ids) FROM lost UNION ALL SELECT cardinality(wallet_ids) FROM free
