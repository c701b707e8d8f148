"""What the endpoint reads, in the driver's own form. No SQLAlchemy: the endpoint loads and runs without it.

One statement answers a request, whether its client has a copy already or not. ``tag`` is a hash over the versions of
all rows that the request is about: of what is shown of them, but for ages. It does not depend on their order.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from config.networks import NetworkName
from db.sources import OF_SOURCE
from db.windows import HOLDER


class WalletRow(NamedTuple):
    """One wallet of a user. Amounts in base units; they and ``last_synced`` are None when it was never read.

    What was read of another source than its network has now (``db.sources``) is as if it had never been read.
    `out_since`: when its network went out, by the error `out_reason`. Decimals are None where no worker has registered
    any. The last six are there when they were asked for.
    """

    wallet_id: UUID
    address: str
    network: NetworkName
    usdt: int | None
    native: int | None
    last_synced: datetime | None
    hopeless: bool
    awaited: bool
    overdue: bool
    out_since: datetime | None
    out_reason: str | None
    usdt_decimals: int | None
    native_decimals: int | None
    block_number: int | None = None
    block_time: datetime | None = None
    finality: str | None = None
    age_seconds: int | None = None
    status: str | None = None
    error: str | None = None


# Parameters: user_id uuid, networks text[] (NULL: all), and the intervals deadline, patience and oldest. hopeless: no
# read will ever help. awaited: never read, and a
# read may be on its way, or nobody has asked for one since it was tried last. overdue: nobody reads it in time.
_WALLETS = f"""
SELECT w.id AS wallet_id, w.address, w.network, b.usdt_balance AS usdt, b.native_balance AS native, b.last_synced,
       coalesce(s.last_error = 'bad_address', false) AS hopeless,
       b.wallet_id IS NULL AND s.failures = 0
           AND (s.requested_at IS NULL OR s.requested_at >= now() - %(deadline)s::interval
                OR coalesce(s.requested_at <= s.claimed_at, false)
                OR EXISTS (SELECT FROM {HOLDER} h WHERE s.requested_at <= h.claimed_at)) AS awaited,
       b.wallet_id IS NOT NULL
           AND coalesce(s.next_sync_at < now() - %(patience)s::interval, false)
           AND NOT EXISTS (SELECT FROM {HOLDER} h WHERE h.lease_until > now()) AS overdue,
       o.out_since, o.reason AS out_reason, t.decimals AS usdt_decimals, n.native_decimals,
       {{more}}w.created_at
  FROM wallets w
  LEFT JOIN networks n ON n.name = w.network
  LEFT JOIN sources t ON t.id = n.source
  LEFT JOIN balance_cache b ON b.wallet_id = w.id AND {OF_SOURCE}
  LEFT JOIN sync_schedule s ON s.wallet_id = w.id
  LEFT JOIN network_state o ON o.network = w.network
 WHERE w.user_id = %(user_id)s::uuid AND (%(networks)s::text[] IS NULL OR w.network = ANY(%(networks)s::text[]))
"""

_DETAIL = """b.block_number, b.block_time, b.finality,
       ceil(extract(epoch FROM now() - b.last_synced))::bigint AS age_seconds,
       {status} AS status, s.last_error AS error,
       """

_STATUS = """CASE WHEN b.wallet_id IS NULL THEN 'never_synced'
            WHEN s.failures > 0 THEN 'failing'
            WHEN s.next_sync_at < now() - %(patience)s::interval OR b.last_synced < now() - %(oldest)s::interval
            THEN 'stale' ELSE 'fresh' END"""

_VERSION = """hash_record_extended((w.id, w.created_at, w.network, w.address, b.last_synced, b.block_number,
                                   b.usdt_balance, b.native_balance, t.decimals, n.native_decimals{status}), 0)
           AS version,
       """

# One parameter more: tags bigint[], those of the copies that the client has; NULL: it has one, whatever its tag (`*`).
# If today's tag is none of them, all rows are given back. If it is, the reply will be a 304 that shows no row: then one
# row is enough, which has the tag, and with it those that are overdue, of which a read is asked for in passing. Only
# where a first read is awaited all are given back even so, since the answer may be different in a moment. A user
# without rows has the tag 0.
_UNLESS_KNOWN = """
SELECT tag, {columns}
  FROM (SELECT f.*, bit_xor(version) OVER () AS tag, bool_or(awaited) OVER () AS waiting, row_number() OVER () AS number
          FROM ({wallets}) f) f
 WHERE NOT coalesce(tag = ANY(%(tags)s::bigint[]), true) OR number = 1 OR overdue OR waiting
 ORDER BY created_at, wallet_id
"""

_SHOWN = WalletRow._fields[: -len(WalletRow._field_defaults)]


def _statement(*, detail: bool) -> str:
    version = _VERSION.format(status=f", s.last_error, o.out_since, o.reason, {_STATUS}" if detail else "")
    more = version + (_DETAIL.format(status=_STATUS) if detail else "")
    columns = ", ".join(WalletRow._fields if detail else _SHOWN)
    return _UNLESS_KNOWN.format(wallets=_WALLETS.format(more=more), columns=columns)


USER_BALANCES, USER_BALANCES_IN_FULL = (_statement(detail=detail) for detail in (False, True))
"""Each row is the tag of the whole, and a `WalletRow` without or with its detail."""

SCHEMA_VERSION_APPLIED = "SELECT version_num FROM alembic_version"
