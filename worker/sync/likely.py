"""How many of a read's wallets may change at once before one node's word is not enough. Pure."""

from db.held_changes import Rates

# A share is unlikely when it is more than UNLIKELY times what is usual, of more than NEVER_UNLIKELY wallets. By chance
# alone that comes once in 10^8 batches at the most (Poisson: more than 20 where 4 are usual); what comes by no chance,
# as a sweep of all deposit wallets does, is confirmed by another node, or is late by HOLD_SECONDS. Fewer wallets
# are never held up, so that in a small installation three of five may change.
UNLIKELY = 5
NEVER_UNLIKELY = 20  # wallets
# What is usual is counted (db.held_changes); until a network has shown more than PRIOR_WEIGHT wallets it is this.
PRIOR_CHANGED, PRIOR_FALLEN = 0.1, 0.01  # shares of the wallets of a read
PRIOR_WEIGHT = 500  # wallets


def most_likely_changed(rates: Rates, wallets: int) -> float:
    """How many of so many wallets may change at once without a second word."""
    return _most_likely(rates.changed, rates.wallets, PRIOR_CHANGED, wallets)


def most_likely_fallen(rates: Rates, wallets: int) -> float:
    """The same for those one of whose balances falls to zero."""
    return _most_likely(rates.fallen, rates.wallets, PRIOR_FALLEN, wallets)


def _most_likely(shown: int, of: int, prior: float, wallets: int) -> float:
    usual = (shown + prior * PRIOR_WEIGHT) / (of + PRIOR_WEIGHT)
    return max(UNLIKELY * usual * wallets, NEVER_UNLIKELY)
