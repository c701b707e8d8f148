"""Leaving a node or a key alone after a failure, until it answers again: shared with the other workers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from worker.errors import ReadFailed
from worker.reading.backoff import Rest, rest_after
from worker.reading.request import ReadRequest
from worker.reading.shared import Shared
from worker.reading.shared_entries import STRIKES_HOLD
from worker.reading.strategies import Node

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Resting:
    """What one attempt changes in what a node, and its keys, are left alone for."""

    node: Node
    request: ReadRequest
    shared: Shared
    entries: Mapping[str, Any]
    trial: bool
    what: str = "rest"
    """The kind of entry that says for how long the node is left alone: for everything, unless it is another one."""

    def node_rests(self, failure: ReadFailed) -> None:
        name = f"{self.what}:{self.node.id}"
        self._leave_alone(name, failure, Rest.from_entry(self.entries.get(name)), alone=self.request.alone)

    def key_rests(self, key: str, failure: ReadFailed, before: Rest) -> Rest:
        return self._leave_alone(f"key:{key}", failure, before, alone=False, key=key)

    def _leave_alone(self, name: str, failure: ReadFailed, before: Rest, *, alone: bool, **more: Any) -> Rest:
        now = self.shared.clock()
        rest = rest_after(failure, before, now, alone=alone)
        self.shared.put(name, rest.entry(), rest.until - now + STRIKES_HOLD)
        if not self.request.probe or failure.code != before.code:  # else it was logged when it began
            self.report(failure, rest.until - now, **more)
        return rest

    def node_answers(self) -> None:
        name = f"{self.what}:{self.node.id}"
        self._end(name, Rest.from_entry(self.entries.get(name)))

    def key_answers(self, key: str, rest: Rest) -> None:
        self._end(f"key:{key}", rest)

    def _end(self, name: str, rest: Rest) -> None:
        """After a trial for nobody's wallets the others wait until a whole batch is read, too."""
        if rest.strikes or rest.until:
            ended = Rest(0.0, rest.strikes, rest.code) if self.request.probe else Rest()
            self.shared.put(name, ended.entry(), STRIKES_HOLD)
            if self.trial:
                self.log(log.info, "endpoint_answers_again", after=rest.code)

    def report(self, failure: ReadFailed, seconds: float, **more: Any) -> None:
        """Log a failure, and for how long the node, or the key, is left alone for it."""
        # What waiting does not mend is a mistake in the settings, which only a person can.
        level = log.error if failure.for_a_person else log.warning
        more |= {"error": failure.code, "detail": str(failure), "left_alone_seconds": round(seconds)}
        self.log(level, "read_failed", **more)

    def log(self, level: Callable[..., Any], event: str, **more: Any) -> None:
        level(event, network=self.request.expected.facts.network, endpoint=self.node.name, **more)
