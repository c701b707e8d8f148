INSERT INTO change_rates AS r (network, wallets, changed, fallen)
VALUES (%(network)s, %(wallets)s, %(changed)s, %(fallen)s)
    ON CONFLICT (network) DO UPDATE
   SET (wallets, changed, fallen) = (SELECT (r.wallets + EXCLUDED.wallets) / d, (r.changed + EXCLUDED.changed) / d,
                                            (r.fallen + EXCLUDED.fallen) / d
          FROM (SELECT CASE WHEN r.wallets + EXCLUDED.wallets > %(most)s THEN 2 ELSE 1 END AS d) AS halved)
