"""What each error of a wallet or an endpoint means, what happens by itself, and what a person can do about it.

This is the only source of these texts. The operator's page shows them, and the table of errors in docs/operations.md is
made of them: a test holds the two together. Backticks mark what is typed. Pure data.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Remedy(NamedTuple):
    """Whole sentences about one error."""

    meaning: str
    by_itself: str
    to_do: str


_ANOTHER = "Another endpoint is asked."
_KEEPS = "The wallet keeps its balance, and is tried again within seconds."
_SMALLER = "Smaller requests are sent. A wallet that is too much alone backs off."
_NOT_BELIEVED = "Nothing that this endpoint says is believed. Another endpoint is asked."
_LIES = "If it lasts: only one of several endpoints answers, or one of them lies. Compare them, and take the liar out."

REMEDIES: Mapping[str, Remedy] = {
    "throttled": Remedy(
        "The endpoint wants fewer requests: HTTP 402 or 429, 403 or 503 with `Retry-After`, or words such as rate"
        " limit, quota, server busy. Or our own budget (`*_RPS`) had no room for a batch: then no endpoint rests.",
        "The key or the endpoint is left alone for as long as it asked, and other endpoints are read from.",
        "Nothing, if it passes. If it lasts, add a key or an endpoint, take a larger plan, or set `*_RPS` to what the"
        " plan allows.",
    ),
    "unauthorized": Remedy(
        "The endpoint does not know the key: HTTP 401, a 403 that does not speak of a rate, or its words. A firewall's"
        " 403 without words looks the same.",
        "The key or the endpoint is left alone for some minutes.",
        "Correct the key in `*_RPC_URLS` or `*_API_KEYS`, and restart the workers. `celery -A worker check` tells which"
        " one is refused.",
    ),
    "too_much": Remedy("The request is larger than the endpoint takes.", _SMALLER, "Nothing, as a rule."),
    "out_of_time": Remedy(
        "The endpoint stopped the request by its own clock.",
        _SMALLER,
        "Nothing, as a rule. If it lasts, the endpoint is overloaded: add another one.",
    ),
    "unsupported": Remedy(
        "The endpoint does not do what this strategy of reading needs.",
        "Another strategy is tried, then another endpoint. The better strategies are tried again after five minutes.",
        "Nothing, if reading goes on. `celery -A worker check` tells how each endpoint can be read.",
    ),
    "unreachable": Remedy(
        "No answer came, or half of one; or no request can be made of the settings (URL, key, proxy).",
        _ANOTHER,
        "See whether the host is up and can be reached from the workers: `celery -A worker check`.",
    ),
    "unavailable": Remedy(
        "The endpoint is out of order, or what stands before it cannot reach it.",
        _ANOTHER,
        "If it lasts, look at the provider's status page, or add another endpoint.",
    ),
    "refused": Remedy(
        "The endpoint answered with an error that says nothing more.",
        "Another endpoint is asked, or the same once more where there is no other. The same words three times over five"
        " seconds, from an endpoint that never worked the best way, are taken for `unsupported`.",
        "If it lasts, read the endpoint's own words in the worker's log, or add another endpoint.",
    ),
    "lagging": Remedy(
        "The endpoint's newest block is too old, or behind what others have shown.",
        _ANOTHER,
        "If it lasts, the node is not in sync: mend it, or add another one. `*_MAX_HEAD_AGE` says how old is too old.",
    ),
    "state_gone": Remedy(
        "The endpoint no longer has the state of the block that is read, or does not have it yet: as a rule it is one"
        " of several machines behind one address.",
        "The same endpoint is asked once more, then another one.",
        "If it lasts, use an archive node, or set `*_FINALITY=latest`.",
    ),
    "bad_reply": Remedy(
        "The answer fails a check, or has a block number that the chain cannot have reached.",
        "This answer is not believed. Another endpoint is asked.",
        "If it lasts, take the endpoint out of `*_RPC_URLS`: it cannot be trusted.",
    ),
    "finality_stalled": Remedy(
        "The newest block of the configured finality is too old, while the chain makes new ones: the chain does not"
        " finalize, or this node does not see that it does.",
        "Another endpoint is asked. If it is the chain, wallets keep their balances until blocks are final again.",
        "Wait. `*_FINALITY=latest` shows blocks meanwhile that can be reorganised away.",
    ),
    "wrong_chain": Remedy(
        "The endpoint is a node of another chain.",
        _NOT_BELIEVED,
        "Correct `*_RPC_URLS` or `*_CHAIN_ID`.",
    ),
    "no_token": Remedy(
        "There is no token at the configured address.",
        _NOT_BELIEVED,
        "Correct `*_USDT_CONTRACT`, or the `*_RPC_URLS` of another chain.",
    ),
    "wrong_decimals": Remedy(
        "The token has other decimals than the settings say: each sum would be shown wrong by powers of ten.",
        _NOT_BELIEVED,
        "Correct `*_USDT_DECIMALS`, or `*_USDT_CONTRACT`.",
    ),
    "wrong_block_number": Remedy(
        "Contracts of this chain see other block numbers than its nodes tell, so that a read cannot be held against its"
        " block.",
        _NOT_BELIEVED,
        'For a chain of Arbitrum\'s kind set `block_number = "arbsys"` in `NETWORKS_FILE`.',
    ),
    "clock_skewed": Remedy(
        "The database's clock is off, by more than a block's time may be.",
        "Nothing is believed. Wallets keep their balances until the clock is right.",
        "Set the clock of the database's machine (NTP).",
    ),
    "usdt_call_failed": Remedy(
        "The token gave no balance for this one wallet.",
        "This wallet alone backs off, and is tried again.",
        "If it lasts, ask the token for this address by hand: the contract may refuse it.",
    ),
    "our_error": Remedy(
        "This program failed in the wallet's batch, by a mistake of its own.",
        "The wallets of the batch back off, each to a time of its own.",
        "Report it, with the traceback of `batch_broken` from the worker's log.",
    ),
    "change_unconfirmed": Remedy(
        "The balance changed together with unlikely many others, and another endpoint has it otherwise.",
        _KEEPS,
        "If it lasts, an endpoint lies: see `unlikely_changes` in the worker's log, and take it out.",
    ),
    "zero_unconfirmed": Remedy(
        "The balance was read as zero for the first time, and no other endpoint said so too. Where there is only one,"
        " it did not say so again.",
        _KEEPS,
        _LIES,
    ),
    "rise_unconfirmed": Remedy(
        "USDT rose by more than `CONFIRM_RISES` in one read, and no other endpoint said so too, to within that sum."
        " Where there is only one, it did not say so again.",
        _KEEPS,
        _LIES,
    ),
    "older_block": Remedy(
        "The endpoint is a little behind what was read before, and so is every other one.",
        _KEEPS,
        "Nothing, if it passes. If it lasts after a chain began anew, or a node had lied: `celery -A worker resync"
        " --network … --forget`.",
    ),
    "bad_address": Remedy(
        "The address is not one of its network.",
        "It is judged anew once or twice a day, and as soon as it changes.",
        "Correct the address in `wallets`, or delete the wallet.",
    ),
}

UNKNOWN = Remedy(
    "This version does not know the error: another version wrote it.",
    "The wallet is tried again.",
    "Look for the code in the worker's log.",
)


def remedy(code: str) -> Remedy:
    """What there is to say about an error's code."""
    return REMEDIES.get(code, UNKNOWN)
