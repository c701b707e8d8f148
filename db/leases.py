"""Handing leases back: what a worker does that has to stop, so that its wallets need not wait until they expire."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection

# As if the claim had never been: due as before, no read begun, so that whoever waits for one goes on waiting. By the
# wallets' ids: no index has the tokens.
_RELEASE = """
UPDATE sync_schedule
   SET lease_token = NULL, lease_until = NULL, claimed_at = NULL
 WHERE wallet_id = ANY(%(wallet_ids)s) AND lease_token = %(token)s
"""


def release(connection: Connection, token: UUID, wallet_ids: Sequence[UUID]) -> int:
    """Hand back those of these wallets that are still under this claim, and say how many those were. One statement."""
    return connection.exec_driver_sql(_RELEASE, {"token": token, "wallet_ids": list(wallet_ids)}).rowcount
