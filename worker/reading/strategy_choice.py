"""By which strategy a node is read: what the workers have learnt of it, when that is doubted, and what is learnt anew.

Nodes that can be read by the best strategy refuse as well, when they are busy or broken. So a worse one is kept only
for words that say "unsupported", or for words that were said again and again; and the better ones are tried anew within
minutes. A reply that fails a check leads to another strategy for one read alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from re import sub
from typing import Any

from config.families import Strategy
from worker.errors import BadReply, ReadFailed, Refused, Unsupported
from worker.reading.batch_size import learnt_size, most_wallets
from worker.reading.budget import Budget
from worker.reading.facts import ChainFacts
from worker.reading.shared import Shared
from worker.reading.shared_entries import STRATEGY_HOLDS, STRIKES_HOLD
from worker.reading.strategies import Node

BETTER_AFTER = 300.0  # seconds for which a worse strategy is used before the better ones are tried anew

# What does not say that a strategy is unsupported is believed to mean that when it was said so often, over such a time.
REPEATED = 3
REPEATED_OVER = 5.0  # seconds


def strategy_of(facts: ChainFacts, node: Node, entries: Mapping[str, Any], now: float) -> Strategy:
    """The strategy by which a node is asked first: the one that works there, and now and then the best one again."""
    remembered = entries.get(f"way:{node.id}")
    if not remembered or remembered[0] not in facts.most_wallets or is_doubted(remembered, now):
        return facts.best_strategy
    strategy: Strategy = remembered[0]
    return strategy


def most_of(facts: ChainFacts, node: Node, strategy: Strategy, budget: Budget) -> int:
    """How many wallets a request, or a batch of single ones, takes there at the most."""
    # What is read at one block has to be done before nodes forget that block's state.
    longest = min(budget.longest, facts.pin_seconds)
    most = facts.most_wallets[strategy]
    return most_wallets(strategy, most, budget.per_second, pace=node.session.pace, limit=longest)


def size_of(facts: ChainFacts, node: Node, strategy: Strategy, entries: Mapping[str, Any], budget: Budget) -> int:
    """How many wallets a request, or a batch of single ones, takes there just now."""
    return learnt_size(node.id, strategy, entries, most_of(facts, node, strategy, budget))


def is_doubted(remembered: Sequence[Any], now: float) -> bool:
    """Whether it is time to see if a better strategy works by now: an entry's third part says when."""
    return len(remembered) > 2 and remembered[2] <= now  # noqa: PLR2004


@dataclass(slots=True)
class StrategyChoice:
    """The strategies that are left to try with one node in one read, the first of which is tried next."""

    node: Node
    facts: ChainFacts
    shared: Shared
    entries: Mapping[str, Any]
    _first_failure: ReadFailed | None = None  # of the first strategy that was left
    _left: list[Strategy] = field(default_factory=list)
    _remembered: Sequence[Any] | None = None
    proven: bool = False
    """It has worked here, in this process."""
    _learns: bool = True

    def __post_init__(self) -> None:
        strategies, remembered = list(self.facts.most_wallets), self.entries.get(f"way:{self.node.id}")
        if remembered is not None and remembered[0] in strategies:
            # What others say works is tried first; to have no other, it must have worked here.
            self._remembered = remembered
            if is_doubted(remembered, self.shared.clock()):
                strategies = strategies[: strategies.index(remembered[0]) + 1]
            else:
                self.proven = self.shared.proved(f"way:{self.node.id}") == remembered
                strategies = [
                    remembered[0],
                    *([] if self.proven else [strategy for strategy in strategies if strategy != remembered[0]]),
                ]
        self._left = strategies

    @property
    def strategy(self) -> Strategy:
        return self._left[0]

    @property
    def one_refusal_is_enough(self) -> bool:
        """Whether there is a strategy to go on with, or it was refused lately with words that say nothing."""
        return len(self._left) > 1 and (self._is_a_try or f"refusals:{self.node.id}" in self.entries)

    @property
    def _is_a_try(self) -> bool:
        """Whether the next strategy is a better one than the one that is known to work."""
        return self._remembered is not None and self.strategy != self._remembered[0]

    def next_after(self, failure: ReadFailed) -> ReadFailed | None:
        """Go on to the next strategy, if the failure is about this one and there is another. Otherwise what failed."""
        if not self._is_about_the_strategy(failure):
            return failure
        self._first_failure = self._first_failure or failure
        if len(self._left) == 1:
            return self._first_failure  # the best one's: the others were a try
        self._left.pop(0)
        return None

    def _is_about_the_strategy(self, failure: ReadFailed) -> bool:
        if self.proven or not isinstance(failure, Unsupported | Refused | BadReply):
            return False
        if isinstance(failure, Unsupported) or self._first_failure or self._is_a_try:
            return True
        self._learns = self._said_again(failure)
        return self._learns or isinstance(failure, BadReply)

    def _said_again(self, failure: ReadFailed) -> bool:
        """Note with what the strategy was refused, and say whether it was so too often for an error that passes."""
        said, now = sub(r"[0-9]+", "#", f"{failure.code}: {failure}"), self.shared.clock()
        strategy, before, times, since = self.entries.get(f"refusals:{self.node.id}") or (self.strategy, said, 0, now)
        if (strategy, before) != (self.strategy, said):
            times, since = 0, now
        self.shared.put(f"refusals:{self.node.id}", [self.strategy, said, times + 1, since], STRIKES_HOLD)
        return times + 1 >= REPEATED and now - since >= REPEATED_OVER

    def worked(self) -> str:
        """Keep the strategy that has just worked. The reason why it is not the best one, if that is news."""
        if self.proven or not self._learns:
            return ""
        self.proven = True
        strategy, name, now = self.strategy, f"way:{self.node.id}", self.shared.clock()
        if self._remembered and self._remembered[0] == strategy and not is_doubted(self._remembered, now):
            self.shared.prove(name, self._remembered, STRATEGY_HOLDS)
            return ""
        if strategy == self.facts.best_strategy:
            self.shared.put(name, [strategy, ""], STRATEGY_HOLDS)
            return ""
        reason = f"{self._first_failure.code}: {self._first_failure}" if self._first_failure else ""
        self.shared.put(name, [strategy, reason, now + BETTER_AFTER], STRATEGY_HOLDS)
        return reason

    def failed(self, failure: ReadFailed) -> None:
        """The node rests. A strategy that works is forgotten for nothing but the word that it is not supported."""
        if self.proven and isinstance(failure, Unsupported):
            self.shared.put(f"way:{self.node.id}", None, STRATEGY_HOLDS)
