"""Pictures of what a pass may have found, and an application that shows them without a pass."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import sin
from typing import Any, NamedTuple

from litestar import Litestar
from litestar.datastructures import State

from config.ops_settings import OpsSettings
from db.feed_state import FeedState
from db.freshness_queries import NetworkFreshness
from db.network_state import SOUND, Condition
from ops.history import History
from ops.page import routes
from ops.picture import NetworkPicture, Picture, QueuePicture, Quota
from ops.remedies import REMEDIES
from worker.admin.node_states import NodeState

NOW = 1_795_680_751.0  # 2026-11-26, in the morning
TOKEN = "a token that nobody guesses"
LEASE, INTERVAL = 60.0, 30.0


def moment(seconds_ago: float, now: float = NOW) -> datetime:
    return datetime.fromtimestamp(now - seconds_ago, UTC)


def wallets(network: str = "tron", **more: Any) -> NetworkFreshness:
    """2,102 wallets that are fresh, with what a test has otherwise."""
    found = NetworkFreshness(
        network=network,
        wallets=2102,
        read=2102,
        fresh=2102,
        claimed=100,
        waiting=2002,
        reads_per_hour=126_120.0,
        ages=(31.0, 58.0, 63.0, 74.0),
        oldest_read=moment(74),
        last_read=moment(1),
        block_time=moment(58),
    )
    return replace(found, **more)


def node(name: str = "api.trongrid.io", **more: Any) -> NodeState:
    """An endpoint that is ready, with what a test has otherwise."""
    found = NodeState(
        name=name,
        strategy="return",
        strategy_reason="",
        wallets_per_request=500,
        resting_seconds=0.0,
        resting_reason="",
        failures_in_a_row=0,
        keys=3,
        keys_resting=0,
        requests={NOW - 300 * span: 41 for span in range(12)},
    )
    return replace(found, **more)


def network(name: str = "tron", **more: Any) -> NetworkPicture:
    """A network in good order, with what a test has otherwise."""
    found = NetworkPicture(
        name=name,
        synced=True,
        wallets=wallets(name),
        condition=SOUND,
        nodes=[node()],
        work=None,
        quota=None,
        max_head_age=180.0,
        reads_per_hour=126_120.0,
    )
    return replace(found, **more)


def picture(*networks: NetworkPicture, **more: Any) -> Picture:
    """A pass in which all is well."""
    found = Picture(
        at=NOW - 4,
        seconds=0.21,
        database=True,
        redis=True,
        networks=networks or (network(),),
        queues=[
            QueuePicture("ticks", 0, None, NOW - 3),
            QueuePicture("refresh", 0, None, NOW - 3),
            QueuePicture("sync", 7, NOW - 5, NOW - 6),
        ],
        dispatched=NOW - 4.6,
        workers={"batch@worker-1": NOW - 6, "refresh@worker-2": NOW - 3},
    )
    return replace(found, **more)


def without_redis(*networks: NetworkPicture) -> Picture:
    """A pass for which Redis was away."""
    bare = [replace(each, nodes=None, work=None) for each in networks or (network(),)]
    away = "Redis: TimeoutError"
    return picture(*bare, redis=False, queues=None, dispatched=None, workers=None, why=away)


def without_database(*networks: NetworkPicture) -> Picture:
    """A pass for which Postgres was away."""
    bare = [replace(each, wallets=None, condition=None) for each in networks or (network(),)]
    return picture(*bare, database=False, why="Postgres: OperationalError")


def history(pictures: Sequence[Picture] = (), *, minutes: int = 360, gap: range = range(0)) -> History:
    """The history of hours in which ages went up and down, before the pictures that are given."""
    made = History()
    for minute in range(minutes, 0, -1):
        if minute not in gap:
            wave = 1 + 0.25 * sin(minute / 21) + 0.12 * sin(minute / 5)
            late = 6 if 130 < minute < 150 else 1
            ages = (31 * wave, 57 * wave * late**0.5, 60 * wave * late, 75 * wave * late)
            slower = (90 * wave, 160 * wave, 180 * wave, 205 * wave)
            found = [network(wallets=wallets(ages=ages)), network("ethereum", wallets=wallets("ethereum", ages=slower))]
            made.add(picture(*found, at=NOW - 60 * minute))
    for each in pictures:
        made.add(each)
    return made


def feed(**more: Any) -> FeedState:
    """A network whose blocks are followed, with what a test has otherwise."""
    found = FeedState(
        "feed",
        "many_wallets",
        6.0,
        1.0,
        72_889,
        block_number=81_234_567,
        block_time=moment(61),
        covers=True,
        sees_native=True,
        good_until=moment(-9),
        missed_native=12,
        touches=31,
        oldest_touch=moment(6),
        now=moment(4),
    )
    return found._replace(**more)


BUSY = picture(
    network(
        wallets=wallets(fresh=2090, failed=12, failing=10, never_synced=2, errors={"throttled": 9, "bad_address": 3}),
        quota=Quota(100_000, 31_204, 74_900.0),
        nodes=[
            node(),
            node("tron.rpc.example", keys=1, requests={NOW - 300: 12, NOW - 600: 40}, wallets_per_request=350),
            node(
                "tron.public.example:8090",
                strategy="single",
                strategy_reason="method eth_call: data is too long",
                wallets_per_request=20,
                resting_seconds=312.0,
                resting_reason="throttled",
                failures_in_a_row=4,
                keys=0,
                requests={NOW - 900: 3},
            ),
        ],
    ),
    network(
        "ethereum",
        wallets=wallets("ethereum", wallets=12_480, fresh=12_480, claimed=500, ages=(96.0, 171.0, 190.0, 214.0)),
        nodes=[node("eth.rpc.example", strategy="revert", wallets_per_request=2447, keys=0)],
    ),
)
"""A day as most are: something fails, something rests."""

STATES: dict[str, Picture | None] = {
    "well": picture(),
    "busy": BUSY,
    "no pass yet": None,
    "no network": replace(picture(), networks=()),
    "no wallets": picture(network(wallets=NetworkFreshness("tron"))),
    "not synced": picture(
        network(),
        network("ethereum", synced=False, nodes=[], wallets=wallets("ethereum", fresh=0, read=0, ages=(), wallets=12)),
    ),
    "database away": without_database(network(), network("ethereum")),
    "redis away": without_redis(network(), network("ethereum")),
    "both away": replace(
        without_redis(network(wallets=None, condition=None)), database=False, why="Postgres: OperationalError"
    ),
    "out": picture(
        network(
            condition=Condition(moment(720), "unreachable", 0, 0),
            wallets=wallets(
                fresh=1100, stale=1002, due=1402, overdue=1002, overdue_free=1002, overdue_since=moment(700)
            ),
            nodes=[
                node(resting_seconds=240.0, resting_reason="unreachable", failures_in_a_row=9, keys_resting=0),
                node(
                    "tron.rpc.example",
                    resting_seconds=180.0,
                    resting_reason="unauthorized",
                    keys=1,
                    keys_resting=1,
                    keys_refused=1,
                ),
            ],
        ),
        network("ethereum"),
    ),
    "stalled": picture(
        network(
            wallets=wallets(
                fresh=1700, stale=300, due=402, overdue=300, overdue_free=300, last_read=moment(240), claimed=0
            )
        ),
        dispatched=NOW - 250,
        workers={"batch@worker-1": NOW - 244},
        queues=[QueuePicture("ticks", 10, NOW - 250, NOW - 244), QueuePicture("sync", 120, NOW - 246, NOW - 244)],
    ),
    "old": picture(at=NOW - 240),
    "a feed": picture(
        network(wallets=wallets(feed=feed(missed_usdt=1))),
        network("ethereum", wallets=wallets("ethereum", feed=feed(read_every=12.0, sees_native=False))),
        network("bsc", wallets=wallets("bsc", feed=feed(policy="every_block", reason="few_wallets", read_every=1.0))),
    ),
    "a feed behind": picture(
        network(
            wallets=wallets(
                feed=feed(policy="cadence", reason="behind", good_until=moment(190), missed_native=0, jumps=1)
            )
        ),
        network(
            "ethereum",
            wallets=wallets("ethereum", feed=feed(policy="cadence", reason="quota_too_small", stretch=4.0)),
        ),
    ),
    "a million": picture(
        network(
            wallets=wallets(
                wallets=1_000_000,
                read=999_990,
                fresh=991_204,
                failed=8_796,
                failing=8_786,
                never_synced=10,
                due=14_020,
                claimed=25_000,
                ages=(1_804.0, 3_460.0, 3_590.0, 90_400.0),
                errors={"throttled": 8_000, "usdt_call_failed": 700, "bad_address": 90, "our_error": 6},
            ),
            quota=Quota(15_000_000, 4_200_112, 15_900_000.0),
        )
    ),
    "hostile": picture(
        network(
            nodes=[
                node(
                    "node.example",
                    strategy="single",
                    strategy_reason="<script>alert(1)</script>\"'><img src=x onerror=alert(2)> \u202e\x1b[31m",
                    resting_reason="<b>bold</b>",
                    resting_seconds=9.0,
                    failures_in_a_row=1,
                )
            ],
            wallets=wallets(fresh=1, failed=2101, errors={"</table><script>x</script>": 2101}),
        ),
        workers={"<i>worker</i>": NOW - 3},
    ),
    "long names": picture(
        network(
            "n" * 32,
            nodes=[node(f"{'9' * 40}#{at}") for at in range(1, 31)],
            wallets=wallets(fresh=1, failed=2101, errors=dict.fromkeys(REMEDIES, 91)),
        ),
        *(network(f"{at}-".rjust(32, "w")) for at in range(11)),
        queues=[QueuePicture(f"sync.{'n' * 32}", 7, NOW - 5, NOW - 6)],
        workers={f"{'w' * 90}@{'h' * 60}": NOW - 3},
    ),
}
"""Each state that the page may have to show, by its name."""


class Shown(NamedTuple):
    """What stands for ``ops.collector.Collector``: it shows one picture."""

    last: Picture | None
    history: History


def app(shown: Shown, settings: OpsSettings) -> Litestar:
    """The page alone, in an application of its own."""
    return Litestar(
        routes, state=State({"collector": shown, "settings": settings}), openapi_config=None, logging_config=None
    )


def settings(token: str | None = TOKEN, **more: Any) -> OpsSettings:
    """The settings of the page, apart from the environment."""
    given: dict[str, Any] = {
        "database_url": "postgresql://nobody@127.0.0.1:1/none",
        "redis_url": "redis://127.0.0.1:1/0",
    }
    return OpsSettings.model_validate({**given, "ops_token": token, "sync_lease": LEASE, **more})
