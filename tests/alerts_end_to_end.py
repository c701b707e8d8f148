"""Disasters before a real Prometheus and a real Alertmanager: ``make alerts``. Takes a quarter of an hour.

    PYTHONPATH=. .venv/bin/python tests/alerts_end_to_end.py [WORD …]

Each disaster befalls the product on the devstack's servers and chains. The alert that is for it must reach a webhook,
no other critical one may, and it must be told there that it is over. With words: only the disasters with such a word in
their names, or in their alerts'. The rules, the inhibitions and the scrapes are the project's own, with their times cut
(`alert_watch`).
"""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from alert_watch import Watch, tell, watched
from alerted_product import Deployment, deployed
from faults import CHAIN, hangs, header, of_each, said
from faults import wallets as of_wallets
from json_rpc_faults import asks, result
from running import hung

from devstack.servers import ServerFailed, wait_for

QUIET = 40.0  # seconds in which nothing may call anybody
TOLD_WITHIN = 240.0
OVER_WITHIN = 420.0


@dataclass(frozen=True)
class Disaster:
    """What happens, and which alert is for it."""

    name: str
    alert: str
    about: str
    befalls: Callable[[Deployment], AbstractContextManager[None]]
    also: str = ""
    """Another critical one that may call."""


DISASTERS = (
    Disaster("beat is stopped", "BeatSilent", "", lambda all_: all_.stopped("beat")),
    Disaster("workers are stopped", "WorkersMissing", "ticks", lambda all_: all_.stopped("worker")),
    Disaster("Redis hangs", "RedisAway", "", lambda all_: hung(all_.stack.redis)),
    Disaster("Postgres hangs", "DatabaseAway", "", Deployment.database_hung),
    Disaster("the only node of a network hangs", "NetworkOut", "tron", lambda all_: all_.faulty("tron", hangs)),
    Disaster(
        "a node's plan is used up for today",
        "QuotaGone",
        "tron",
        lambda all_: all_.faulty("tron", said({"Error": "daily quota exceeded"}, 429, Retry_After="3600")),
        also="NetworkOut",
    ),
    Disaster(
        "a node turns out to be of another chain",
        "NodeMisconfigured",
        "ethereum",
        lambda all_: all_.faulty(
            "ethereum", of_each((asks("eth_chainId"), result("0x38")), (lambda _: True, header(CHAIN, lambda _: 56)))
        ),
    ),
    Disaster(
        "a node says of all wallets that they are empty",
        "ChangesUnconfirmed",
        "ethereum",
        lambda all_: all_.faulty("ethereum", of_wallets(lambda _: 0)),
    ),
    Disaster("somebody locks the rows of a network", "NetworkStalled", "tron", lambda all_: all_.locked("tron")),
    Disaster(
        "whoever reads a network dies",
        "WorkersKilled",
        "tron",
        lambda all_: all_.kills_readers("tron"),
        also="NetworkStalled",
    ),
    Disaster("nodes tell no blocks", "FeedBehind", "bsc", Deployment.tells_no_blocks),
    Disaster("nodes leave events out", "FeedMissed", "bsc", Deployment.tells_no_events),
    Disaster("ops is stopped", "ExporterBlind", "", lambda all_: all_.stopped("ops")),
    Disaster("the endpoint is stopped", "ApiDown", "", lambda all_: all_.stopped("api")),
)


def befall(disaster: Disaster, everything: Deployment, watch: Watch) -> list[str]:
    """Let it happen, and see who is called. What was wrong about it, in words."""
    tell(f"▸ {disaster.name} …")
    since, began, wrong = len(watch.receiver.calls), time.monotonic(), []
    try:
        with disaster.befalls(everything):
            is_told = partial(watch.is_told_of, disaster.alert, since, firing=True)
            wait_for(is_told, watch.prometheus, what=f"{disaster.alert} to call", seconds=TOLD_WITHIN)
            tell(f"  {disaster.alert} called after {time.monotonic() - began:.0f} s")
            # What a cause is to keep quiet has time to call.
            wait_for(_after(15), what="what else calls")
        ended = time.monotonic()
        is_over = partial(watch.is_told_of, disaster.alert, since, firing=False)
        wait_for(is_over, watch.prometheus, what=f"{disaster.alert} to be over", seconds=OVER_WITHIN)
        tell(f"  and was over {time.monotonic() - ended:.0f} s after the end")
        wait_for(lambda: not watch.active(), watch.prometheus, what="all to be over", seconds=OVER_WITHIN, pause=1)
    except ServerFailed as failure:
        wrong.append(str(failure).partition("\n")[0])
    calls = [call for call in watch.receiver.calls[since:] if call.firing]
    right = [call for call in calls if call.alert == disaster.alert and disaster.about in call.about.split(" ")]
    if disaster.about and not right:
        wrong.append(f"{disaster.alert} was not about {disaster.about}")
    others = sorted({f"{call.alert} {call.about}" for call in calls if call.alert != disaster.alert})
    critical = {call.alert for call in calls if call.severity == "critical"} - {disaster.alert, disaster.also}
    tell(f"  besides: {', '.join(others) or 'nobody'}")
    return wrong + [f"{name} called too, and is critical" for name in sorted(critical)]


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def main(words: list[str]) -> int:
    """Run the disasters; how many went wrong."""
    chosen = [each for each in DISASTERS if not words or any(word in f"{each.name} {each.alert}" for word in words)]
    wrong: dict[str, list[str]] = {}
    with deployed() as everything, watched(everything.stack.folder) as watch:
        tell("▸ nothing happens …")
        wait_for(_after(QUIET), watch.prometheus, what="a quiet time")
        wait_for(lambda: not watch.active(), watch.prometheus, what="nothing to fire", pause=1)
        if called := [call for call in watch.receiver.calls if call.severity == "critical"]:
            wrong["nothing happens"] = [f"{call.alert} called" for call in called]
        for disaster in chosen:
            if found := befall(disaster, everything, watch):
                wrong[disaster.name] = found
    for name, found in wrong.items():
        tell(f"WRONG: {name}: {'; '.join(found)}")
    tell(f"{len(chosen) + 1 - len(wrong)} of {len(chosen) + 1} as they should be")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
