"""What a batch comes to: from what was claimed and what was read to what is written. Pure, but for chance."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import structlog

from db.balances import Outcome
from db.wallets import Claim, ClaimedWallet
from worker import schedule
from worker.chains.addresses import account_bytes
from worker.chains.snapshot import Balance, Block
from worker.chains.turn import Part
from worker.errors import (
    OLDER_BLOCK,
    USDT_CALL_FAILED,
    ZERO_UNCONFIRMED,
    BadAddress,
    ReadFailed,
    TooMuch,
)

log = structlog.get_logger(__name__)


class Found(NamedTuple):
    """What was read for one wallet: a balance and its block, or an error's code.

    `alone`: the fault is this wallet's, and no other's. `told`: seconds for which the nodes want to be left alone.
    """

    balance: Balance | None = None
    block: Block | None = None
    one_block: bool = True
    error: str | None = None
    alone: bool = False
    told: float = 0.0


def valid_accounts(claim: Claim) -> dict[UUID, bytes]:
    """The wallets that can be asked for, each with the 20 bytes that its chain knows it by."""
    accounts = {}
    for wallet in claim.wallets:
        try:
            accounts[wallet.id] = account_bytes(claim.network, wallet.address)
        except BadAddress as error:
            log.warning("bad_address", network=claim.network, wallet_id=str(wallet.id), detail=str(error))
    return accounts


def found_in(parts: Sequence[Part], wallets: Sequence[UUID]) -> dict[UUID, Found]:
    """What a read's parts say of each of its wallets, which stand in the order in which they were asked for."""
    found: dict[UUID, Found] = {}
    for part in parts:
        ids = wallets[part.wallets.start : part.wallets.stop]
        if part.snapshot is None:
            found |= dict.fromkeys(ids, _failed(part.failure, len(ids)))
        else:
            block, one_block = part.snapshot.block, part.snapshot.one_block
            found |= {
                wallet: Found(balance, block, one_block)
                if balance is not None
                else Found(error=USDT_CALL_FAILED, alone=True)
                for wallet, balance in zip(ids, part.snapshot.balances, strict=True)
            }
    if found.keys() != set(wallets):
        raise ValueError("a read speaks of each of its wallets once")
    return found


def _failed(failure: ReadFailed | None, wallets: int) -> Found:
    failure = failure or ReadFailed()
    # What is too much for one wallet by itself is that wallet's fault: the others were read, or can be.
    alone = wallets == 1 and isinstance(failure, TooMuch)
    return Found(error=failure.code, alone=alone, told=failure.retry_after or 0.0)


def fallen_to_zero(claim: Claim, found: Mapping[UUID, Found]) -> list[UUID]:
    """The wallets one of whose balances was above zero and now reads as zero: an error often looks like that."""
    return [wallet.id for wallet in claim.wallets if wallet.id in found and any(_falls(wallet, found[wallet.id]))]


def _falls(wallet: ClaimedWallet, found: Found) -> tuple[bool, bool]:
    if found.balance is None:
        return False, False
    return bool(wallet.usdt) and found.balance.usdt == 0, bool(wallet.native) and found.balance.native == 0


def agrees(wallet: ClaimedWallet, first: Found, second: Found) -> bool | None:
    """Whether a second read has the same zeros. None: it does not tell, having failed or being of an older block."""
    usdt, native = _falls(wallet, first)
    if native and not (first.one_block and second.one_block):
        return False  # asked by itself, java-tron answers alike for an empty account and one that it does not know
    if second.balance is None or not (first.block and second.block) or second.block.number < first.block.number:
        return None
    return not (usdt and second.balance.usdt) and not (native and second.balance.native)


def confirmed(
    claim: Claim,
    found: Mapping[UUID, Found],
    suspects: Collection[UUID],
    read_again: Callable[[Sequence[UUID], int], Mapping[UUID, Found]],
) -> dict[UUID, Found]:
    """`found` with each zero that a second read did not confirm turned into a failure.

    `read_again` reads wallets for the second time, and, those of which that says nothing, for the third.
    """
    wallets = {wallet.id: wallet for wallet in claim.wallets}
    verdicts: dict[UUID, bool | None] = dict.fromkeys(suspects)
    for attempt in (0, 1):
        open_ones = [wallet for wallet, verdict in verdicts.items() if verdict is None]
        if open_ones:
            again = read_again(open_ones, attempt)
            verdicts |= {wallet: agrees(wallets[wallet], found[wallet], again[wallet]) for wallet in open_ones}
    unconfirmed = [wallet for wallet, verdict in verdicts.items() if not verdict]
    return {**found, **dict.fromkeys(unconfirmed, Found(error=ZERO_UNCONFIRMED))}


def outcomes(
    claim: Claim, found: Mapping[UUID, Found], *, policy: schedule.Policy, chance: Callable[[], float]
) -> list[Outcome]:
    """What came of each claimed wallet; one that `found` lacks has no valid address.

    `chance` gives a number in [0, 1) for each wallet.
    """
    return [
        _outcome(claim, wallet, found[wallet.id], policy, chance())
        if wallet.id in found
        else Outcome(wallet.id, schedule.NEVER, wallet.failures + 1, BadAddress.code)
        for wallet in claim.wallets
    ]


def _outcome(claim: Claim, wallet: ClaimedWallet, found: Found, policy: schedule.Policy, jitter: float) -> Outcome:
    if found.balance is None or found.block is None:
        return _failure(claim, wallet, found, policy, jitter)
    if wallet.block_number is not None and found.block.number < wallet.block_number:
        return _failure(claim, wallet, Found(error=OLDER_BLOCK, alone=True), policy, jitter)
    balance, now = found.balance, claim.at
    changed = balance != (wallet.usdt, wallet.native)
    touched = (now if changed else wallet.last_changed_at, wallet.requested_at)
    return Outcome(
        wallet.id,
        schedule.due_after_success(now, touched, policy, jitter),
        failures=0,
        changed=changed,
        usdt=balance.usdt,
        native=balance.native,
        block_number=found.block.number,
        block_time=found.block.time,
        one_block=found.one_block,
    )


def _failure(claim: Claim, wallet: ClaimedWallet, found: Found, policy: schedule.Policy, jitter: float) -> Outcome:
    failures = wallet.failures + 1
    if found.alone:
        due = schedule.due_after_failed_wallet(claim.at, failures, policy, jitter)
    else:
        told = timedelta(seconds=found.told)
        due = schedule.due_after_failed_read(claim.at, failures, policy, jitter, told=told)
    return Outcome(wallet.id, due, failures, found.error)
