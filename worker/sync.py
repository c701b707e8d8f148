"""The use case: claim a batch, read it at one block, decide, write. Two short transactions, none open while a node is
asked.

Nothing here knows Celery, so that it can be called as it is. What a batch's wallets come to is decided in
``worker.outcomes``, from what was claimed and what was read.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from random import random, sample
from time import monotonic, sleep
from uuid import UUID

import structlog
from sqlalchemy import Connection

from config.settings import Network, WorkerSettings, worker_settings
from db.balances import Outcome, Recorded, record
from db.leases import release
from db.refresh import LOCKED_PAUSE
from db.session import transaction, twice
from db.wallets import Claim, claim_due, claim_these, passed_over
from worker.chains import ChainReader, reader_for
from worker.chains.task import Part
from worker.errors import FROM_OUTSIDE, OUR_ERROR
from worker.interruption import handed_back_when_interrupted
from worker.outcomes import (
    Found,
    accounts_of,
    behind,
    caught_up,
    confirmed,
    fallen_to_zero,
    found_in,
    outcomes,
    risen,
    share,
    with_bad_addresses,
)
from worker.schedule import Policy

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
    claim = partial(
        claim_due,
        network=network,
        limit=reader.max_wallets,
        lease=timedelta(seconds=settings.sync_lease),
        ahead=timedelta(seconds=settings.sync_interval_active * CLAIM_AHEAD),
    )
    return tuple(_sync(reader, settings, claim)[1])


def sync_these(network: Network, wallet_ids: Sequence[UUID]) -> tuple[UUID, ...]:
    """The same for those of these wallets that are due or asked for. More than a request takes are read in several.

    A row that somebody has locked for a moment, as whoever asks for the wallet does, is tried again.
    """
    settings, reader = worker_settings(), reader_for(network)
    patience = monotonic() + settings.request_limit
    left = list(wallet_ids)
    asked_again: list[UUID] = []
    while True:
        lease = timedelta(seconds=settings.sync_lease)
        claim = partial(claim_these, network=network, wallet_ids=left, limit=len(left), lease=lease)
        claimed, again = _sync(reader, settings, claim)
        asked_again += again
        if claimed == len(left):
            return tuple(asked_again)
        with transaction() as connection:
            found = passed_over(connection, network, left)
        left = [wallet for wallet in found if wallet not in asked_again]
        if not left or monotonic() > patience:
            return tuple(asked_again)
        sleep(LOCKED_PAUSE)


def _sync(
    reader: ChainReader, settings: WorkerSettings, claim_batch: Callable[[Connection], Claim | None]
) -> tuple[int, Sequence[UUID]]:
    """How many wallets were claimed, and who was asked for meanwhile."""
    started = monotonic()
    with handed_back_when_interrupted() as hold:
        with transaction() as connection:
            claim = claim_batch(connection)
            claim = hold.claim = claim and _share(connection, claim)
        if claim is None:
            return 0, ()
        parts, decided = _decide(reader, settings, claim, started + settings.read_limit)
        recorded = twice(partial(record, token=claim.token, outcomes=decided, finality=reader.finality))
    changed, failed = sum(each.changed for each in decided), sum(each.error is not None for each in decided)
    _tell(claim, parts, recorded, started, changed=changed, failed=failed)
    return len(claim.wallets), recorded.asked_again


def _share(connection: Connection, claim: Claim) -> Claim:
    """What of a claim is tried. All of it, unless its workers died with it more than once: then some, by chance."""
    deaths = max((wallet.failures for wallet in claim.wallets if wallet.lost), default=0)
    size = share(len(claim.wallets), deaths)
    if size == len(claim.wallets):
        return claim
    tried = tuple(sample(claim.wallets, size))
    release(connection, claim.token, list({wallet.id for wallet in claim.wallets} - {wallet.id for wallet in tried}))
    log.warning("batch_halved", network=claim.network, wallets=size, deaths=deaths)
    return replace(claim, wallets=tried)


def _decide(
    reader: ChainReader, settings: WorkerSettings, claim: Claim, deadline: float
) -> tuple[list[Part], list[Outcome]]:
    """What was read of a claim, and what comes of it. Our own mistake is a failure of each of its wallets, which then
    come back at times of their own: else the same ones would come back together, for ever, before all others.
    """
    policy = Policy(settings.sync_interval_active, settings.sync_interval_idle)
    accounts: list[bytes | None] = [None] * len(claim.wallets)
    try:
        accounts = accounts_of(claim)
        parts, found = _read(reader, claim, accounts, deadline, settings.chain(claim.network).confirm_rises)
    except FROM_OUTSIDE:
        raise
    except Exception:
        log.exception("batch_broken", network=claim.network, wallets=len(claim.wallets))
        parts, found = [], [Found(error=OUR_ERROR, alone=True)] * len(claim.wallets)
    return parts, outcomes(claim, accounts, found, policy=policy, chance=random)


def _read(
    reader: ChainReader,
    claim: Claim,
    accounts: Sequence[bytes | None],
    deadline: float,
    rises_above: int | None = None,
) -> tuple[list[Part], list[Found]]:
    """What the nodes say, and for each claimed wallet what was found."""
    clock = claim.at - monotonic()
    parts = reader.read([account for account in accounts if account], claim.at, deadline)
    found = with_bad_addresses(accounts, found_in(parts, len(accounts) - accounts.count(None)))
    read_again = partial(_read_again, reader, accounts, clock=clock, deadline=deadline)
    late = behind(claim, found) if reader.several else []
    if late:
        found = caught_up(claim, found, late, read_again)
        log.info("older_blocks_read_again", network=claim.network, wallets=len(late), older=len(behind(claim, found)))
    zeros, rises = fallen_to_zero(claim, found), risen(claim, found, rises_above)
    if zeros or rises:
        found = confirmed(claim, found, sorted({*zeros, *rises}), read_again, rises_above)
        for event, suspects in (("zeros_read_again", zeros), ("rises_read_again", rises)):
            if suspects:
                unconfirmed = sum(found[place].error is not None for place in suspects)
                log.info(event, network=claim.network, wallets=len(suspects), unconfirmed=unconfirmed)
    return parts, found


def _read_again(
    reader: ChainReader,
    accounts: Sequence[bytes | None],
    found: Sequence[Found],
    places: Sequence[int],
    *,
    clock: float,
    deadline: float,
) -> list[Found]:
    """What is found for the wallets at some places, each read by another endpoint than before, where there is one.

    `clock` is the database's time when the monotonic clock began.
    """
    again: dict[int, Found] = {}
    for before in {found[place].endpoint for place in places}:
        those = {place: account for place in places if found[place].endpoint == before and (account := accounts[place])}
        parts = reader.read(list(those.values()), clock + monotonic(), deadline, avoid=(before,))
        again |= zip(those, found_in(parts, len(those)), strict=True)
    return [again[place] for place in places]


def _tell(claim: Claim, parts: Sequence[Part], recorded: Recorded, started: float, **counts: int) -> None:
    """The batch's own line. It failed when no wallet of it could be read."""
    read = [part.snapshot for part in parts if part.snapshot]
    error = next((part.failure.code for part in parts if part.failure), None)
    failed = error is not None and not read
    report = log.warning if failed else log.info
    report(
        "batch_failed" if failed else "batch_synced",
        network=claim.network,
        wallets=len(claim.wallets),
        written=recorded.written,
        lost=len(claim.wallets) - recorded.recorded,
        block=max((snapshot.block.number for snapshot in read), default=None),
        one_block=len(read) <= 1 and all(snapshot.one_block for snapshot in read),
        endpoint=", ".join(sorted({part.endpoint for part in parts if part.endpoint})) or None,
        error=error,
        duration_ms=round((monotonic() - started) * 1000),
        **counts,
    )
