"""What the page shows, made of a picture: everything that the templates need, decided. Pure.

No pass yet, a database or a Redis that is away, a picture that is too old, a network without wallets or without a node:
each is a state that is shown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from config.network_settings import prefix
from ops.history import History
from ops.page_chart import Chart, chart
from ops.page_processes import Process, Queue, processes, queues
from ops.page_verdict import Level, Note, Verdict, notes, outdated, verdict
from ops.picture import NetworkPicture, Picture
from ops.remedies import Remedy, remedy
from worker.admin.feed_report import feed_report, policy_report
from worker.admin.node_states import NodeState
from worker.feed.policy_words import BLIND_SPOTS
from worker.reading.request_counts import SPAN_SECONDS

PASSES_MISSED: Final = 3
"""After so many intervals without a pass that succeeded, what the last one found is not believed any more."""


@dataclass(frozen=True, slots=True)
class Standards:
    """The settings by which a picture is judged. Seconds."""

    lease: float
    interval: float
    ticks: float
    """From one of beat's to the next."""

    def is_old(self, age: float) -> bool:
        """Whether what was found so long ago is not believed any more."""
        return age > PASSES_MISSED * self.interval


@dataclass(frozen=True, slots=True)
class Failing:
    """How many wallets have an error, and what to do about it."""

    code: str
    wallets: int
    share: float
    remedy: Remedy


@dataclass(frozen=True, slots=True)
class Node:
    """An endpoint and its place."""

    place: int
    found: NodeState
    requests: int
    """In the past hour."""
    share: float | None
    """What a day at this pace takes of the network's quota; None: there is none."""
    rests: float
    """For how many seconds from now on it is left alone; 0: it is not."""
    reason: str
    """The error of its last failure, or for which its keys rest; empty: there is none."""
    remedy: Remedy | None
    """What there is to say about that error."""


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network as it is shown."""

    found: NetworkPicture
    verdict: Verdict
    notes: Sequence[Note]
    chart: Chart | None
    failing: Sequence[Failing]
    nodes: Sequence[Node] | None
    """None: Redis is away."""
    variable: str
    """The setting that gives it nodes."""
    policy: Sequence[str]
    """How it is kept fresh, and why, in sentences."""
    feed: Mapping[str, Any] | None
    """How far its blocks are followed (`worker.admin.feed_report`); None: they are not."""


@dataclass(frozen=True, slots=True)
class View:
    """The page. `picture` is None as long as no pass has ended."""

    picture: Picture | None
    now: float
    old: float | None
    """For how many seconds nothing was looked at, where that is too long."""
    since: float | None
    """Since when the history is known."""
    networks: Sequence[NetworkView]
    processes: Sequence[Process]
    queues: Sequence[Queue] | None
    level: Level
    title: str


def view(picture: Picture | None, history: History, now: float, standards: Standards) -> View:
    """What is shown of a picture now."""
    if picture is None:
        return View(None, now, None, None, (), (), None, Level.IDLE, "No pass yet")
    age = now - picture.at
    old = age if standards.is_old(age) else None
    all_of_it = list(processes(picture, now, ticks=standards.ticks))
    shown = [_network(each, picture, history, now, standards) for each in picture.networks]
    levels = [each.level for each in all_of_it] + [each.verdict.level for each in shown]
    return View(
        picture,
        now,
        old,
        history.since,
        shown,
        all_of_it,
        queues(picture, now),
        max(levels),
        _title(shown, all_of_it),
    )


def _network(
    found: NetworkPicture, picture: Picture, history: History, now: float, standards: Standards
) -> NetworkView:
    judged = verdict(found, now, lease=standards.lease)
    age = now - picture.at
    # Where wallets are late, what is wrong with beat or the workers is told beside them.
    causes = _causes(processes(picture, now, ticks=standards.ticks)) if judged.is_late else []
    return NetworkView(
        found,
        outdated(judged, age) if standards.is_old(age) else judged,
        sorted((*notes(found), *causes), key=lambda note: -note.level),
        chart(history.of(found.name, now), now, interval=standards.interval),
        _failing(found.wallets.errors if found.wallets else {}, found.wallets.wallets if found.wallets else 0),
        _nodes(found, picture.at, now),
        f"{prefix(found.name)}RPC_URLS",
        *_kept_fresh(found, age),
    )


def _kept_fresh(found: NetworkPicture, age: float) -> tuple[list[str], dict[str, Any] | None]:
    """By which policy, and how its feed of blocks is now, `age` seconds after it was looked at."""
    if found.wallets is None or not found.wallets.wallets or found.wallets.feed.reason is None:
        return [], None
    feed = feed_report(found.wallets.feed)
    words = [*policy_report(found.wallets.feed)["sentences"], *(BLIND_SPOTS[code] for code in feed["blind_spots"])]
    older = {name: seconds + age for name, seconds in feed.items() if name.endswith("_seconds") and seconds is not None}
    return words, {**feed, **older} if feed["followed"] else None


def _causes(shared: Iterable[Process]) -> list[Note]:
    return [
        Note(each.level, f"{each.name}: {each.sentence}.", each.to_do) for each in shared if each.level is Level.ACT
    ]


def _failing(errors: Mapping[str, int], wallets: int) -> list[Failing]:
    """The errors of failing wallets, the most frequent first."""
    most_first = sorted(errors.items(), key=lambda item: (-item[1], item[0]))
    return [Failing(code, count, count / wallets if wallets else 0.0, remedy(code)) for code, count in most_first]


def _nodes(network: NetworkPicture, at: float, now: float) -> list[Node] | None:
    if network.nodes is None:
        return None
    quota = network.quota.a_day if network.quota else 0
    return [_node(place, each, quota, now - at, now) for place, each in enumerate(network.nodes, 1)]


def _node(place: int, found: NodeState, quota: int, age: float, now: float) -> Node:
    requests = sum(found.requests.values())
    # As `freshness` has it: nothing is extrapolated from less than one span.
    hours = max(now - min(found.requests, default=now), SPAN_SECONDS) / 3600
    share = requests / hours * 24 / quota if quota else None
    rests = max(found.resting_seconds - age, found.left_alone.until - now, 0.0)
    reason = found.resting_reason or found.left_alone.code
    return Node(place, found, requests, share, rests, reason, remedy(reason) if reason else None)


def _title(networks: Sequence[NetworkView], shared: Sequence[Process]) -> str:
    """What a tab of a browser says: what is wrong, or that nothing is."""
    wrong = [f"{each.found.name}: {each.verdict.word}" for each in networks if each.verdict.level is Level.ACT]
    wrong += [f"{each.name} {each.sentence}" for each in shared if each.level is Level.ACT]
    if wrong:
        return "; ".join(wrong[:2])
    return "; ".join(f"{each.found.name}: {each.verdict.word}" for each in networks[:3]) or "No network yet"
