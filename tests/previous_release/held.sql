SELECT wallet_id, usdt_balance::text, native_balance::text, block_number, date_part('epoch', since), reads
  FROM held_changes WHERE wallet_id = ANY(%(wallet_ids)s)
