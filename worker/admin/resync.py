"""The use case behind ``celery -A worker resync``: wallets of a scope are made due, and watched until they were read.

Nothing here knows Celery. A resync lives in Postgres: once the wallets are marked it needs neither this process nor
Redis, and workers take it up as they take up whatever is due.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

from config.networks import NetworkName
from config.settings import WorkerSettings
from db.requests import LOCKED_PAUSE
from db.resync_queries import Bundle, Scope, Wanted, count, look, mark, slices, unknown
from db.session import transaction
from worker.admin.node_states import node_states, per_request
from worker.admin.progress import Progress, progress_line
from worker.reading import shared_of
from worker.wording import in_words

LOOK_PAUSE = 0.5  # seconds
LOOK_AHEAD = 8
"""Bundles looked at in which wallets are open. The first that were marked are read first, but a lost lease may keep one
open for a minute."""

STALLED = 30.0  # seconds without a wallet read until a person is told

Send = Callable[[str, Sequence[Any]], bool]
"""Sends a task by its name with its arguments. False: the queue is out of reach."""


class ResyncRefused(Exception):
    """A resync cannot be made as asked for; the message says why and what to do."""


@dataclass(slots=True)
class Result:
    """What became of a resync's wallets so far."""

    total: int
    read: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    gone: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return self.read + self.failed.total() + self.gone

    def as_json(self) -> dict[str, Any]:
        return {
            "read": self.read,
            "failed": self.failed.total(),
            "errors": dict(self.failed),
            "deleted": self.gone,
            "open": self.total - self.done,
            "seconds": round(self.seconds, 1),
        }


@dataclass(slots=True)
class Resync:
    """One run, over the wallets of `scope` in networks that have a node, of which a request takes `sizes` at a time.

    `report` is what it comes to, the object that ``--json`` prints, with the keys of docs/operations.md; `due` are how
    many wallets are due by network, `marked` those of them that somebody still has to name.
    """

    scope: Scope
    sizes: Mapping[NetworkName, int]
    report: dict[str, Any]
    due: Counter[NetworkName] = field(default_factory=Counter)
    marked: list[Bundle] = field(default_factory=list)
    result: Result | None = None

    def note(self, now_due: Bundle, *, all_named: bool) -> None:
        """These are due. `all_named`: all will be named. Otherwise those of a network that are one request's worth."""
        self.due[now_due.network] += now_due.wallets
        self.marked.append(now_due)
        if not all_named and self.due[now_due.network] > self.sizes[now_due.network]:
            self.marked = [bundle for bundle in self.marked if bundle.network != now_due.network]

    def as_json(self) -> dict[str, Any]:
        return self.report | {"marked": self.due.total(), "outcome": self.result and self.result.as_json()}


def plan(scope: Scope, settings: WorkerSettings) -> Resync:
    """What a resync of a scope comes to. Raises ResyncRefused when it names wallets or users that there are not."""
    with transaction() as connection:
        wallets, users = unknown(connection, scope)
        if wallets or users:
            lacking = [f"there is no wallet {each}" for each in wallets] + [
                f"user {each} has no wallet" for each in users
            ]
            more = ", …" if len(lacking) > 5 else ""  # noqa: PLR2004
            raise ResyncRefused(f"Nothing was marked: {', '.join(lacking[:5])}{more}.")
        wanted = count(connection, scope)
    chains = {network: settings.chain(network) for network in settings.networks}
    sizes = {
        network: per_request(chain, node_states(chain, shared_of(network, settings)))
        for network, chain in chains.items()
    }
    return planned(scope, wanted, sizes, {network: chain.per_second for network, chain in chains.items()})


def planned(
    scope: Scope, wanted: Wanted, sizes: Mapping[NetworkName, int], budgets: Mapping[NetworkName, float]
) -> Resync:
    """The plan for what was found. `sizes` and `budgets` are of the networks that have a node, and a budget of 0 is no
    bound. What cannot be read is left out: wallets without a valid address, and those of other networks. Pure.
    """
    counts = Counter(wanted.wallets)
    networks = {}
    for network, size in sizes.items():
        if wallets := counts[network]:
            requests = -(-wallets // size)
            seconds = requests / budgets[network] if budgets[network] else None
            networks[network] = {"wallets": wallets, "requests": requests, "seconds": seconds}
    report = {
        "wallets": sum(each["wallets"] or 0 for each in networks.values()),
        # At least: networks are read side by side.
        "seconds_at_least": max((each["seconds"] for each in networks.values() if each["seconds"]), default=None),
        "networks": networks,
        "left_out": {
            "bad_address": sum(wanted.hopeless.values()),
            "not_synced": {network: number for network, number in sorted(counts.items()) if network not in sizes},
        },
        "queued": None,
        "interrupted": False,
    }
    return Resync(scope, sizes, report)


def mark_all(resync: Resync, progress: Progress, *, forget: bool, all_named: bool = False) -> None:
    """Make the wallets due, a transaction for each bundle. What is marked is due, come what may.

    A row that a worker is writing is asked for again after the others. `forget`: what was read of them until now may be
    overwritten by an older block. `all_named`: as in `Resync.note`.
    """
    started = monotonic()
    later: deque[Bundle] = deque()
    found = (bundle for bundle in slices(resync.scope, transaction) if bundle.network in resync.sizes)
    while bundle := next(found, None) or (later.popleft() if later else None):
        with transaction() as connection:
            now_due, locked = mark(connection, bundle, forget=forget)
        if now_due:
            resync.note(now_due, all_named=all_named)
        if locked:
            later.append(locked)
            if not now_due:
                sleep(LOCKED_PAUSE)
        progress.show(progress_line("marked", resync.due.total(), resync.report["wallets"], monotonic() - started))
    progress.clear()


def forget_newest(resync: Resync, settings: WorkerSettings) -> None:
    """Have the workers forget the newest block that any of them has seen: true nodes would count as behind it.

    An operator's own Redis user may not do that (config/redis.acl). Then the workers drop it themselves, at the cost of
    one read, once every node contradicts it (``worker.reading.reader``).
    """
    for network in resync.report["networks"]:
        shared_of(network, settings).forget("newest")


def send_for(resync: Resync, send: Send) -> bool:
    """Tell the workers. What fits into one request of its network goes before other work; more is work like any other,
    for users who wait must not stand behind it. False: the queue is out of reach, and beat's next tick has to do.
    """
    many = False
    for network, size in resync.sizes.items():
        bundles = [bundle for bundle in resync.marked if bundle.network == network]
        if resync.due[network] > size:
            many = True
        elif bundles:
            ids = [wallet for bundle in bundles for wallet in bundle.ids.strip("{}").split(",")]
            if not send("worker.tasks.sync_wallets", [network, ids]):
                return False
    return send("worker.tasks.dispatch_due_wallets", []) if many else True


def wait(marked: Sequence[Bundle], result: Result, progress: Progress) -> None:
    """Until each wallet was read, or tried in vain, or is gone; `result` is kept up to date.

    A read counts that was claimed since the wallet was marked, once its lease is given back.
    """
    started = moved = monotonic()
    networks = dict.fromkeys(bundle.network for bundle in marked)
    queues = [deque(bundle for bundle in marked if bundle.network == network) for network in networks]
    while any(queues):
        before = result.done
        for queue in queues:
            look_along(queue, result)
        now = monotonic()
        result.seconds = now - started
        if result.done > before:
            moved = now
        elif now - moved > STALLED:
            moved = now
            progress.say(
                f"No wallet was read for {in_words(STALLED)}: is a worker running, and beat? "
                "`celery -A worker freshness` shows how the endpoints are."
            )
        more = f"{failed:,} failed" if (failed := result.failed.total()) else ""
        progress.show(progress_line("read", result.done, result.total, result.seconds, more=more))
        if any(queues):
            sleep(LOOK_PAUSE)
    progress.clear()


def look_along(queue: deque[Bundle], result: Result) -> None:
    """Look at the bundles from the first on, and keep those that are still open, until LOOK_AHEAD of them were seen."""
    still: list[Bundle] = []
    while queue and len(still) < LOOK_AHEAD:
        with transaction() as connection:
            seen = look(connection, queue.popleft())
        result.read += seen.read
        result.failed.update(seen.failed)
        result.gone += seen.gone
        if seen.open:
            still.append(seen.open)
    queue.extendleft(reversed(still))
