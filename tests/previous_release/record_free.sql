WITH ended AS (
    DELETE FROM leases WHERE token = %(token)s RETURNING claimed_at
), claim AS (
    SELECT max(claimed_at) AS claimed_at FROM ended
), outcome AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(was_due)s::float8[], %(due)s::float8[], %(failures)s::int[], %(errors)s::text[],
        %(changed)s::bool[], %(usdt)s::numeric[], %(native)s::numeric[], %(block_number)s::bigint[],
        %(block_time)s::bigint[], %(one_block)s::bool[], %(accounts)s::text[]
    ) AS o (wallet_id, was_due, due, failures, error, changed, usdt, native, block_number, block_time, one_block,
            account)
), free AS (
    SELECT o.* FROM outcome o JOIN sync_schedule USING (wallet_id) FOR NO KEY UPDATE OF sync_schedule SKIP LOCKED
), recorded AS (
    UPDATE sync_schedule s
       SET lane = 0,
           claimed_at = c.claimed_at,
           account = coalesce(decode(o.account, 'hex'), s.account),
           next_sync_at = CASE WHEN s.requested_at > c.claimed_at AND s.requested_at <= clock_timestamp() THEN now()
                               ELSE to_timestamp(o.due) END,
           failures = o.failures,
           last_error = o.error,
           last_changed_at = CASE WHEN o.changed THEN c.claimed_at ELSE s.last_changed_at END
      FROM claim c, free o
     WHERE s.wallet_id = o.wallet_id AND c.claimed_at IS NOT NULL
       AND date_part('epoch', s.next_sync_at) = o.was_due
 RETURNING s.wallet_id, s.claimed_at,
           s.requested_at > s.claimed_at AND s.requested_at <= clock_timestamp() AS asked_again,
           s.requested_at > s.claimed_at - interval '1 minute' AS awaited,
           o.usdt, o.native, o.block_number, o.block_time, o.one_block
), written AS (
    INSERT INTO balance_cache AS b
           (wallet_id, usdt_balance, native_balance, block_number, block_time, finality, last_synced, one_block)
    SELECT wallet_id, usdt, native, block_number, to_timestamp(block_time), %(finality)s, claimed_at, one_block
      FROM recorded WHERE usdt IS NOT NULL
        ON CONFLICT (wallet_id) DO UPDATE
       SET usdt_balance = EXCLUDED.usdt_balance, native_balance = EXCLUDED.native_balance,
           block_number = EXCLUDED.block_number, block_time = EXCLUDED.block_time,
           finality = EXCLUDED.finality, last_synced = EXCLUDED.last_synced, one_block = EXCLUDED.one_block
     WHERE (b.block_number, b.last_synced) <= (EXCLUDED.block_number, EXCLUDED.last_synced)
 RETURNING wallet_id
)
SELECT (SELECT count(*) FROM recorded) AS recorded,
       (SELECT count(*) FROM written) AS written,
       (SELECT coalesce(array_agg(wallet_id), '{}') FROM recorded WHERE asked_again) AS asked_again,
       (SELECT count(pg_notify(%(channel)s, wallet_id::text)) FROM recorded WHERE awaited) AS told
