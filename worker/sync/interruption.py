"""A batch that is interrupted hands its leases back at once. One that is killed cannot: its leases expire."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError

from db.claims import Claim
from db.leases import release
from db.session import transaction
from worker.errors import FROM_OUTSIDE

log = structlog.get_logger(__name__)

ENDING = {signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1}
"""What a pool sends to a process: an end (QUIT under REMAP_SIGTERM), and the soft limit."""


@dataclass(slots=True)
class Hold:
    """What a batch has claimed, once it has."""

    claim: Claim | None = None


@contextmanager
def handed_back_when_interrupted(then: Callable[[Claim], None] = lambda _: None) -> Iterator[Hold]:
    """Give what is claimed in the block back, due at once, when the block is ended from outside (FROM_OUTSIDE), and do
    what is to be done then.

    The claim is told of inside its transaction: the end may come in the middle of the commit, or just after it.
    """
    hold = Hold()
    try:
        yield hold
    except FROM_OUTSIDE as interruption:
        if hold.claim:
            with _undisturbed():
                _hand_back(hold.claim, type(interruption).__name__)
                then(hold.claim)
        raise


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A pool tells a process to end more than once, and the second time would end it in the middle of this.

    Handlers and not a mask, which is a thread's own: a signal goes to whichever thread does not mask it.
    """
    came: list[int] = []
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in ENDING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in came:
            signal.raise_signal(number)


def _hand_back(claim: Claim, reason: str) -> None:
    try:
        with transaction() as connection:
            wallets = release(connection, claim.token)
    except SQLAlchemyError as error:  # the leases expire
        log.warning("leases_not_handed_back", network=claim.network, reason=reason, error=type(error).__name__)
    else:
        log.info("leases_handed_back", network=claim.network, wallets=wallets, reason=reason)
