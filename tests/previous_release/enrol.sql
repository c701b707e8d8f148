INSERT INTO sync_schedule (wallet_id, network, address, next_sync_at, lane)
SELECT id, network, address, now(), 1 FROM wallets AS w
 WHERE NOT EXISTS (SELECT FROM sync_schedule WHERE wallet_id = w.id) LIMIT 20000
    ON CONFLICT DO NOTHING
