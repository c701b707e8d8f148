"""One pass: what Postgres and Redis know just now becomes a `Picture`. I/O; raises nothing that they do.

Each of the two is asked though the other is away, and what one does not answer is unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import monotonic, time
from typing import Any

import redis
import structlog
from psycopg.errors import InsufficientPrivilege, LockNotAvailable, QueryCanceled
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from config import redis_address
from config.networks import NetworkName
from config.ops_settings import OpsSettings
from db.freshness_queries import NetworkFreshness
from db.reasons import reason
from ops import wallets, work
from ops.picture import NetworkPicture, Picture, Quota
from ops.quota import predicted
from ops.work import RedisPart
from worker.admin.feed_report import by_settings
from worker.admin.freshness import reads_per_hour
from worker.admin.node_states import NodeState

log = structlog.get_logger(__name__)

REDIS_TIMEOUT = 2.0  # seconds for a connection and for each answer: one that hangs must not hold up the pass
STATEMENT_INTERVALS = 1.0
"""A statement of a pass may take so many intervals. There are two at the most, and what takes longer than three
intervals comes too late to be told."""
ANSWERS = {
    QueryCanceled: "it does not count the wallets in time",
    LockNotAvailable: "somebody has locked a table, so that it cannot count the wallets",
    InsufficientPrivilege: "its user may not read all of it: give it the rights of bal_ops",
}
"""Errors by which Postgres shows that it is there, and what each means for a pass."""
RIGHTS = "its user may not read all of it: give it the rights of config/redis.acl"


@dataclass(slots=True)
class Source:
    """Postgres or Redis, as passes found it: it is logged when that changes, and not at each pass."""

    name: str
    answers: bool = False
    """Whether it answered in the last pass, be it with an error."""
    why: str = ""
    """Why it gave nothing, or not all, in the last pass; empty: it did."""

    def note(self, why: str, *, answers: bool) -> None:
        """How it was in a pass."""
        self.answers = answers
        if why and why != self.why:
            log.warning("collection_failed", source=self.name, reason=why)
        elif self.why and not why:
            log.info("collection_works", source=self.name)
        self.why = why


@dataclass(slots=True)
class Passes:
    """Makes one pass after the other. Not for several threads."""

    settings: OpsSettings
    database: Source = field(default_factory=lambda: Source("Postgres"))
    redis: Source = field(default_factory=lambda: Source("Redis"))
    _client: Any = None

    def run(self) -> Picture:
        """What there is now."""
        at, began = time(), monotonic()
        of_wallets = self._wallets()
        found = self._work(at)
        networks = _networks(self.settings, of_wallets)
        return Picture(
            at=at,
            seconds=monotonic() - began,
            database=self.database.answers,
            redis=self.redis.answers,
            counted=of_wallets is not None,
            networks=[_network(self.settings, name, of_wallets, found, at) for name in networks],
            queues=found.queues if found else None,
            dispatched=found.dispatched if found else None,
            workers=found.workers if found else None,
            why="; ".join(f"{each.name}: {each.why}" for each in (self.database, self.redis) if each.why),
        )

    def _wallets(self) -> dict[NetworkName, NetworkFreshness] | None:
        timeout = self.settings.collect_interval * STATEMENT_INTERVALS
        try:
            found = wallets.look(timedelta(seconds=self.settings.sync_lease), timeout)
        except SQLAlchemyError as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            why = next((why for kind, why in ANSWERS.items() if isinstance(cause, kind)), "")
            # The driver's message names host and user.
            self.database.note(why or reason(cause), answers=bool(why))
            return None
        self.database.note("", answers=True)
        return found

    def _work(self, now: float) -> RedisPart | None:
        if self._client is None:
            url = self.settings.redis_url.get_secret_value()
            self._client = redis_address.client(url, timeout=REDIS_TIMEOUT, retry=Retry(NoBackoff(), 0))
        try:
            found = work.look(self._client, self.settings, now)
        except redis.RedisError as error:
            # One that has become a replica, or hangs, keeps its connections: the next pass makes a new one.
            self._client.connection_pool.disconnect()
            self.redis.note(type(error).__name__, answers=False)
            return None
        self.redis.note(RIGHTS if found.refused else "", answers=True)
        return found


def _networks(settings: OpsSettings, of_wallets: dict[NetworkName, NetworkFreshness] | None) -> Sequence[NetworkName]:
    """Those that have nodes, and those that have wallets, in the order of the known ones. Pure."""
    known = dict.fromkeys((*settings.known_networks, *sorted(of_wallets or ())))
    return [name for name in known if name in settings.networks or name in (of_wallets or ())]


def _network(
    settings: OpsSettings,
    name: NetworkName,
    of_wallets: dict[NetworkName, NetworkFreshness] | None,
    found: RedisPart | None,
    now: float,
) -> NetworkPicture:
    """One network, out of both parts. Pure."""
    chain = settings.chain(name) if name in settings.networks else None
    freshness = None if of_wallets is None else of_wallets.get(name, NetworkFreshness(name))
    if freshness is not None:
        freshness = replace(freshness, feed=by_settings(freshness.feed, enabled=settings.feed))
    nodes = found.nodes.get(name) if found else None
    used = found.used_today.get(name) if found else None
    quota = None
    if chain and chain.daily_quota:
        quota = Quota(chain.daily_quota, used, _predicted(nodes, used, now))
    return NetworkPicture(
        name=name,
        synced=chain is not None,
        wallets=freshness,
        condition=freshness.condition if freshness else None,
        nodes=nodes,
        work=found.work.get(name) if found else None,
        quota=quota,
        max_head_age=chain.max_head_age if chain else None,
        reads_per_hour=reads_per_hour(freshness) if freshness else None,
    )


def _predicted(nodes: Sequence[NodeState] | None, used: int | None, now: float) -> float | None:
    if nodes is None or used is None:
        return None
    return predicted(used, [node.requests for node in nodes], now)
