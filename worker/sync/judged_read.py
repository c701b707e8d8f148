"""What the nodes say of a claim's wallets, and what is believed of it. I/O: nodes, and the feed's tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic

import structlog

from db.held_changes import NO_HISTORY, History
from worker.reading import ChainReader
from worker.reading.request import Part
from worker.sync.batch_log import log_doubts
from worker.sync.feed_check import FeedCheck
from worker.sync.outcome import Found, found_in, with_bad_addresses
from worker.sync.verify import ATTEMPTS, Doubts, behind, believed, caught_up, confirmed, denied, doubted

log = structlog.get_logger(__name__)

ReadAgain = Callable[[Sequence[Found], Sequence[int]], dict[int, Found]]


@dataclass(frozen=True, slots=True)
class JudgedRead:
    """One read of the claim that `feed` is about, up to its deadline. `accounts` are those of the claim's wallets, in
    their order; None: the address is none.

    `known` is what is known of the network, `rises` is in whole tokens. `refresh`: somebody waits for it.
    """

    reader: ChainReader
    feed: FeedCheck
    accounts: Sequence[bytes | None]
    rises: int | None = None
    known: History = NO_HISTORY
    refresh: bool = False

    def read(self) -> tuple[list[Part], list[Found]]:
        """What the nodes say, and for each claimed wallet what is believed of it."""
        reader, claim, accounts = self.reader, self.feed.claim, self.accounts
        read_again = partial(self._read_again, clock=claim.at - monotonic())
        asked = [account for account in accounts if account]
        parts = reader.read(asked, claim.at, self.feed.deadline, refresh=self.refresh)
        found = with_bad_addresses(accounts, found_in(parts, len(asked)))
        told = self.feed.look(found)
        if reader.several and (late := sorted({*behind(claim, found, reader.finality), *told.lagging})):
            found = caught_up(claim, found, read_again(found, late))
            still = len(behind(claim, found, reader.finality))
            log.info("older_blocks_read_again", network=claim.network, wallets=len(late), older=still)
            told = self.feed.look(found)
        # By the decimals of what was read. Where nothing was, there are none, and no rise either.
        doubts = doubted(
            claim,
            found,
            self.known,
            rises_above=None if self.rises is None else self.rises * 10 ** (reader.decimals or 0),
            several=reader.several,
            unexplained=told.unexplained,
            as_told=told.likely,
        )
        judged = self._settled(doubts, found, read_again) if doubts.places else list(found)
        for place in told.undecided:  # nothing is wrong: its next read, in a moment, can be told of
            if judged[place].balance:
                judged[place] = judged[place]._replace(balance=None, held=judged[place].balance, soon=True)
        self.feed.note_missed(told, found, judged)
        if doubts.places or told.undecided:
            reader.count_denied(denied(doubts, found, judged))
            log_doubts(claim, doubts, told, parts=parts, found=found, judged=judged)
        return parts, judged

    def _settled(self, doubts: Doubts, found: Sequence[Found], read_again: ReadAgain) -> list[Found]:
        """Every doubt settled, by a second read where there can be one."""
        settled: dict[int, Found] = {}
        for _ in range(ATTEMPTS):
            if places := [place for place in doubts.to_read_again if place not in settled]:
                again = read_again(found, places)
                settled |= confirmed(self.feed.claim, doubts, found, again)
                if doubts.unexplained:
                    # One that the events explain needs no third one to say so.
                    explained = self.feed.look_again(found, again)
                    only = doubts.unexplained - doubts.zeros - doubts.rises - doubts.unlikely
                    settled |= {place: each for place, each in explained.items() if place in only}
        return believed(self.feed.claim, doubts, found, settled, self.known)

    def _read_again(self, found: Sequence[Found], places: Sequence[int], *, clock: float) -> dict[int, Found]:
        """What is found for the wallets at some places, each read by another node than before, where there is one.

        `clock` is the database's time when the monotonic clock began.
        """
        again: dict[int, Found] = {}
        for before in {found[place].node_id for place in places}:
            those = {
                place: account
                for place in places
                if found[place].node_id == before and (account := self.accounts[place])
            }
            parts = self.reader.read(
                list(those.values()), clock + monotonic(), self.feed.deadline, avoid=(before,), refresh=self.refresh
            )
            again |= zip(those, found_in(parts, len(those)), strict=True)
        return again
