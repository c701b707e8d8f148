"""What a batch comes to: from what was claimed and what was read to what is written. Pure, but for chance."""

from collections.abc import Callable, Sequence
from itertools import repeat
from math import inf
from typing import NamedTuple

import structlog

from config import addresses
from config.addresses import Family
from db.claimed_wallets import ClaimedWallet
from db.claims import Claim
from db.network_state import State
from db.outcomes import Outcome
from worker.errors import BAD_ADDRESS, OLDER_BLOCK, USDT_CALL_FAILED, OverBudget, ReadFailed, TooMuch
from worker.reading.contract import Balance, Block
from worker.reading.request import Part
from worker.schedule import cadence
from worker.sync.pace import Pace

log = structlog.get_logger(__name__)


class Found(NamedTuple):
    """What was read for one wallet: a balance and its block, or an error's code.

    `node_id`: of the node that said so; `unknown`: that it does not know the account. `alone`: the fault is this
    wallet's, and no other's. `untried`: no node was asked for it, for the budget had no room in time. `told`:
    seconds for which the nodes want to be left alone. `held`: what was read, and is not believed yet
    (``worker.sync.verify``); then there is no balance. `soon`: only because the feed has not told of its block yet.
    """

    balance: Balance | None = None
    block: Block | None = None
    one_block: bool = True
    node_id: str = ""
    unknown: bool = False
    error: str | None = None
    alone: bool = False
    told: float = 0.0
    untried: bool = False
    held: Balance | None = None
    soon: bool = False


SOON = 2.0  # seconds
MOST_FAILURES = 1_000_000  # beyond any that count


def accounts_of(claim: Claim, family: Family) -> list[bytes | None]:
    """For each claimed wallet the 20 bytes that its chain knows it by, or None: its address is not one."""
    return [_account(claim, wallet, family) for wallet in claim.wallets]


def _account(claim: Claim, wallet: ClaimedWallet, family: Family) -> bytes | None:
    """What was found before is held against the address: what is read must be what the API shows."""
    if wallet.address is None:
        log.error("wallet_of_another_network", network=claim.network, wallet_id=str(wallet.id))
        return None
    if wallet.account and addresses.is_account(family, wallet.address, wallet.account):
        return wallet.account
    try:
        return addresses.account_bytes(family, wallet.address)
    except addresses.BadAddress as error:
        log.warning("bad_address", network=claim.network, wallet_id=str(wallet.id), detail=str(error))
        return None


def found_in(parts: Sequence[Part], wallets: int) -> list[Found]:
    """What a read's parts say of each of the wallets that were asked for, in that order.

    Raises ValueError when they do not speak of each of them once.
    """
    found: list[Found | None] = [None] * wallets
    told = 0
    for part in parts:
        told += len(part.wallets)
        found[part.wallets.start : part.wallets.stop] = _found_in(part)
    if told != wallets or None in found:
        raise ValueError("a read speaks of each of its wallets once")
    return found  # type: ignore[return-value]  # none is None


def _found_in(part: Part) -> list[Found]:
    wallets = len(part.wallets)
    if part.snapshot is None:
        return [_failed(part.failure, wallets)] * wallets
    balances, block, one_block = part.snapshot.balances, part.snapshot.block, part.snapshot.one_block
    if len(balances) != wallets:
        raise ValueError("a snapshot has a balance, or None, for each of its wallets")
    found = list(map(Found, balances, repeat(block), repeat(one_block), repeat(part.node_id)))
    for place in part.snapshot.unknown:
        found[place] = found[place]._replace(unknown=True)
    if None in balances:
        found = [each if each.balance else Found(error=USDT_CALL_FAILED, alone=True) for each in found]
    return found


def _failed(failure: ReadFailed | None, wallets: int) -> Found:
    failure = failure or ReadFailed()
    # What is too much for one wallet by itself is that wallet's fault: the others were read, or can be.
    alone = wallets == 1 and isinstance(failure, TooMuch)
    return Found(
        error=failure.code, alone=alone, told=failure.retry_after or 0.0, untried=isinstance(failure, OverBudget)
    )


def with_bad_addresses(accounts: Sequence[bytes | None], found: Sequence[Found]) -> list[Found]:
    """What was found for every claimed wallet, from what was found for those that could be asked for."""
    if None not in accounts:
        return list(found)
    asked = iter(found)
    return [Found(error=BAD_ADDRESS) if account is None else next(asked) for account in accounts]


def older(wallet: ClaimedWallet, found: Found) -> bool:
    """Whether a wallet was read at a block before the one that its balances are from."""
    return wallet.block_number is not None and found.block is not None and found.block.number < wallet.block_number


def kept(wallet: ClaimedWallet, found: Found, finality: str | None) -> bool:
    """Whether a wallet keeps its newer block for having been read at another finality: `finalized` is minutes behind
    `latest`, and nothing is wrong until it gets there. None: at the same one.
    """
    return older(wallet, found) and None not in (finality, wallet.finality) and finality != wallet.finality


def outage(parts: Sequence[Part], state: State) -> ReadFailed | None:
    """Why a batch of which no node read anything says that its network is out; None when it does not.

    Then no wallet has failed. But where the network was out until just now, and came back with other wallets, it may be
    these at which nodes fail: they have, and come back at times of their own.
    """
    if state.back_lately or any(part.snapshot for part in parts):
        return None
    failures = [part.failure for part in parts if part.failure and not isinstance(part.failure, OverBudget)]
    if any(isinstance(failure, TooMuch) for failure in failures):
        return None
    return failures[-1] if failures else None


def outcomes(
    claim: Claim,
    accounts: Sequence[bytes | None],
    found: Sequence[Found],
    *,
    policy: cadence.Policy,
    chance: Callable[[], float],
    finality: str | None = None,
    pace: Pace | None = None,
) -> list[Outcome]:
    """What came of each claimed wallet that was tried. `chance` gives a number in [0, 1) for each.

    `finality`: that of the blocks that were read; None: that of the rows. `pace`: the intervals of wallets that are
    kept fresh otherwise than by the cadence, which is `policy`; None: none is.
    """
    return [
        _outcome(
            claim,
            wallet,
            each,
            policy,
            jitter=chance(),
            account=None if wallet.account == account else account,
            keeps=kept(wallet, each, finality),
            pace=pace,
        )
        for wallet, account, each in zip(claim.wallets, accounts, found, strict=True)
        if not each.untried
    ]


def _outcome(
    claim: Claim,
    wallet: ClaimedWallet,
    found: Found,
    policy: cadence.Policy,
    *,
    jitter: float,
    account: bytes | None,
    keeps: bool,
    pace: Pace | None,
) -> Outcome:
    balance, block, one_block, *_ = found
    now = claim.at
    if found.held:
        # The row keeps what it has. Nothing failed: the wallet is read again as one that is in use, or in a moment.
        if found.soon:
            return Outcome(wallet.id, wallet.due_at, now + SOON, 0)
        return Outcome(wallet.id, wallet.due_at, cadence.due_after_success(now, now, policy, jitter), 0)
    # While it failed it got one due time after another: it is as late as everything else that failed with it.
    overdue = inf if wallet.failures else now - wallet.due_at
    if keeps:
        due = cadence.due_after_success(now, wallet.touched_at, policy, jitter, overdue=overdue)
        return Outcome(wallet.id, wallet.due_at, due, 0)
    if balance is None or block is None:
        return _failure(claim, wallet, found, policy, jitter)
    if older(wallet, found):
        return _failure(claim, wallet, Found(error=OLDER_BLOCK), policy, jitter)
    usdt, native = balance.usdt, balance.native
    changed = usdt != wallet.usdt or native != wallet.native
    touched = now if changed else wallet.touched_at
    its = pace.policy if pace and block.number >= pace.since else policy
    due = cadence.due_after_success(now, touched, its, jitter, overdue=overdue)
    return Outcome(
        wallet.id, wallet.due_at, due, 0, None, changed, usdt, native, block.number, block.time, one_block, account
    )


def _failure(claim: Claim, wallet: ClaimedWallet, found: Found, policy: cadence.Policy, jitter: float) -> Outcome:
    failures = min(wallet.failures, MOST_FAILURES) + 1
    if found.error == BAD_ADDRESS:
        due = claim.at + cadence.JUDGED_AGAIN * (1 + jitter)
    elif found.alone:
        due = cadence.due_after_failed_wallet(claim.at, failures, policy, jitter)
    else:
        due = cadence.due_after_failed_read(claim.at, failures, policy, jitter, retry_after=found.told)
    return Outcome(wallet.id, wallet.due_at, due, failures, found.error)
