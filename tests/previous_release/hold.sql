INSERT INTO held_changes AS h (wallet_id, usdt_balance, native_balance, block_number, since, reads)
SELECT b.wallet_id, c.usdt, c.native, c.block_number, now(), 1
  FROM unnest(%(ids)s::uuid[], %(usdt)s::numeric[], %(native)s::numeric[], %(blocks)s::bigint[])
       AS c (wallet_id, usdt, native, block_number)
  JOIN balance_cache b USING (wallet_id) ORDER BY b.wallet_id FOR KEY SHARE OF b
    ON CONFLICT (wallet_id) DO UPDATE
   SET (usdt_balance, native_balance, block_number, since, reads) =
       (SELECT EXCLUDED.usdt_balance, EXCLUDED.native_balance,
               CASE WHEN same THEN h.block_number ELSE EXCLUDED.block_number END,
               CASE WHEN same THEN h.since ELSE EXCLUDED.since END,
               CASE WHEN same THEN h.reads + 1 ELSE 1 END
          FROM (SELECT (h.usdt_balance = 0, h.native_balance = 0)
                       = (EXCLUDED.usdt_balance = 0, EXCLUDED.native_balance = 0) AS same) AS compared)
