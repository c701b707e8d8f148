"""What a batch says in the log: one line of its own, and what was doubted in it."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from time import monotonic

import structlog

from db.claims import Claim
from db.outcomes import Recorded
from worker.reading.request import Part
from worker.sync.explained import Explained
from worker.sync.outcome import Found
from worker.sync.verify import Doubts, denies

log = structlog.get_logger(__name__)


def log_doubts(
    claim: Claim,
    doubts: Doubts,
    told: Explained,
    *,
    parts: Sequence[Part],
    found: Sequence[Found],
    judged: Sequence[Found],
) -> None:
    """What was doubted, and what became of it. An unlikely share is for a person to look at: a node is wrong, or so
    much did happen at once.
    """
    for event, places in (("zeros_read_again", doubts.zeros), ("rises_read_again", doubts.rises)):
        if places:
            unconfirmed = sum(judged[place].error is not None for place in places)
            log.info(event, network=claim.network, wallets=len(places), unconfirmed=unconfirmed)
    if told.unexplained:
        log.error(
            "unexplained_changes",
            network=claim.network,
            endpoint=_names(parts, {found[place].node_id for place in told.unexplained}),
            wallets=len(told.unexplained),
            held=sum(judged[place].held is not None for place in told.unexplained),
            unconfirmed=sum(denies(judged[place], found[place]) for place in told.unexplained),
        )
    if told.undecided:
        log.info("changes_ahead_of_the_feed", network=claim.network, wallets=len(told.undecided), block=told.ahead)
    if doubts.unlikely:
        nodes = {found[place].node_id for place in doubts.unlikely}
        log.error(
            "unlikely_changes",
            network=claim.network,
            endpoint=_names(parts, nodes),
            wallets=len(doubts.unlikely),
            share=round(len(doubts.unlikely) / len(found), 3),
            zeros=len(doubts.unlikely & doubts.zeros),
            held=sum(judged[place].held is not None for place in doubts.unlikely),
            unconfirmed=sum(denies(judged[place], found[place]) for place in doubts.unlikely),
        )


def _names(parts: Sequence[Part], node_ids: AbstractSet[str]) -> str:
    return ", ".join(sorted({part.node_name for part in parts if part.node_id in node_ids}))


def log_batch(claim: Claim, parts: Sequence[Part], recorded: Recorded, started: float, **counts: int) -> None:
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
        block=max((snapshot.block.number for snapshot in read), default=None),
        one_block=len(read) <= 1 and all(snapshot.one_block for snapshot in read),
        endpoint=", ".join(sorted({part.node_name for part in parts if part.node_name})) or None,
        error=error,
        duration_ms=round((monotonic() - started) * 1000),
        **counts,
    )
