"""Requests a second to each node, over all processes together: slots in time, each for one request, are reserved.

Whoever reserves knows when its slot comes, so nobody fails by waiting. The clock is Redis' own. Slots of one node
are a step apart, alternately of two lanes: one for refreshes, for which somebody waits, one for sweeps. Each lane's
slots are for its own kind, and for the other kind as far as they come soon or nobody of their own kind has asked
lately. So whichever kind is alone has the whole budget, and if both want it each has half.
Without Redis a process keeps the budget by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any, NamedTuple

from worker.errors import OverBudget
from worker.reading.shared import Shared

# A second and a margin: a request may be sent LATE after its slot, and still no second has one too many.
SECOND = 1.04
LATE = 0.025  # seconds after its time, by which a slot that was not used is lost

NEAR = 0.25  # seconds within which a slot of the other lane may be taken, though the others ask for slots as well
AHEAD = 1.0  # seconds ahead of now for which a sweep may reserve: what is further must stay free for refreshes
REMEMBERED = 10.0  # seconds for which a kind of request counts as wanted after it was asked for

RESERVE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local step, near, longest, remembered, lane = ARGV[1] * 1, ARGV[2] * 1, ARGV[3] * 1, ARGV[4], ARGV[5] * 1
local count, gap, start, within = ARGV[6] * 1, ARGV[7] * 1, ARGV[8] * 1, ARGV[9] * 1
for at = 10, #ARGV do redis.call('ZREM', KEYS[1], ARGV[at]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - step)
local held = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local first, base, taken = lane, now, {}
for at = 1, #held, 2 do
  local number = tonumber(held[at])
  if not number or number % 1 ~= 0 or held[at + 1] - now > longest then return redis.error_reply('STRANGE slot') end
  taken[number] = true
  if at == 1 then first, base = number, held[2] * 1 end
end
redis.call('SET', KEYS[2], 1, 'PX', remembered)
local alone = redis.call('EXISTS', KEYS[3]) == 0
local number = first + math.ceil((now - base) / step)
local slots, earliest, wait = {}, -math.huge, math.huge
while #slots < 2 * count do
  local at = base + (number - first) * step
  local ahead = at - now
  if ahead > within then return {'no', string.format('%.3f', math.min(wait, ahead - within))} end
  if not taken[number] and at >= earliest then
    local limit = near
    if alone or number % 2 == lane then limit = (#slots == 0) and start or within end
    if ahead <= limit then
      slots[#slots + 1] = string.format('%.0f', number)
      slots[#slots + 1] = string.format('%.3f', at)
      earliest = at + gap - step / 100
    elseif #slots == 0 then
      wait = math.min(wait, ahead - limit)
      if limit == start then return {'no', string.format('%.3f', wait)} end
    end
  end
  number = number + 1
end
for at = 1, #slots, 2 do
  redis.call('ZADD', KEYS[1], slots[at + 1], slots[at])
  slots[at + 1] = string.format('%.3f', slots[at + 1] - now)
end
redis.call('PEXPIRE', KEYS[1], math.ceil(longest + step))
return slots
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """When a request may be sent, on the monotonic clock, and the slot's number in Redis; "" without Redis."""

    due: float
    number: str = ""


class Wanted(NamedTuple):
    """So many slots, `pace` seconds apart or more, the first within `start` seconds, the last in `within` seconds."""

    slots: int
    pace: float
    start: float
    within: float


def latest_slot(deadline: float, pace: float, limit: float) -> float:
    """By when a request's slot has to come, for its answer to be there before a read's end, as a rule."""
    return deadline - min(pace, limit)


@dataclass(slots=True)
class Budget:
    """The budgets of one network's nodes, each of `per_second` requests, and the slots that this process has.

    0 requests a second are no bound. Nobody of ours reserves more than `longest` seconds ahead. Not for several
    threads.
    """

    shared: Shared
    per_second: float
    longest: float
    _slots: dict[str, list[Slot]] = field(default_factory=dict)
    _own_next: dict[str, float] = field(default_factory=dict)

    def reserve(
        self,
        node: str,
        count: int,
        deadline: float,
        *,
        refresh: bool,
        ahead: float | None = None,
        pace: float = 0.0,
    ) -> float:
        """Have slots for the next `count` requests to a node, all before `deadline`.

        0.0: this process has them. Otherwise it has none, and it is worth while to ask again after so many seconds. The
        first slot comes within `ahead` seconds. They are `pace` seconds apart or more, but spread over half of the time
        at the most: a node that is so slow takes longer, and its later slots are reserved one by one.
        """
        if not self.per_second:
            return 0.0
        now = monotonic()
        mine = self._slots.get(node, [])
        if sum(slot.due >= now - LATE for slot in mine) >= count:
            return 0.0
        within = max(deadline - now, 0.0)
        pace = min(pace, within / (2 * count))
        wanted = Wanted(count, pace, within if ahead is None else min(ahead, within), within)
        found = self._shared(node, wanted, [slot.number for slot in mine], refresh=refresh)
        if found is None:
            self._unreserve(node, mine)
            found = self._alone(node, wanted)
        self._slots[node] = found if isinstance(found, list) else []
        return 0.0 if isinstance(found, list) else found

    def with_contact(self, reads: int, contact: int, deadline: float) -> int:
        """How many slots to have for a read's requests and a first contact's, which come after them.

        All of them, where they fit into half of the time until `deadline`. Else one of the contact's beside the read's:
        the others have slots of their own as far as there are any, and what is left of the contact is the next read's.
        """
        if not contact or not self.per_second:
            return reads + contact
        fit = int(max(deadline - monotonic(), 0.0) / 2 * self.per_second / SECOND) + 1
        return reads + max(min(contact, fit - reads), 1)

    def have(self, node: str, count: int, deadline: float, *, refresh: bool, pace: float = 0.0) -> None:
        """Have slots for so many requests, or raise OverBudget: half of a read is worth nothing."""
        if seconds := self.reserve(node, count, deadline, refresh=refresh, pace=pace):
            raise OverBudget(f"{self.per_second:g} requests a second are used up", retry_after=seconds)

    def wait(self, node: str, deadline: float, *, refresh: bool) -> None:
        """Return when the next request may be sent. Raises OverBudget when that is not before `deadline`."""
        if not self.per_second:
            return
        while True:
            self.have(node, 1, deadline, refresh=refresh)
            slot = self._slots[node].pop(0)
            sleep(max(slot.due - monotonic(), 0))
            if slot.due >= monotonic() - LATE:
                return

    def holds(self, node: str) -> bool:
        """Whether there are slots for requests to a node."""
        return any(slot.due >= monotonic() - LATE for slot in self._slots.get(node, []))

    def give_back(self, node: str) -> None:
        """Let others have the slots that are left over. One command, if there are any."""
        mine = self._slots.pop(node, [])
        self._unreserve(node, mine)
        if left := [slot.number for slot in mine if slot.number]:
            with self.shared.redis() as client:
                if client:
                    client.zrem(self.shared.key(self._name(node)), *left)

    def _unreserve(self, node: str, mine: Sequence[Slot]) -> None:
        """What this process had reserved by itself, and not used."""
        if own := [slot.due for slot in mine if not slot.number]:
            self._own_next[node] = min(own)

    def _shared(self, node: str, wanted: Wanted, mine: Sequence[str], *, refresh: bool) -> list[Slot] | float | None:
        """By Redis: slots, or the seconds to wait. None: Redis is not to be had."""
        step, name = SECOND / self.per_second, self._name(node)
        # Two slots at least, however few there are: whoever comes once a second must find each of them.
        near, start = max(NEAR, 2 * step), max(wanted.start, min(2 * step, wanted.within))
        longest = max(self.longest, wanted.within) + step
        seconds = [1000 * each for each in (step, near, longest)]
        asked = [wanted.slots, 1000 * wanted.pace, 1000 * start, 1000 * wanted.within, *filter(None, mine)]
        lanes = ("refresh", "sweep") if refresh else ("sweep", "refresh")
        keys = [self.shared.key(each) for each in (name, *(f"{name}:{lane}" for lane in lanes))]
        answer: Any = None
        asked_at = monotonic()
        with self.shared.redis() as client:
            if client:
                with self.shared.removed_if_strange(name):
                    answer = client.eval(
                        RESERVE, len(keys), *keys, *seconds, int(REMEMBERED * 1000), int(not refresh), *asked
                    )
        if not answer:
            return None
        if answer[0] == b"no":
            return max(float(answer[1]) / 1000, 0.001)
        now = (asked_at + monotonic()) / 2  # when Redis said so, as nearly as can be known
        pairs = zip(answer[::2], answer[1::2], strict=True)
        return [Slot(now + float(at) / 1000, number.decode()) for number, at in pairs]

    def _alone(self, node: str, wanted: Wanted) -> list[Slot] | float:
        """The same by this process alone."""
        step, now = max(SECOND / self.per_second, wanted.pace), monotonic()
        first = max(self._own_next.get(node, now), now)
        last = first + (wanted.slots - 1) * step
        if first > now + wanted.start or last > now + wanted.within:
            return max(first - now - wanted.start, last - now - wanted.within)
        self._own_next[node] = last + SECOND / self.per_second
        return [Slot(first + number * step) for number in range(wanted.slots)]

    def _name(self, node: str) -> str:
        return f"budget:{self.per_second:g}:{node}"
