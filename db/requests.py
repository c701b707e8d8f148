"""Asking for wallets to be read now. Plain SQL in the driver's own form: the worker and the endpoint both run it.

A request is *pending* while ``requested_at`` is later than the wallet's last claim, which its lease knows while it is
held and its row from then on. A claim serves every request before it, so however many ask, at most one read runs and
one more waits behind it. The worker that holds a wallet sees the request when it writes, and makes the wallet due at
once; the due time of a wallet that is held is nobody else's to move.

What a worker writes for a wallet that was asked for it tells on ``CHANNEL``, in the writing transaction
(``db.outcomes``): the wallet's id, to whoever listens. That only wakes; what has happened is in the rows.

A request for more than MANY wallets makes them due among those that come in masses: only those of one batch are waited
for, and the others must not delay anybody's.

``SKIP LOCKED`` because whoever writes a batch holds its rows for some milliseconds, and others may keep some for
longer: nobody is to wait for all of them here. A wallet that was passed over is told as ``locked``.
"""

from db.windows import HOLDER

LOCKED_PAUSE = 0.02
"""Seconds until a row that was passed over is tried again: its lock lasts for milliseconds."""

CHANNEL = "balance_sync_read"
TELL = "SELECT pg_notify(%(channel)s, %(text)s)"

MANY = 500
"""Wallets: about what one request reads."""

# Parameters: what `asked` takes, cooldown and patience interval. One row per wallet asked for: wallet_id, network,
# asked_at (a read claimed at or after it answers the request), wait (a read is coming), enqueue (this call made the
# request, or renewed one that nobody took up for longer than ``patience``: its message was lost; not while somebody
# holds the wallet, for its holder sees to it), locked, and marked (this call made or renewed the request: it will cost
# a read that was not coming anyway). A wallet that was last read within ``cooldown``, well or badly, is not read again.
_REQUEST = f"""
WITH asked AS (
    SELECT id, network FROM wallets WHERE {{asked}}
), free AS (
    SELECT s.wallet_id, s.next_sync_at, s.lane,
           coalesce(s.requested_at > coalesce(h.claimed_at, s.claimed_at, '-infinity'), false)
               AND s.requested_at <= clock_timestamp()
               AND (h.token IS NOT NULL OR s.next_sync_at <= clock_timestamp()) AS pending,
           h.token IS NOT NULL AS held,
           coalesce(h.lease_until > now(), false) AS read_now,
           coalesce(s.requested_at < now() - %(patience)s::interval, false) AS lost,
           coalesce(s.claimed_at > now() - %(cooldown)s::interval AND s.claimed_at <= now(), false) AS cooling
      FROM sync_schedule s LEFT JOIN {HOLDER} h ON true
     WHERE s.wallet_id IN (SELECT id FROM asked)
       FOR NO KEY UPDATE OF s SKIP LOCKED
), marked AS (
    UPDATE sync_schedule s
       SET requested_at = now(),
           next_sync_at = CASE WHEN f.held THEN s.next_sync_at ELSE least(f.next_sync_at, now()) END,
           lane = CASE WHEN NOT f.held AND f.next_sync_at > now() AND (SELECT count(*) FROM asked) > {MANY}
                       THEN 1 ELSE s.lane END
      FROM free f
     WHERE s.wallet_id = f.wallet_id AND (NOT f.pending OR f.lost) AND NOT f.cooling
 RETURNING s.wallet_id
)
SELECT a.id AS wallet_id, a.network, now() AS asked_at,
       coalesce(f.pending OR NOT f.cooling, false) AS wait,
       m.wallet_id IS NOT NULL AND NOT f.read_now AS enqueue,
       f.wallet_id IS NULL AND EXISTS (SELECT FROM sync_schedule WHERE wallet_id = a.id) AS locked,
       m.wallet_id IS NOT NULL AS marked
  FROM asked a LEFT JOIN free f ON f.wallet_id = a.id LEFT JOIN marked m ON m.wallet_id = a.id
"""

REQUEST_FOR_USER = _REQUEST.format(asked="user_id = %(user_id)s::uuid AND network = ANY(%(networks)s::text[])")
REQUEST_FOR_WALLETS = _REQUEST.format(asked="id = ANY(%(wallet_ids)s::uuid[])")

# Parameters: wallet_ids uuid[]. Those of them that still exist: when each was claimed last, and whether that read is
# over, well or badly.
LAST_READS = f"""
SELECT s.wallet_id, coalesce(h.claimed_at, s.claimed_at) AS claimed_at, h.token IS NULL AS over
  FROM sync_schedule s LEFT JOIN {HOLDER} h ON true WHERE s.wallet_id = ANY(%(wallet_ids)s::uuid[])
"""
