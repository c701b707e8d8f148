"""What has to be so before a request to a node is sent: its slot in the budget has come, and there is time for it."""

from dataclasses import dataclass, field
from time import monotonic

from worker.errors import Unreachable
from worker.reading.request import ReadRequest
from worker.reading.strategies import Node


@dataclass(slots=True)
class Sending:
    """The requests of one attempt: how many were sent, and how long it waited for slots in the budget."""

    node: Node
    request: ReadRequest
    sent: int = 0
    waited: float = 0.0
    """Seconds."""
    _began: float = field(default_factory=monotonic)

    def reserve(self, requests: int) -> None:
        """Have slots for all requests of a read, and bound the time of each. Raises OverBudget without room."""
        request, pace = self.request, self.node.session.pace
        request.budget.have(self.node.id, requests, request.latest_slot(pace), refresh=request.refresh, pace=pace)
        self.node.session.permit = self._permit

    def _permit(self) -> None:
        """Before each request: wait for its slot, bound its time, and count it. A strategy may take many requests.

        Raises Unreachable when there is no time left.
        """
        asked, latest = monotonic(), self.request.latest_slot(self.node.session.pace)
        if self.request.deadline > asked:
            self.request.budget.wait(self.node.id, latest, refresh=self.request.refresh)
            self.waited += monotonic() - asked
        left = self.request.deadline - monotonic()
        if left <= 0:
            raise Unreachable("no time left")
        self.node.session.time_limit = min(self.request.request_limit, left)
        self.sent += 1

    @property
    def waited_in_vain(self) -> bool:
        """Whether the time went by in waiting for slots rather than for the node."""
        return self.waited > self.node.session.pace

    def cut_short(self, *, has_read: bool) -> bool:
        """Whether the read's end came first: not when it had a request's whole time, and nothing to show for it."""
        now = monotonic()
        had = now - self._began - self.waited
        return self.request.deadline <= now and (has_read or had < self.request.request_limit)
