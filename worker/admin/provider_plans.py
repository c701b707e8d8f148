"""What the plans of usual providers allow, as they were told on 2026-11-25: a starting point, and no promise of theirs.

Providers change their plans without a word, and several say so. Where nobody has told a figure there is none.
"""

from typing import NamedTuple

from config.addresses import Family


class ProviderPlan(NamedTuple):
    """One plan. Requests are those of one key or account, a call of a contract each; None: not known."""

    name: str
    family: Family
    a_day: int | None
    a_second: float | None
    source: str


PLANS = (
    ProviderPlan(
        name="TronGrid without a key",
        family="tron",
        a_day=None,
        a_second=3,
        source="its refusals, allowed_rps(3); other numbers were seen too",
    ),
    ProviderPlan(
        name="TronGrid, a free key",
        family="tron",
        a_day=100_000,
        a_second=15,
        source="developers.tron.network, an older version; andelf/tronpy #148",
    ),
    ProviderPlan(
        name="Alchemy, free",
        family="evm",
        a_day=30_000_000 // 30 // 26,
        a_second=500 // 26,
        source="its documentation, 26 units a call and 500 a second; 30 million a month is told by others",
    ),
    ProviderPlan(
        name="Infura, free",
        family="evm",
        a_day=3_000_000 // 80,
        a_second=500 // 80,
        source="its documentation, 3 million credits a day and 500 a second; 80 a call is told by others",
    ),
)


def plans_of(family: Family) -> tuple[ProviderPlan, ...]:
    """The plans for networks of a family."""
    return tuple(plan for plan in PLANS if plan.family == family)
