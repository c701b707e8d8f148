"""What the endpoint reads, in the driver's own form. No SQLAlchemy: the endpoint loads and runs without it."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from config.settings import Network


class WalletRow(NamedTuple):
    """One wallet of a user. Amounts in base units; they and ``last_synced`` are None when it was never read."""

    wallet_id: UUID
    address: str
    network: Network
    usdt: int | None
    native: int | None
    last_synced: datetime | None
    hopeless: bool
    awaited: bool
    overdue: bool


# Parameters: user_id uuid, networks text[], patience and deadline interval. Oldest wallet first. `hopeless`: no read
# can help, the address is not one. `awaited`: never read, nor tried in vain, nor asked for in vain for longer than a
# request waits: so a page view waits for it. `overdue`: read once, due `patience` ago, and nobody is reading it.
USER_BALANCES = """
SELECT w.id, w.address, w.network, b.usdt_balance, b.native_balance, b.last_synced,
       coalesce(s.last_error = 'bad_address', false),
       b.wallet_id IS NULL AND s.failures = 0
           AND (coalesce(s.requested_at <= s.claimed_at, false)
                OR coalesce(s.requested_at >= now() - %(deadline)s, true)),
       b.wallet_id IS NOT NULL AND coalesce(s.lease_token IS NULL AND s.next_sync_at < now() - %(patience)s, false)
  FROM wallets w
  LEFT JOIN balance_cache b ON b.wallet_id = w.id
  LEFT JOIN sync_schedule s ON s.wallet_id = w.id
 WHERE w.user_id = %(user_id)s AND w.network = ANY(%(networks)s)
 ORDER BY w.created_at, w.id
"""

SCHEMA_VERSION_APPLIED = "SELECT version_num FROM alembic_version"
