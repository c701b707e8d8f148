INSERT INTO network_state AS n (network, out_since, reason) VALUES (%(network)s, now(), %(reason)s)
    ON CONFLICT (network) DO UPDATE SET out_since = coalesce(n.out_since, now()), reason = EXCLUDED.reason
 WHERE n.out_since IS NULL OR n.reason IS DISTINCT FROM EXCLUDED.reason
RETURNING out_since = now()
