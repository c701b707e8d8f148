"""Claiming and writing as the worker does, in a word each."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from tables import Tables

from config.networks import NetworkName
from db.claims import Claim, claim_due, claim_lost, claim_these
from db.outcomes import Outcome, Recorded, record
from db.session import transaction

LEASE = timedelta(hours=2)  # longer than any test takes
SOON = timedelta(seconds=15)
AHEAD = timedelta(hours=1)
LATER = datetime(2099, 1, 1, tzinfo=UTC).timestamp()
NOTHING = timedelta(0)


def claim(
    network: NetworkName = "tron", limit: int = 1000, lease: timedelta = LEASE, ahead: timedelta = AHEAD
) -> Claim | None:
    with transaction() as connection:
        return noted(claim_due(connection, network, limit=limit, lease=lease, ahead=ahead))


def claim_ids(ids: list[UUID], network: NetworkName = "tron") -> Claim | None:
    with transaction() as connection:
        return noted(claim_these(connection, network, ids, limit=1000, lease=LEASE))


def claim_what_was_lost(network: NetworkName = "tron", ids: list[UUID] | None = None) -> Claim | None:
    with transaction() as connection:
        return noted(claim_lost(connection, network, lease=LEASE, wallet_ids=ids))


WAS_DUE: dict[UUID, float] = {}
"""When each wallet was due that was claimed here last."""


SOURCES: dict[UUID, int | None] = {}
"""What each claim's network was read from, by its token."""


def noted(found: Claim | None) -> Claim | None:
    SOURCES.update({found.token: found.state.source_id} if found else {})
    WAS_DUE.update({wallet.id: wallet.due_at for wallet in found.wallets} if found else {})
    return found


def write(token: UUID, *outcomes: Outcome, block: int = 10) -> Recorded:
    with transaction() as connection:
        found = [outcome._replace(block_number=block, block_time=1_795_000_000) for outcome in outcomes]
        return record(connection, token, found, finality="solid", source_id=SOURCES.get(token))


def good(wallet: UUID, usdt: int = 977_000_000, native: int = 5, *, changed: bool = True) -> Outcome:
    return Outcome(wallet, WAS_DUE.get(wallet, 0.0), LATER, failures=0, changed=changed, usdt=usdt, native=native)


def claimed(found: Claim | None) -> set[UUID]:
    return {wallet.id for wallet in found.wallets} if found else set()


def only(found: Claim | None) -> Claim:
    assert found is not None
    return found


def held(tables: Tables) -> dict[UUID, set[UUID]]:
    """Who holds whom: by token, the wallets of the leases that run or ran out."""
    found: dict[UUID, set[UUID]] = {}
    for row in tables.rows("SELECT token, wallet_ids FROM leases WHERE lease_until IS NOT NULL"):
        found.setdefault(row["token"], set()).update(row["wallet_ids"])
    return found


def end_lease(tables: Tables) -> None:
    """Time passes: every lease runs out."""
    tables.rows("UPDATE leases SET lease_until = now() WHERE lease_until IS NOT NULL")
