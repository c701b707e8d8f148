"""What can go wrong, by what is to be done about it.

    SyncError
    ├── BadArgument         a task was sent something that is not an id: say so, do nothing
    ├── NotConfigured       a network without nodes: leave its wallets as they are
    ├── BadAddress          this wallet can never be read until its address changes
    └── ReadFailed          nothing of this read counts; every wallet in it keeps its value
        ├── Unreachable     no answer, or half of one: ask another endpoint
        ├── Throttled       too many requests: leave this endpoint alone for `retry_after` seconds
        ├── Refused         the node answered that it would not: ask another endpoint
        ├── BadReply        an answer that fails a check: ask another endpoint, and do not believe this one
        └── WrongChain      an endpoint of another network: its answers are about other wallets

A class's ``code`` is what ``sync_schedule.last_error`` holds and the logs say. Foreign exceptions are translated into
these where they arise (``worker.chains.http`` for what both chains share) and never leave the chain's module. They are
not chained: requests' messages quote the whole URL of a node, and that may hold its key.
"""

from typing import ClassVar

USDT_CALL_FAILED = "usdt_call_failed"
"""A wallet's code when the read was good but the token gave no usable balance for this one wallet."""

OLDER_BLOCK = "older_block"
"""A wallet's code when the block that was read is older than the one its balance is from."""


class SyncError(Exception):
    """Something kept a wallet from being synced."""

    code: ClassVar[str] = "error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or (self.__doc__ or "").partition("\n")[0])


class BadArgument(SyncError):
    """A task argument is not what the task takes."""

    code = "bad_argument"


class NotConfigured(SyncError):
    """No endpoint is set for this network."""

    code = "not_configured"


class BadAddress(SyncError):
    """The address is not one of its network."""

    code = "bad_address"


class ReadFailed(SyncError):
    """A read gave no balances. `endpoint` is a host and port, never a URL: that may hold a key."""

    code = "read_failed"
    cool_down: ClassVar[float] = 5.0
    """Seconds for which the endpoint is left alone, unless it named its own."""

    def __init__(self, detail: str = "", *, endpoint: str = "", retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.endpoint = endpoint
        self.retry_after = self.cool_down if retry_after is None else retry_after


class Unreachable(ReadFailed):
    """The endpoint gave no answer, or broke off in the middle of one."""

    code = "unreachable"


class Throttled(ReadFailed):
    """The endpoint wants fewer requests."""

    code = "throttled"
    cool_down = 30.0


class Refused(ReadFailed):
    """The endpoint answered with an error."""

    code = "refused"
    cool_down = 1.0


class BadReply(ReadFailed):
    """The endpoint's answer fails a check."""

    code = "bad_reply"
    cool_down = 1.0


class WrongChain(ReadFailed):
    """The endpoint serves another chain than the one configured."""

    code = "wrong_chain"
    cool_down = 60.0
