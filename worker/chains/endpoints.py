"""A chain's endpoints, best first: which to ask next, and one read through whichever answers truly."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

import structlog

from config.settings import Network
from worker.chains.snapshot import Snapshot, decode, encode
from worker.errors import ReadFailed, Unreachable, WrongChain

log = structlog.get_logger(__name__)


class Endpoint(Protocol):
    """One node's address and the way to it."""

    @property
    def name(self) -> str:
        """Host and port, for logs: no secret."""

    def call(self, init_code: bytes) -> bytes:
        """What the simulated deployment returns. Raises ReadFailed."""


def to_ask(count: int, rested_from: Mapping[int, float], now: float) -> list[int]:
    """The positions of the endpoints to ask, best first: those that are not being left alone. Pure."""
    return [at for at in range(count) if rested_from.get(at, now) <= now]


@dataclass(slots=True)
class EndpointReader:
    """Reads one chain. Not shared between threads; one process has one."""

    network: Network
    chain_id: int
    token: bytes
    finality: str
    max_wallets: int
    endpoints: Sequence[Endpoint]
    clock: Callable[[], float] = monotonic
    _rested_from: dict[int, float] = field(default_factory=dict)
    _failure: ReadFailed = field(default_factory=Unreachable)

    def read(self, accounts: Sequence[bytes], now: float) -> tuple[Snapshot, str]:
        """The balances of `accounts` at one block, and the name of the endpoint that gave them.

        `now` is the time of the claim in unix seconds. Asks each endpoint at most once. Raises ReadFailed: the last
        endpoint's failure, or the last one there was when no endpoint may be asked yet.
        """
        for at in to_ask(len(self.endpoints), self._rested_from, self.clock()):
            endpoint, request = self.endpoints[at], encode(self.token, accounts)
            try:
                reply = endpoint.call(request)
                snapshot = decode(reply, request, wallets=len(accounts), chain_id=self.chain_id, now=now)
            except ReadFailed as failure:
                failure.endpoint, self._failure = endpoint.name, failure
                self._rested_from[at] = self.clock() + failure.retry_after
                # Another network's node is a mistake in the settings, which only a person can mend.
                report = log.error if isinstance(failure, WrongChain) else log.warning
                report(
                    "read_failed",
                    network=self.network,
                    endpoint=endpoint.name,
                    error=failure.code,
                    detail=str(failure),
                    wallets=len(accounts),
                )
            else:
                return snapshot, endpoint.name
        raise self._failure.with_traceback(None)
