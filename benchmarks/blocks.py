"""Blocks as nodes tell them, made up: as many transactions as on a busy day, some of which touch wallets of the stage.

What a wallet is paid is native coin: the nodes' balances never change, and events of the token that named a wallet
would have its reads doubted. So the token moves between strangers, as most of it does.
"""

import random
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from eth_hash.auto import keccak

from config.addresses import account_bytes
from config.networks import PRESETS
from worker.feed.blocks import TRANSFER
from worker.feed.evm_blocks import SYSTEM

TRANSACTIONS = 400
OF_THE_TOKEN = 100  # of them
PAYMENTS = 200  # of them, each of which pays one wallet; more wallets are paid by contracts
FULL_BLOOM = "0x" + "ff" * 256
SIGNATURE = "5d" * 32
CALLDATA = "0x" + "a1" * 132
DIGITS = 64  # of a word in hexadecimal


def hash_of(number: int) -> str:
    """A block's hash, without 0x: as on Tron it begins with the block's number."""
    return f"{number:016x}" + keccak(number.to_bytes(8))[:24].hex()


def touched(number: int, wallets: int, per_block: int) -> list[bytes]:
    """The wallets that a block touches, of those whose accounts are the numbers from 1: each block other ones."""
    return [(1 + (number * per_block + at) % wallets).to_bytes(20) for at in range(per_block)] if wallets else []


def transaction_id(number: int, at: int) -> str:
    return f"{number:032x}{at:032x}"


def strangers(number: int) -> Iterator[str]:
    """Accounts that nobody has a wallet of, in hexadecimal digits. The same ones at each call."""
    dice = random.Random(number)  # noqa: S311  anybody
    while True:
        yield dice.randbytes(20).hex()


@lru_cache(maxsize=4)
def evm_block(network: str, number: int, time: int, wallets: int, per_block: int) -> tuple[Any, list[Any]]:
    """A full block, and the logs of the token and of the system address in it."""
    token = account_bytes("evm", str(PRESETS[network].usdt_contract)).hex()
    paid, others = touched(number, wallets, per_block), strangers(number)
    transactions, logs = [], list[Any]()
    block_hash = "0x" + hash_of(number)

    def log(address: str, at: int, sender: str, receiver: str) -> None:
        topics = ["0x" + TRANSFER, *("0x" + each.rjust(DIGITS, "0") for each in (sender, receiver))]
        logs.append(
            {
                "address": address,
                "topics": topics,
                "data": f"0x{1000 + at:064x}",
                "blockHash": block_hash,
                "blockNumber": hex(number),
                "transactionHash": "0x" + transaction_id(number, at),
                "transactionIndex": hex(at),
                "logIndex": hex(len(logs)),
                "removed": False,
            }
        )

    for at in range(TRANSACTIONS):
        sender, receiver = next(others), next(others)
        is_token, is_payment = at < OF_THE_TOKEN, OF_THE_TOKEN <= at < OF_THE_TOKEN + min(PAYMENTS, len(paid))
        to = token if is_token else paid[at - OF_THE_TOKEN].hex() if is_payment else receiver
        transactions.append(_evm_transaction(number, at, sender, to, block_hash, is_payment=is_payment))
        if is_token:
            log("0x" + token, at, sender, receiver)
    for account in paid[PAYMENTS:]:
        log(SYSTEM, TRANSACTIONS - 1, next(others), account.hex())
    log(SYSTEM, TRANSACTIONS - 1, next(others), next(others))  # by which one sees that native coin is logged
    block = {
        "number": hex(number),
        "hash": block_hash,
        "parentHash": "0x" + hash_of(number - 1),
        "timestamp": hex(time),
        "miner": "0x" + "ba" * 20,
        "logsBloom": FULL_BLOOM,
        "transactionsRoot": block_hash,
        "gasUsed": "0x1c9c380",
        "withdrawals": [],
        "transactions": transactions,
    }
    return block, logs


def _evm_transaction(number: int, at: int, sender: str, to: str, block_hash: str, *, is_payment: bool) -> Any:
    return {
        "type": "0x2",
        "chainId": "0x1",
        "nonce": hex(number),
        "gas": "0x186a0",
        "maxFeePerGas": "0x639d1647",
        "maxPriorityFeePerGas": "0x3b9aca00",
        "to": "0x" + to,
        "value": "0xde0b6b3a7640000" if is_payment else "0x0",
        "accessList": [],
        "input": "0x" if is_payment else CALLDATA,
        "r": "0x" + SIGNATURE,
        "s": "0x" + SIGNATURE,
        "yParity": "0x0",
        "v": "0x0",
        "hash": "0x" + transaction_id(number, at),
        "blockHash": block_hash,
        "blockNumber": hex(number),
        "transactionIndex": hex(at),
        "from": "0x" + sender,
        "gasPrice": "0x639d1647",
    }


@lru_cache(maxsize=4)
def tron_block(number: int, time: int, wallets: int, per_block: int) -> tuple[Any, list[Any]]:
    """A block with its transactions, and their infos."""
    token = account_bytes("tron", str(PRESETS["tron"].usdt_contract)).hex()
    paid, others = touched(number, wallets, per_block), strangers(number)
    transactions: list[Any] = []
    infos: list[Any] = []
    for at in range(TRANSACTIONS):
        sender, receiver = next(others), next(others)
        is_token, is_payment = at < OF_THE_TOKEN, OF_THE_TOKEN <= at < OF_THE_TOKEN + min(PAYMENTS, len(paid))
        contract = token if is_token else receiver
        if is_payment:
            value: dict[str, Any] = {"amount": 1, "to_address": "41" + paid[at - OF_THE_TOKEN].hex()}
        else:
            value = {"data": CALLDATA[2:], "contract_address": "41" + contract}
        transactions.append(_tron_transaction(number, at, {**value, "owner_address": "41" + sender}, time))
        info = _tron_info(number, at, time)
        if is_token:
            words = [each.rjust(DIGITS, "0") for each in (sender, receiver)]
            info["log"] = [{"address": token, "topics": [TRANSFER, *words], "data": f"{1000 + at:064x}"}]
        if not is_payment:
            info["contract_address"] = "41" + contract
        infos.append(info)
    inside = [each.hex() for each in paid[PAYMENTS:]] or [next(others)]
    infos[-1]["internal_transactions"] = [
        {
            "hash": transaction_id(number, TRANSACTIONS + at),
            "caller_address": "41" + next(others),
            "transferTo_address": "41" + account,
            "callValueInfo": [{"callValue": 1}],
            "note": b"call".hex(),
        }
        for at, account in enumerate(inside)
    ]
    raw: dict[str, Any] = {
        "number": number,
        "txTrieRoot": hash_of(number),
        "witness_address": "41" + "ba" * 20,
        "version": 32,
    }
    raw |= {"parentHash": hash_of(number - 1), "timestamp": time * 1000}
    header = {"raw_data": raw, "witness_signature": SIGNATURE * 2}
    return {"blockID": hash_of(number), "block_header": header, "transactions": transactions}, infos


def _tron_transaction(number: int, at: int, value: dict[str, Any], time: int) -> Any:
    kind = "TransferContract" if "amount" in value else "TriggerSmartContract"
    parameter = {"value": value, "type_url": f"type.googleapis.com/protocol.{kind}"}
    raw: dict[str, Any] = {"contract": [{"parameter": parameter, "type": kind}], "ref_block_bytes": "0214"}
    raw |= {"ref_block_hash": "55c1d759ea367265", "expiration": time * 1000, "timestamp": time * 1000}
    return {
        "ret": [{"contractRet": "SUCCESS"}],
        "signature": [SIGNATURE * 2],
        "txID": transaction_id(number, at),
        "raw_data": raw,
        "raw_data_hex": "0a" * (130 if kind == "TransferContract" else 210),
    }


def _tron_info(number: int, at: int, time: int) -> dict[str, Any]:
    return {
        "id": transaction_id(number, at),
        "fee": 2808100,
        "blockNumber": number,
        "blockTimeStamp": time * 1000,
        "contractResult": [""],
        "receipt": {"result": "SUCCESS", "energy_fee": 2808100, "energy_usage_total": 28081, "net_usage": 346},
    }
