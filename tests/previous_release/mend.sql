WITH mended AS (
    UPDATE sync_schedule AS s
       SET network = w.network, address = w.address, account = NULL, next_sync_at = now(), lane = 1, failures = 0,
           last_error = NULL
      FROM wallets AS w
     WHERE w.id = s.wallet_id AND (w.network, w.address) IS DISTINCT FROM (s.network, s.address)
 RETURNING s.wallet_id
), doubted AS (
    UPDATE balance_cache AS b SET block_number = 1 FROM mended AS m WHERE b.wallet_id = m.wallet_id
)
SELECT count(*) FROM mended
