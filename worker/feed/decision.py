"""Deciding how a network is kept fresh: what is known is gathered, ``worker.feed.policy`` chooses, it is noted."""

from time import monotonic

import structlog

from config.network_settings import Chain
from config.networks import NetworkName
from config.settings import WorkerSettings
from db.feed_cursor import Cursor
from db.freshness_policy import Decision, count_wallets, note_decision
from db.session import transaction, until_done
from worker.feed.policy import Choice, PolicyFacts, choose, left_of, requests_a_day, sweep_a_day
from worker.feed.policy_words import is_followed
from worker.reading.reader import NodeReader
from worker.schedule.cadence import CLAIM_AHEAD, Policy
from worker.schedule.sizing import DAY

log = structlog.get_logger(__name__)

DECIDED_EACH = 10.0  # seconds
CATCHES_UP = 30.0  # the same while there are blocks to be followed: a feed is not given up before it has tried
COUNTED_EACH = 300.0  # seconds; counting a million wallets takes some tenths of one
FEW_COUNTED_EACH = 20.0  # the same of fewer than FEW: an import may make them many
FEW = 50_000
PATIENCE = 5.0  # seconds for noting a decision: what it tidies up a batch may be tidying up as well


def decide(network: NetworkName, settings: WorkerSettings, chain: Chain, reader: NodeReader, at: Cursor) -> bool:
    """Decide anew, if that was long ago, and note it. Whether the network's blocks are to be followed."""
    so_far = Choice(at.policy, at.reason, at.a_day, at.read_every, at.stretch)  # type: ignore[arg-type]  # checked there
    follows, caught_up = is_followed(at.policy, at.reason), at.next_at > at.now
    # Also as soon as a feed has begun, or has caught up, that was wanted before.
    left = at.policy == "cadence" and at.reason in {"starting", "behind"}
    taken_up = left and at.since is not None and caught_up
    each = CATCHES_UP if follows and not caught_up else DECIDED_EACH
    if at.decided_at is not None and 0 <= at.now - at.decided_at < each and not taken_up:
        return follows
    counted_each = FEW_COUNTED_EACH if (at.wallets or 0) < FEW else COUNTED_EACH
    counted = at.wallets is None or at.counted_at is None or not 0 <= at.now - at.counted_at < counted_each
    wallets = at.wallets or 0
    if counted:
        with transaction() as connection:
            wallets = count_wallets(connection, network)
    choice = choose(_facts(settings, chain, reader, at, wallets), so_far if at.decided_at is not None else None)
    decision = Decision(
        policy=choice.way,
        reason=choice.reason,
        read_every=choice.read_every,
        stretch=choice.stretch,
        requests_a_day=int(choice.a_day),
        wallets=wallets,
        counted=counted,
        follows=choice.follows,
    )
    spread = choice.read_every if choice.way == "every_block" else settings.sync_interval_idle * choice.stretch
    until_done(
        lambda connection: note_decision(connection, network, at, decision, spread=spread), monotonic() + PATIENCE
    )
    if (choice.way, choice.reason, choice.read_every, choice.stretch) != (
        at.policy,
        at.reason,
        at.read_every,
        at.stretch,
    ):
        log.info(
            "freshness_policy",
            network=network,
            policy=choice.way,
            reason=choice.reason,
            read_every=choice.read_every,
            stretch=choice.stretch,
            requests_a_day=decision.requests_a_day,
            before=at.policy,
        )
    return choice.follows


def _facts(settings: WorkerSettings, chain: Chain, reader: NodeReader, at: Cursor, wallets: int) -> PolicyFacts:
    policy = Policy(settings.sync_interval_active, settings.sync_interval_idle)
    (per_batch, batch_requests), seconds = reader.full_batch, chain.network.block_seconds
    ahead = settings.sync_interval_active * CLAIM_AHEAD
    followed = at.number is not None and at.since is not None
    return PolicyFacts(
        wallets=wallets,
        per_batch=per_batch,
        batch_requests=batch_requests,
        block_seconds=seconds,
        cadence_a_day=requests_a_day(wallets, per_batch, policy, ahead=ahead, batch_requests=batch_requests),
        sweep_a_day=sweep_a_day(wallets, per_batch, settings.sync_interval_sweep, batch_requests=batch_requests),
        per_second=chain.per_second * len({node.id for node in reader.nodes}),
        daily_quota=_quota(chain, reader),
        enabled=settings.feed,
        blind=at.blind,
        deprecated=at.deprecated and at.source == at.registered_id,
        sees_native=at.sees_native,
        lag=max(at.now - at.next_at, 0.0) / seconds if followed else None,
        # An answer of a moment that is still to come was noted by a clock that was wrong: it says nothing.
        silent=0.0 if at.followed_at is None else abs(at.now - at.followed_at),
    )


def _quota(chain: Chain, reader: NodeReader) -> int | None:
    """The day's quota, or what its rest allows, where more was sent today than was to be."""
    if chain.daily_quota is None:
        return None
    now = reader.shared.clock()
    used = reader.shared.requests.of_the_day(now)
    return chain.daily_quota if used is None else left_of(chain.daily_quota, used, now % DAY / DAY)
