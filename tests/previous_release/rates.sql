SELECT coalesce(r.wallets, 0), coalesce(r.changed, 0), coalesce(r.fallen, 0), EXISTS (SELECT FROM held_changes)
  FROM (SELECT) AS one LEFT JOIN change_rates r ON r.network = %(network)s
