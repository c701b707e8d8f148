"""What there is to say of a single wallet that was looked up. Pure."""

from dataclasses import dataclass

from db.lookup_queries import WalletDetail
from ops.page_verdict import Level, Verdict
from ops.remedies import Remedy, remedy
from worker.errors import BAD_ADDRESS
from worker.wording import counted, in_words


@dataclass(frozen=True, slots=True)
class WalletView:
    """A wallet as it is shown. `remedy`: what to do about its last error, where it has one."""

    found: WalletDetail
    verdict: Verdict
    next_read: str
    age: float | None
    """Of its balance, in seconds; None: it has none."""
    remedy: Remedy | None


def wallet_view(found: WalletDetail, *, lease: float) -> WalletView:
    """How a wallet is. `lease`: after so many seconds more than it is due, a wallet is overdue."""
    age = None if found.last_synced is None else max((found.now - found.last_synced).total_seconds(), 0.0)
    failing = found.last_error if found.failures else None
    next_read = _next_read(found)
    told = remedy(failing) if failing else None
    return WalletView(found, _verdict(found, age, lease), next_read, age, told)


def _is_held(found: WalletDetail) -> bool:
    return found.held_until is not None and found.held_until > found.now


def _due_for(found: WalletDetail) -> float:
    """Seconds for which it is due; below zero: it is not yet."""
    assert found.next_sync_at is not None
    # A new wallet is due since ever: since it was inserted, that is.
    return (found.now - max(found.next_sync_at, found.created_at)).total_seconds()


def _next_read(found: WalletDetail) -> str:
    if found.next_sync_at is None:
        return "not before a worker has enrolled it"
    if _is_held(found):
        return "it is being read now"
    due = _due_for(found)
    if found.touch_due_at is not None:
        due = max(due, (found.now - found.touch_due_at).total_seconds())
    return f"in {in_words(-due)}" if due < 0 else f"due for {in_words(due)}"


def _verdict(found: WalletDetail, age: float | None, lease: float) -> Verdict:
    if found.next_sync_at is None:
        return Verdict(Level.WATCH, "Not enrolled", "It has no schedule. A worker enrols it within the hour.")
    if found.failures:
        again = "" if found.last_error == BAD_ADDRESS else f", next try {_next_read(found)}"
        times = f"{counted(found.failures, 'time')} in a row"
        return Verdict(Level.WATCH, "Failing", f"Reading it failed {times}{again}.")
    if _due_for(found) > lease and not _is_held(found):
        return Verdict(Level.WATCH, "Overdue", f"It has been due for {in_words(_due_for(found))}, and nobody reads it.")
    if age is None:
        return Verdict(Level.IDLE, "Never read", "It waits for its first read.")
    return Verdict(Level.GOOD, "Fresh", f"It was read {in_words(age)} ago.")
