"""The use case: claim a batch, read it at one block, decide, write. No transaction is open while a node is asked.

Nothing here knows Celery, so that it can be called as it is. What a batch's wallets come to is decided in
``worker.sync.outcome``, from what was claimed and what was read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from random import random
from time import monotonic, sleep
from uuid import UUID

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from config.network_settings import Chain
from config.networks import NetworkName
from config.settings import WorkerSettings, worker_settings
from config.work_counts import BatchOutcome
from db.claims import Claim, claim_due, claim_lost, claim_these
from db.feed_cursor import lock_since
from db.freshness_policy import count_missed
from db.held_changes import NO_HISTORY, NO_LESSON, History, Lesson, history, learn
from db.leases import release
from db.network_state import lock, note_back, note_out
from db.networks import note_decimals, source_of_first_balances
from db.outcomes import Outcome, Recorded, record
from db.session import transaction, until_done
from db.touches import owe
from worker.errors import FROM_OUTSIDE, OUR_ERROR, OverBudget, ReadFailed
from worker.reading import ChainReader, reader_for
from worker.reading.request import Part
from worker.schedule.cadence import CLAIM_AHEAD
from worker.sync.batch_log import log_batch
from worker.sync.feed_check import FeedCheck
from worker.sync.interruption import handed_back_when_interrupted
from worker.sync.judged_read import JudgedRead
from worker.sync.outcome import Found, accounts_of, outage, outcomes
from worker.sync.pace import cadence_of, pace_of
from worker.sync.verify import lesson

log = structlog.get_logger(__name__)

WAITS_FOR_BUDGET = 1.0
"""Seconds that a batch of what is due waits for a slot in the budget: then beat's next tick asks for another."""

WAITS_FOR_REFRESH = 5.0
"""Seconds that a refresh does: about as long as somebody waits for it. Then it is merely due; were it to wait for
longer, a few users would have every process of a small budget wait, and other networks with it."""


def sync_due(network: NetworkName) -> tuple[UUID, ...]:
    """Sync one batch of what is due on a network, and one that was lost with its worker, if there is any.

    Returns the wallets that were asked for while they were being read. Nothing is claimed while no node may be
    asked, or the budget has no room in time. Raises NotConfigured; a failed read is recorded, not raised.
    """
    settings, reader, started = worker_settings(), reader_for(network), monotonic()
    ahead = timedelta(seconds=settings.sync_interval_active * CLAIM_AHEAD)

    def claim_batch(connection: Connection, network: NetworkName, lease: timedelta) -> Claim | None:
        # Of the node that is asked now: its slots are had.
        return claim_due(connection, network, limit=reader.max_wallets, lease=lease, ahead=ahead)

    claim, asked_again = _sync(reader, settings, network, claim_batch, started=started)
    # Apart from those above, which are written by now: these may end the process.
    if claim and claim.state.lost and not claim.deaths:
        asked_again += _sync(reader, settings, network, claim_lost, started=started)[1]
    return asked_again


def sync_these(network: NetworkName, wallet_ids: Sequence[UUID]) -> tuple[UUID, ...]:
    """The same for those of these wallets that are due or asked for: one batch, and one try of a lost one."""
    if not wallet_ids:
        return ()
    settings, reader, started = worker_settings(), reader_for(network), monotonic()
    of_these = partial(_sync, reader, settings, network, started=started, wallets=len(wallet_ids))
    claim, asked_again = of_these(partial(claim_these, wallet_ids=wallet_ids, limit=len(wallet_ids)))
    left = set(wallet_ids) - {wallet.id for wallet in (claim.wallets if claim else ())}
    if left and (claim is None or claim.state.lost):
        asked_again += of_these(partial(claim_lost, wallet_ids=list(left)))[1]
    return asked_again


def _sync(
    reader: ChainReader,
    settings: WorkerSettings,
    network: NetworkName,
    claim_batch: Callable[..., Claim | None],
    *,
    started: float,
    wallets: int | None = None,
) -> tuple[Claim | None, tuple[UUID, ...]]:
    """What was claimed, and who of it was asked for meanwhile.

    `wallets`: somebody waits for so many; None: nobody does. `started`: when the task began.
    """
    deadline, refresh = started + settings.read_limit, wallets is not None
    patience = started + (WAITS_FOR_REFRESH if refresh else WAITS_FOR_BUDGET)
    while why := reader.may_read(deadline, refresh=refresh, wallets=wallets):
        pause = why.retry_after or 0.0
        if not isinstance(why, OverBudget) or monotonic() + pause > patience:
            _note_out(network, why, settings)
            return None, ()
        sleep(pause)
    with handed_back_when_interrupted(partial(_count, reader, "handed_back")) as hold:

        def take(connection: Connection) -> tuple[Claim | None, History]:
            claim = hold.claim = claim_batch(connection, network, lease=timedelta(seconds=settings.sync_lease))
            if claim is None or _reads_another_source(connection, claim, settings):
                return None, NO_HISTORY
            return claim, history(connection, network, [wallet.id for wallet in claim.wallets])

        claim, known = until_done(take, deadline)
        if claim is None:
            reader.give_back()
            return None, ()
        ends = monotonic() + settings.sync_lease
        reader.expect_decimals(claim.state.decimals)
        feed = FeedCheck(claim, deadline, enabled=settings.feed)
        parts, decided, learnt = _decide(reader, settings, claim, known, feed, refresh=refresh)
        out = outage(parts, claim.state)
        if out or not decided:
            until_done(partial(release, token=claim.token), ends)
            _count(reader, "handed_back", claim)
            if out:
                _note_out(claim.network, out, settings)
            return claim, ()
        back = any(part.snapshot for part in parts)
        longest = cadence_of(settings, claim.state.freshness).idle
        write = _Write(claim, decided, learnt, settings.chain(network), reader.decimals, back, feed, longest)
        recorded = until_done(write, ends)
    _count(reader, "synced" if back else "failed", claim)
    changed, failed = sum(each.changed for each in decided), sum(each.error is not None for each in decided)
    log_batch(claim, parts, recorded, started, changed=changed, failed=failed, lost=len(decided) - recorded.recorded)
    return claim, recorded.asked_again


def _count(reader: ChainReader, outcome: BatchOutcome, claim: Claim) -> None:
    reader.count_batch(outcome, len(claim.wallets), lost=claim.deaths > 0)


def _reads_another_source(connection: Connection, claim: Claim, settings: WorkerSettings) -> bool:
    """Whether a worker that was started since has registered another chain or token (``db.networks``). Then the claim
    is handed back: what this one reads would be of something else than what is shown.
    """
    registered, own = claim.state.source, settings.source(claim.network)
    if registered is None or registered == own:
        return False
    release(connection, claim.token)
    _log_source_differs(claim.network, str(registered), str(own))
    return True


@cache
def _log_source_differs(network: NetworkName, registered: str, own: str) -> None:
    """Once: it is so for each batch until this worker is started with other settings."""
    log.error("source_differs", network=network, registered=registered, own=own)


def _note_out(network: NetworkName, why: ReadFailed, settings: WorkerSettings) -> None:
    """No node may be asked: that is the network's, and no wallet's. Our own budget is nobody's failure.

    It says nothing of a network that is read from another source by now.
    """
    if isinstance(why, OverBudget):
        return
    with transaction() as connection:
        if lock(connection, network).source not in {None, settings.source(network)}:
            return
        news = note_out(connection, network, why.code)
    if news:
        log.warning("network_out", network=network, reason=why.code, detail=str(why))


@dataclass(slots=True)
class _Write:
    """Writes what came of a batch; once more, it passes over rows that somebody keeps locked."""

    claim: Claim
    decided: Sequence[Outcome]
    learnt: Lesson
    chain: Chain
    decimals: int | None
    back: bool
    """A node has answered."""
    feed: FeedCheck
    longest: float
    """Seconds that the cadence leaves a wallet alone for at the most."""
    tries: int = 0

    def __call__(self, connection: Connection) -> Recorded:
        self.tries += 1
        state = self.claim.state
        if self.back and state.out_since and note_back(connection, self.claim.network):
            log.info("network_back", network=self.claim.network, out_since=state.out_since.isoformat())
        source_id = state.source_id
        if self.back and source_id is None:
            source_id = source_of_first_balances(connection, self.chain)
        if self.back and source_id is not None and self.decimals not in {None, state.decimals}:
            by_settings = self.chain.decimals is not None
            note_decimals(connection, source_id, self.decimals, by_settings=by_settings)
        token, pass_over = self.claim.token, self.tries > 1
        # Before the wallets' rows, as by whoever follows the network. The counts first: two batches that both had a
        # shared lock on the cursor would wait for each other with them.
        missed = {"usdt": self.feed.usdt_missed, "native": self.feed.native_missed}
        if any(missed.values()):
            count_missed(connection, self.claim.network, **missed)
        decided = self.decided
        # Touches may come meanwhile where blocks are followed, whatever the network was kept fresh by.
        if follows := state.freshness.touches or (self.feed.enabled and state.freshness.since is not None):
            # Under a lock on the cursor: a jump sees what is written here, or is seen by it.
            since = lock_since(connection, self.claim.network)
            decided = [self._by_cadence(each, since) for each in decided]
        recorded = record(
            connection,
            token,
            decided,
            finality=self.chain.finality,
            source_id=source_id,
            pass_over_locked=pass_over,
            follows=follows,
        )
        if self.feed.owed:
            owe(connection, self.claim.network, self.feed.owed)
        if recorded.recorded and any(self.learnt):
            learn(connection, self.claim.network, self.learnt)
        return recorded

    def _by_cadence(self, outcome: Outcome, since: int | None) -> Outcome:
        """Not left to a sweep where the feed does not cover its block any more."""
        latest = self.claim.at + self.longest
        covered = since is not None and (outcome.block_number or 0) >= since
        return outcome if covered or outcome.due <= latest or outcome.error else outcome._replace(due=latest)


def _decide(
    reader: ChainReader,
    settings: WorkerSettings,
    claim: Claim,
    known: History,
    feed: FeedCheck,
    *,
    refresh: bool,
) -> tuple[list[Part], list[Outcome], Lesson]:
    """What was read of a claim, what comes of it, and what it teaches. Our own mistake is a failure of each of its
    wallets, which then come back at times of their own: else the same ones would come back together, for ever, before
    all others.
    """
    freshness = claim.state.freshness
    policy, pace = cadence_of(settings, freshness), pace_of(settings, freshness)
    accounts: list[bytes | None] = [None] * len(claim.wallets)
    try:
        chain = settings.chain(claim.network)
        accounts = accounts_of(claim, chain.network.family)
        feed.watch(accounts, timedelta(seconds=settings.sync_lease))
        parts, found = JudgedRead(reader, feed, accounts, chain.confirm_rises, known, refresh=refresh).read()
        counted = random()  # noqa: S311  which batches are counted
        learnt = lesson(claim, found, known, chance=counted, as_told=feed.as_told)
        made = outcomes(claim, accounts, found, policy=policy, chance=random, finality=reader.finality, pace=pace)
        return parts, made, learnt
    except (*FROM_OUTSIDE, DBAPIError):
        raise
    except Exception:
        log.exception("batch_broken", network=claim.network, wallets=len(claim.wallets))
    found = [Found(error=OUR_ERROR, alone=True)] * len(claim.wallets)
    return [], outcomes(claim, accounts, found, policy=policy, chance=random), NO_LESSON
