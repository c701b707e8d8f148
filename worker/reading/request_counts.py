"""What one network's workers do, counted in Redis by all processes together: requests to each node, reads that failed,
batches, waits. Names of the counters are in ``config.work_counts``.

A process adds up what it does, and sends the sums now and then: no batch costs a command of its own. They only grow,
for as long as Redis keeps them. Beside them requests are counted by spans of the past hour, for ``freshness``, and by
days, for the quota. What a process that is killed has not sent is not counted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import structlog

from config.work_counts import (
    LOST,
    WAITED,
    WALLETS,
    BatchOutcome,
    bound_of,
    counts_key,
    day_key,
    failed_field,
    outcome_field,
    requests_field,
    size_field,
)
from worker.errors import CHANGE_UNCONFIRMED
from worker.reading.shared_redis import SharedRedis

log = structlog.get_logger(__name__)

SENT_EACH = 5.0  # seconds from one sending of the counts to the next
SPAN_SECONDS = 300  # the time over which one key counts
SPANS = 12  # an hour, less what the running span lacks
KEY_HOLDS = SPAN_SECONDS * (SPANS + 1)
DAY_HOLDS = 2 * 86_400
DIGITS = 19  # of the greatest number that Redis counts to

# KEYS[1] is the hash of counters, the others are counts of a span or a day. ARGV: for each of these what to add and for
# how many seconds it is kept, then the counters' fields, each with what to add. A key that cannot be ours begins anew.
# A user of Redis' who has no right to the counters still counts the spans.
ADD = """
local dropped = {}
local function add(command, key, ...)
  local done = redis.pcall(command, key, ...)
  if type(done) == 'number' then return end
  local said = tostring(done.err)
  if not (said:find('WRONGTYPE') or said:find('not an integer') or said:find('overflow')) then return said end
  redis.call('DEL', key)
  redis.call(command, key, ...)
  dropped[#dropped + 1] = key
end
for at = 2, #KEYS do
  local said = add('INCRBY', KEYS[at], ARGV[2 * at - 3])
  if said then return redis.error_reply(said) end
  redis.call('EXPIRE', KEYS[at], ARGV[2 * at - 2])
end
for at = 2 * #KEYS - 1, #ARGV, 2 do
  local said = add('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1])
  if said and (said:find('NOPERM') or said:find('ACL') or said:find("can't run")) then return {'refused'} end
  if said then return redis.error_reply(said) end
end
return {'counted', unpack(dropped)}
"""


@dataclass(slots=True)
class RequestCounts:
    """The counts of one network, and of its nodes by their ids."""

    shared: SharedRedis
    _unsent: Counter[str] = field(default_factory=Counter)
    """By the counters' fields."""
    _spans: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Requests by node and span."""
    _days: Counter[str] = field(default_factory=Counter)
    """Requests by the day's key."""
    _sent_at: float = float("-inf")
    _refused: bool = False

    @property
    def network(self) -> str:
        """The network's name alone: counters do not begin anew when its settings are changed."""
        return self.shared.scope.partition(":")[0]

    def add(self, node: str, requests: int, *, failed: str | None = None, waited: float = 0.0) -> None:
        """Count requests to a node, the code with which their read failed, and the seconds that they waited for slots
        in the budget. Sends the sums, if that is due.
        """
        now = self.shared.clock()
        self._unsent[requests_field(node)] += requests
        self._spans[node, int(now // SPAN_SECONDS)] += requests
        self._days[day_key(self.network, now)] += requests
        if failed:
            self._unsent[failed_field(node, failed)] += 1
        self._unsent[WAITED] += round(waited * 1000)
        self.send_if_due()

    def add_batch(self, outcome: BatchOutcome, wallets: int, *, lost: bool) -> None:
        """Count a batch. `lost`: a worker had claimed it before, and never came back. Sends nothing."""
        self._unsent.update((outcome_field(outcome), size_field(bound_of(wallets))))
        self._unsent[WALLETS] += wallets
        self._unsent[LOST] += lost

    def add_denied(self, nodes: Iterable[str]) -> None:
        """Count a read of each of these nodes that another one, which is believed, had otherwise. Sends nothing."""
        self._unsent.update(failed_field(node, CHANGE_UNCONFIRMED) for node in nodes)

    def send_if_due(self) -> None:
        """One command, every SENT_EACH seconds at most."""
        if not 0 <= self.shared.clock() - self._sent_at < SENT_EACH:
            self.send()

    def send(self) -> None:
        """Send what there is. One command, or none. Raises nothing: what could not be sent is sent next time."""
        now = self.shared.clock()
        oldest = int(now // SPAN_SECONDS) - SPANS
        self._spans = Counter({each: count for each, count in self._spans.items() if each[1] > oldest and count})
        self._days = Counter(dict(sorted(self._days.items())[-2:]))
        fields = {name: count for name, count in self._unsent.items() if count}
        if not fields:
            return
        with self.shared.redis() as client:
            if client:
                self._log(self._added(client, fields))
                self._sent_at = now
                for sent in (self._unsent, self._spans, self._days):
                    sent.clear()

    def _added(self, client: Any, fields: Mapping[str, int]) -> Sequence[bytes]:
        """What the script says to it."""
        sums = {self.shared.key(_name(*of)): (count, KEY_HOLDS) for of, count in self._spans.items()}
        sums |= {key: (count, DAY_HOLDS) for key, count in self._days.items() if count}
        values = [value for pair in (*sums.values(), *fields.items()) for value in pair]
        answer: Sequence[bytes] = client.eval(ADD, len(sums) + 1, counts_key(self.network), *sums, *values)
        return answer

    def _log(self, answer: Sequence[bytes]) -> None:
        became, *dropped = (each.decode(errors="replace") for each in answer)
        for key in dropped:
            log.warning("entry_dropped", key=key)
        if became == "refused" and not self._refused:
            log.warning("counts_refused", network=self.network, reason="Redis' user lacks HINCRBY: config/redis.acl")
        self._refused = became == "refused"

    def of_the_day(self, moment: float) -> int | None:
        """Requests of all processes on the day (UTC) of a moment in unix seconds. None: nobody knows. One command."""
        with self.shared.redis() as client:
            (raw,) = client.mget([day_key(self.network, moment)]) if client else (None,)
            return int(raw) if raw is not None and raw.isdigit() and len(raw) <= DIGITS else None
        return None

    def of_the_past_hour(self, nodes: Sequence[str]) -> dict[str, dict[float, int]]:
        """For each node its counts by the starts, in unix seconds, of the spans that had any. One command."""
        last = int(self.shared.clock() // SPAN_SECONDS)
        spans = range(last - SPANS + 1, last + 1)
        found: dict[str, dict[float, int]] = {node: {} for node in nodes}
        with self.shared.redis() as client:
            if client and nodes:
                keys = [self.shared.key(_name(node, span)) for node in nodes for span in spans]
                values: Any = client.mget(keys)
                for (node, span), raw in zip(product(nodes, spans), values, strict=True):
                    if raw is not None and raw.isdigit():
                        found[node][float(span * SPAN_SECONDS)] = int(raw)
        return found


def _name(node: str, span: int) -> str:
    return f"count:requests:{node}:{span}"
