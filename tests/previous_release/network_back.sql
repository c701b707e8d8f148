UPDATE network_state SET out_since = NULL, reason = NULL, back_at = now()
 WHERE network = %(network)s AND out_since IS NOT NULL
