SELECT network, out_since, reason,
       (SELECT coalesce(sum(cardinality(wallet_ids)), 0) FROM leases AS l
         WHERE l.network = n.network AND coalesce(lease_until <= now(), true)) AS lost,
       (SELECT count(*) FROM held_changes JOIN wallets AS w ON w.id = wallet_id WHERE w.network = n.network) AS doubted
  FROM network_state AS n
