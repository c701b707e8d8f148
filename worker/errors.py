"""What can go wrong, by what is to be done about it.

    SyncError
    ├── BadArgument              a task was sent something that is not an id: say so, do nothing
    ├── NotConfigured            stop this network: it has no node, its wallets stay as they are
    └── ReadFailed               nothing of this request counts; every wallet in it keeps its value
        ├── Throttled            slow down: leave this key, or this node, alone for as long as it said
        │   └── OverBudget       the same by our own budget: nothing is wrong with the node
        ├── Unauthorized         slow down: this key is not known there; a person has to mend it
        ├── TooMuch              split the batch
        │   └── OutOfTime        the same once more, for it comes by chance; then split the batch
        ├── Unsupported          the node cannot be read by this strategy: ask it by another one
        │   └── EmptyRevert      the same, or the batch has to be split: a read of one wallet tells which
        ├── Unreachable          ask another node: no answer, or half of one
        ├── Unavailable          ask another node: this one is out of order
        ├── Refused              ask another node: this one answered that it would not
        │   └── Reverted         the same of a balance; of the token's own facts: the contract is no such token
        ├── Lagging              ask another node: this one is behind
        │   └── StateGone        ask the same node once more: it no longer has, or not yet, the state of this block
        ├── FinalityStalled      ask another node: what is final stands still, while the chain goes on; no node failed
        ├── BadReply             ask another node, and do not believe this one: the answer fails a check
        ├── ClockSkewed          believe nothing: the database's clock is wrong, and no node; a person has to mend it
        ├── WrongChain           stop asking this node: it serves another network; a person has to mend it
        ├── NoToken              stop asking this node: the token is not there; a person has to mend it
        ├── WrongDecimals        stop asking this node: the token has other decimals; a person has to mend it
        └── WrongBlockNumber     stop asking this node: blocks have another chain's numbers; a person has to mend it

A class's ``code`` is what ``sync_schedule.last_error`` holds and the logs say. Foreign outcomes are translated into
these in one place per family (``worker.nodes.evm``, ``worker.nodes.tron``; ``worker.nodes.failures`` for what
both share) and never leave it. They are not chained: requests' messages quote the whole URL of a node, and that may
hold its key.
"""

from collections.abc import Mapping
from typing import ClassVar

from billiard.exceptions import SoftTimeLimitExceeded

FROM_OUTSIDE = (SystemExit, KeyboardInterrupt, SoftTimeLimitExceeded)
"""What ends a batch that is sound itself: its process is told to end, or Celery's soft limit."""

BAD_ADDRESS = "bad_address"
"""A wallet's code when its address is not one of its network. It is left alone until the address changes."""

USDT_CALL_FAILED = "usdt_call_failed"
"""A wallet's code when the read was good but the token gave no usable balance for this one wallet."""

OLDER_BLOCK = "older_block"
"""A wallet's code when the block that was read is older than the one its balance is from."""

OUR_ERROR = "our_error"
"""A wallet's code when this program failed in its batch, by a mistake of its own that the log tells of."""

ZERO_UNCONFIRMED = "zero_unconfirmed"
"""A wallet's code when a balance read as zero that was not known to be, and a second read did not agree."""

RISE_UNCONFIRMED = "rise_unconfirmed"
"""A wallet's code when its USDT rose by more than CONFIRM_RISES in one read and a second read did not agree."""

CHANGE_UNCONFIRMED = "change_unconfirmed"
"""A wallet's code when its balance changed with an unlikely share of others', and another endpoint has it otherwise."""


LONGEST_WAIT_TOLD = 3600.0  # seconds


class SyncError(Exception):
    """Something kept a wallet from being synced."""

    code: ClassVar[str] = "error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or (self.__doc__ or "").partition("\n")[0])


class BadArgument(SyncError):
    """A task argument is not what the task takes."""

    code = "bad_argument"


class NotConfigured(SyncError):
    """No node is set for this network."""

    code = "not_configured"


class ReadFailed(SyncError):
    """A read gave no balances. `retry_after` is what the node itself asked for, in seconds, if it did."""

    code = "read_failed"
    rest: ClassVar[float] = 5.0
    """Seconds for which the node is left alone after the first of these in a row, unless it said how long."""

    rest_grows: ClassVar[bool] = True
    """Whether it counts as a failure of the node, which is left alone for longer after each further one in a row."""

    for_a_person: ClassVar[bool] = False
    """Whether waiting does not help: a setting is wrong, and the log says so at `error`."""

    skew: tuple[float, int] | None = None
    """Where it failed by its block's time: the seconds from the database's time to that, and the block's number."""

    asked: bool = True
    """Whether any node was asked. It is not so where every node is being left alone."""

    def __init__(self, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        # What a node says is believed up to an hour; what is no number of seconds is not.
        asked = retry_after if retry_after is not None and retry_after >= 0 else None
        self.retry_after = None if asked is None else min(asked, LONGEST_WAIT_TOLD)


class Throttled(ReadFailed):
    """The node wants fewer requests."""

    code = "throttled"
    rest = 30.0


class OverBudget(Throttled):
    """The requests a second that the settings allow are used up."""


class Unauthorized(ReadFailed):
    """The node does not know the key that it was sent, or wants one."""

    code = "unauthorized"
    rest = 300.0
    for_a_person = True


class TooMuch(ReadFailed):
    """The request is larger than the node takes."""

    code = "too_much"


class OutOfTime(TooMuch):
    """The node stopped the call by its clock."""

    code = "out_of_time"


class Unsupported(ReadFailed):
    """The node does not do what this strategy of reading needs."""

    code = "unsupported"
    rest = 60.0


class EmptyRevert(Unsupported):
    """The call reverted, and no revert data came: the node passes none on, or the call ran out of gas."""


class Unreachable(ReadFailed):
    """The node gave no answer, or broke off in the middle of one."""

    code = "unreachable"


class Unavailable(ReadFailed):
    """The node is out of order, or what stands before it cannot reach it."""

    code = "unavailable"


class Refused(ReadFailed):
    """The node answered with an error."""

    code = "refused"


class Reverted(Refused):
    """The contract reverted: it is the contract that would not, and no node."""


class Lagging(ReadFailed):
    """The node's newest block is too old."""

    code = "lagging"
    rest = 30.0


class StateGone(Lagging):
    """The node has no state of the block that was asked for: no longer, or not yet."""

    code = "state_gone"
    rest = 5.0
    rest_grows = False


class FinalityStalled(ReadFailed):
    """The newest block of this finality is too old, while the chain makes new blocks."""

    code = "finality_stalled"
    rest = 30.0
    rest_grows = False


class BadReply(ReadFailed):
    """The node's answer fails a check."""

    code = "bad_reply"


class ClockSkewed(ReadFailed):
    """The database's clock is off."""

    code = "clock_skewed"
    for_a_person = True


class WrongChain(ReadFailed):
    """The node serves another chain than the one configured."""

    code = "wrong_chain"
    rest = 120.0
    for_a_person = True


class NoToken(ReadFailed):
    """The token contract is not there."""

    code = "no_token"
    rest = 60.0
    for_a_person = True


class WrongDecimals(ReadFailed):
    """The token has other decimals than the settings say."""

    code = "wrong_decimals"
    rest = 120.0
    for_a_person = True


class WrongBlockNumber(ReadFailed):
    """A contract finds another block number than the chain's own."""

    code = "wrong_block_number"
    rest = 120.0
    for_a_person = True


OF_THE_NODE = (Unreachable, Unavailable, Throttled, Unauthorized, WrongChain)
"""Failures for which nobody should ask the node for a while, whatever it is asked for."""

KINDS: Mapping[str, type[ReadFailed]] = {
    **{kind.code: kind for kind in ReadFailed.__subclasses__()},
    StateGone.code: StateGone,
}
"""The kinds of failures by their codes."""

REST_CODES = frozenset({"", *KINDS})
"""What a node or a key may be left alone for; "": for nothing."""


def _codes(kind: type[ReadFailed]) -> set[str]:
    return {kind.code}.union(*map(_codes, kind.__subclasses__()))


READ_CODES = tuple(sorted(_codes(ReadFailed)))
"""The codes of all failures that a read may end with."""
