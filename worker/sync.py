"""The use case: claim a batch, read it at one block, decide, write. Two short transactions, none open while a node is
asked.

Nothing here knows Celery, so that it can be called as it is. What a batch's wallets come to is decided by
``outcomes``, a pure function of what was claimed and what was read.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import random
from time import monotonic
from uuid import UUID

import structlog
from sqlalchemy import Connection

from config.settings import Network, WorkerSettings, worker_settings
from db.balances import Outcome, record
from db.session import transaction
from db.wallets import Claim, ClaimedWallet, claim_due, claim_these
from worker import schedule
from worker.chains import ChainReader, reader_for
from worker.chains.addresses import account_bytes
from worker.chains.snapshot import Balance, Snapshot
from worker.errors import OLDER_BLOCK, USDT_CALL_FAILED, BadAddress, ReadFailed

log = structlog.get_logger(__name__)

CLAIM_AHEAD = 0.25
"""The share of the active interval within which a wallet that is not yet due travels along with those that are.

Due times are spread, so that hardly any fall on one moment: without this a thousand wallets would come a few at a
time, and cost a request for each few. The price is that some are read by up to this share too early.
"""


def sync_due(network: Network) -> tuple[UUID, ...]:
    """Sync one batch of what is due on a network. Returns the wallets that were asked for while they were being read.

    Raises NotConfigured; a failed read is recorded, not raised.
    """
    settings, reader = worker_settings(), reader_for(network)
    ahead = timedelta(seconds=settings.sync_interval_active * CLAIM_AHEAD)
    return _sync(
        reader,
        settings,
        lambda connection: claim_due(
            connection, network, limit=reader.max_wallets, lease=timedelta(seconds=settings.sync_lease), ahead=ahead
        ),
    )


def sync_these(network: Network, wallet_ids: Sequence[UUID]) -> tuple[UUID, ...]:
    """The same for those of these wallets that are due or asked for, in one batch.

    At most `reader.max_wallets`; the others stay due.
    """
    settings, reader = worker_settings(), reader_for(network)
    return _sync(
        reader,
        settings,
        lambda connection: claim_these(
            connection, network, wallet_ids, limit=reader.max_wallets, lease=timedelta(seconds=settings.sync_lease)
        ),
    )


def _sync(
    reader: ChainReader, settings: WorkerSettings, claim_batch: Callable[[Connection], Claim | None]
) -> tuple[UUID, ...]:
    started = monotonic()
    with transaction() as connection:
        claim = claim_batch(connection)
    if claim is None:
        return ()
    accounts = valid_accounts(claim)
    snapshot, endpoint, failure = _read(reader, claim, list(accounts.values()))
    found = outcomes(claim, accounts, snapshot, failure, policy=_policy(settings), chance=random)
    with transaction() as connection:
        recorded = record(
            connection,
            claim.token,
            found,
            block_number=snapshot.block.number if snapshot else None,
            block_time=snapshot.block.time if snapshot else None,
            finality=reader.finality,
        )
    report = log.info if failure is None else log.warning
    report(
        "batch_synced" if failure is None else "batch_failed",
        network=claim.network,
        wallets=len(claim.wallets),
        written=recorded.written,
        changed=sum(outcome.changed for outcome in found),
        failed=sum(outcome.error is not None for outcome in found),
        lost=len(claim.wallets) - recorded.recorded,
        block=snapshot.block.number if snapshot else None,
        endpoint=endpoint,
        error=failure,
        duration_ms=round((monotonic() - started) * 1000),
    )
    return recorded.asked_again


def _read(
    reader: ChainReader, claim: Claim, accounts: Sequence[bytes]
) -> tuple[Snapshot | None, str | None, str | None]:
    """A snapshot and its endpoint, or neither and the failure's code. No request when there is nothing to ask for."""
    if not accounts:
        return None, None, None
    try:
        snapshot, endpoint = reader.read(accounts, claim.at.timestamp())
    except ReadFailed as error:
        return None, error.endpoint, error.code
    return snapshot, endpoint, None


def _policy(settings: WorkerSettings) -> schedule.Policy:
    return schedule.Policy(
        active=timedelta(seconds=settings.sync_interval_active), idle=timedelta(seconds=settings.sync_interval_idle)
    )


def valid_accounts(claim: Claim) -> dict[UUID, bytes]:
    """The wallets that can be asked for, each with the 20 bytes that its chain knows it by. Pure."""
    accounts = {}
    for wallet in claim.wallets:
        try:
            accounts[wallet.id] = account_bytes(claim.network, wallet.address)
        except BadAddress as error:
            log.warning("bad_address", network=claim.network, wallet_id=str(wallet.id), detail=str(error))
    return accounts


def outcomes(
    claim: Claim,
    accounts: dict[UUID, bytes],
    snapshot: Snapshot | None,
    failure: str | None,
    *,
    policy: schedule.Policy,
    chance: Callable[[], float],
) -> list[Outcome]:
    """What came of each claimed wallet. Pure but for `chance`, which gives a number in [0, 1) for each wallet.

    `snapshot` has the balances of `accounts` in their order, or is None with the failure's code.
    """
    balances = dict(zip(accounts, snapshot.balances, strict=True)) if snapshot else {}
    block = snapshot.block.number if snapshot else 0
    found = []
    for wallet in claim.wallets:
        if wallet.id not in accounts:
            found.append(Outcome(wallet.id, schedule.NEVER, wallet.failures + 1, BadAddress.code))
        elif failure is not None:
            due = schedule.due_after_failed_read(claim.at, wallet.failures + 1, policy, chance())
            found.append(Outcome(wallet.id, due, wallet.failures + 1, failure))
        else:
            found.append(
                _read_outcome(wallet, balances[wallet.id], block, now=claim.at, policy=policy, jitter=chance())
            )
    return found


def _read_outcome(
    wallet: ClaimedWallet,
    balance: Balance | None,
    block: int,
    *,
    now: datetime,
    policy: schedule.Policy,
    jitter: float,
) -> Outcome:
    older = wallet.block_number is not None and block < wallet.block_number
    if balance is None or older:
        due = schedule.due_after_failed_wallet(now, wallet.failures + 1, policy, jitter)
        return Outcome(wallet.id, due, wallet.failures + 1, OLDER_BLOCK if older else USDT_CALL_FAILED)
    changed = (balance.usdt, balance.native) != (wallet.usdt, wallet.native)
    touched = (now if changed else wallet.last_changed_at, wallet.requested_at)
    return Outcome(
        wallet.id,
        schedule.due_after_success(now, touched, policy, jitter),
        failures=0,
        changed=changed,
        usdt=balance.usdt,
        native=balance.native,
    )
