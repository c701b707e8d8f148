"""What java-tron, TronGrid and the like do wrong."""

import json
from collections.abc import Callable
from typing import Any

from faults import changed, of, wallets
from faults import tron_error as error
from proxy import Exchange, Fault, passed_on

__all__ = ["error"]

CPU_TIMEOUT = "class org.tron.core.vm.program.Program$OutOfTimeException : CPU timeout for 'SWAP1' operation executing"
REVERT = {
    "result": {"result": True, "message": b"REVERT opcode executed".hex()},
    "constant_result": [""],
    "transaction": {"ret": [{"ret": "FAILED"}]},
}
OVERLOAD = {"Error": "class java.lang.IllegalAccessException : lack of computing resources"}
RATE = {"Error": "request rate exceeded the allowed_rps(3), and the query server is suspended for 1 s"}
SUSPENDED = {"Error": "The key exceeds the frequency limit(15), and the query server is suspended for 27 s"}
NULL_POINTER = {"Error": "class java.lang.NullPointerException : null"}

PENDING = 500_000  # sun that a debit takes which no block has


def asks_account(exchange: Exchange) -> bool:
    return exchange.path.endswith("getaccount")


def asks_newest(exchange: Exchange) -> bool:
    return exchange.path.endswith("getblock") and "id_or_num" not in exchange.json


def asks_token(exchange: Exchange) -> bool:
    """Whether it asks the token for one wallet's balance."""
    return str(exchange.json.get("data", "")).startswith("70a08231")


def accounts(change: Callable[[Any], Any]) -> Fault:
    """What is said of accounts, changed."""
    return of(asks_account, changed(change))


def balances(change: Callable[[int], Any]) -> Fault:
    """The TRX of accounts, changed."""
    return accounts(lambda reply: {**reply, "balance": change(reply["balance"])})


def without_balance(reply: Any) -> Any:
    return {key: value for key, value in reply.items() if key != "balance"}


def an_empty_account(exchange: Exchange) -> None:
    """The façade has no account that was activated and is empty: java-tron's own words for one."""
    exchange.send({"address": exchange.json["address"], "create_time": 1_795_461_837_000})


def blocks(change: Callable[[Any], Any]) -> Fault:
    """The newest block's header, changed."""

    def edit(reply: Any) -> Any:
        block = reply["block_header"]
        return {**reply, "block_header": {**block, "raw_data": change(block["raw_data"])}}

    return of(asks_newest, changed(edit))


def genesis(change: Callable[[str], Any]) -> Fault:
    """The id of the first block, which is the network's, changed."""
    edit = changed(lambda reply: {**reply, "blockID": change(reply["blockID"])})
    return of(lambda exchange: bool(exchange.json.get("id_or_num") == "0"), edit)


def of_another_network(exchange: Exchange) -> None:
    """A node of another network: another first block, and none of our accounts."""
    if asks_account(exchange):
        exchange.send({})
    else:
        genesis(lambda block_id: block_id[:-8] + f"{3448148188:08x}")(exchange)


def suspended_by_key(exchange: Exchange) -> None:
    """TronGrid's suspension of a key: whoever comes without that key is served."""
    if exchange.headers.get("TRON-PRO-API-KEY") == "key-one":
        exchange.send(SUSPENDED, 403)
    else:
        passed_on(exchange)


def pending_effects(exchange: Exchange) -> None:
    """A debit that is only pending shows on /wallet, and nowhere else."""
    if not exchange.path.startswith("/wallet/"):
        passed_on(exchange)
    elif asks_account(exchange):
        balances(lambda balance: balance - PENDING)(exchange)
    else:
        wallets(lambda word: word - PENDING)(exchange)


def solid_is_head(exchange: Exchange) -> None:
    """A node that takes its newest block for solid."""
    exchange.path = exchange.path.replace("/walletsolidity/", "/wallet/")
    passed_on(exchange)


def twice_the_keys(exchange: Exchange) -> None:
    """Duplicate keys, unknown keys, another order."""
    text = exchange.upstream().text.strip()
    turned = json.dumps(dict(reversed(json.loads(text).items())))
    exchange.send('{"unknown": {"result": "0x"}, "result": 5, ' + turned[1:])


def huge(size: int) -> Fault:
    """An account's tokens, of which there may be any number, as so many bytes more."""
    token = b'{"key":"1002000","value":1}'

    def fault(exchange: Exchange) -> None:
        many = b",".join([token] * (size // len(token)))
        exchange.send(b'{"assetV2":[' + many + b"]," + exchange.upstream().content.strip()[1:])

    return fault
