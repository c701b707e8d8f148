"""Blocks, transactions and their infos as java-tron shows them, made of what an EVM node says of the same block.

The shapes are those recorded from a real java-tron 4.8.0 with ``vm.saveInternalTx`` on. Not imitated: bandwidth and
energy that an account has for free, so that each transaction pays a fee, as its sender does on the EVM node.
"""

from collections.abc import Iterator, Mapping, Sequence

from devstack.tron_forms import PREFIX, REVERTED, TYPE_URL, Body, block_id, shown

BASE_GAS = 21_000
"""The gas of any transaction: what it costs is told as the fee for bandwidth, the rest as the fee for energy."""
EXPIRATION = 60_000  # milliseconds after a transaction was made
NOTES = {"CREATE": "create", "CREATE2": "create", "SELFDESTRUCT": "suicide"}
"""What java-tron calls an internal transaction; any other is a call."""
WITHOUT_VALUE = {"DELEGATECALL", "STATICCALL"}  # they move no coins, though the first one sees those of its caller


def header(evm_block: Body, blocks_hash: str, parents_hash: str) -> Body:
    """A block without its transactions. A Tron block's id ends as the hash that is given here."""
    number = int(evm_block["number"], 16)
    root = evm_block["transactionsRoot"][2:] if evm_block["transactions"] else "0" * 64
    raw: Body = {"number": number, "txTrieRoot": root}
    raw |= {"witness_address": PREFIX + evm_block["miner"][2:], "version": 32}
    raw |= {"parentHash": block_id(number - 1, parents_hash), "timestamp": milliseconds(evm_block)}
    if number == 0:
        del raw["number"]  # java-tron leaves defaults out
    return {
        "blockID": block_id(number, blocks_hash),
        "block_header": {"raw_data": raw, "witness_signature": "00" * 65},
    }


def transactions(evm_block: Body, contracts: set[str], *, visible: bool) -> list[Body]:
    """The transactions of a full block, with how each of them ended.

    Args:
        evm_block: with its transactions, each of which has its receipt under ``receipt``.
        contracts: which of those that the transactions are sent to have code.
        visible: whether addresses are shown in base58.

    """
    return [_transaction(each, evm_block, contracts, visible=visible) for each in evm_block["transactions"]]


def infos(evm_block: Body, traces: Mapping[str, Body], contracts: set[str], *, visible: bool) -> list[Body]:
    """What came of each transaction of a block: its fee, its logs, and what contracts called.

    `traces`: of each transaction, by its hash, as ``callTracer`` tells it.
    """
    return [
        _info(each, traces[each["hash"]], evm_block, contracts, visible=visible) for each in evm_block["transactions"]
    ]


def milliseconds(evm_block: Body) -> int:
    """A block's time, as Tron tells times."""
    return int(evm_block["timestamp"], 16) * 1000


def kind_of(transaction: Body, contracts: set[str]) -> str:
    """What such a transaction is called on Tron."""
    if transaction["to"] is None:
        return "CreateSmartContract"
    return "TriggerSmartContract" if transaction["to"] in contracts else "TransferContract"


def _transaction(transaction: Body, evm_block: Body, contracts: set[str], *, visible: bool) -> Body:
    kind = kind_of(transaction, contracts)
    value = _value(transaction, kind, visible=visible)
    contract: Body = {"parameter": {"value": value, "type_url": TYPE_URL + kind}, "type": kind}
    time, parent = milliseconds(evm_block), int(evm_block["number"], 16) - 1
    raw: Body = {"contract": [contract], "ref_block_bytes": f"{parent & 0xFFFF:04x}"}
    raw |= {"ref_block_hash": evm_block["parentHash"][-48:-32], "expiration": time + EXPIRATION, "timestamp": time}
    if kind != "TransferContract":
        raw["fee_limit"] = int(transaction["gas"], 16) * int(transaction["gasPrice"], 16)
    return {
        "ret": [{"contractRet": _result(transaction["receipt"])}],
        "signature": ["00" * 65],
        "txID": transaction["hash"][2:],
        "raw_data": raw,
        "raw_data_hex": transaction["hash"][2:],
    }


def _value(transaction: Body, kind: str, *, visible: bool) -> Body:
    """The one thing that a transaction does."""
    sender = shown(transaction["from"][2:], visible=visible)
    data, amount = transaction["input"][2:], int(transaction["value"], 16)
    if kind == "CreateSmartContract":
        code: Body = {"bytecode": data, "consume_user_resource_percent": 100, "origin_address": sender}
        return {"owner_address": sender, "new_contract": _without_defaults({**code, "call_value": amount})}
    receiver = shown(transaction["to"][2:], visible=visible)
    if kind == "TriggerSmartContract":
        called = {"data": data, "owner_address": sender, "contract_address": receiver, "call_value": amount}
        return _without_defaults(called)
    return _without_defaults({"amount": amount, "owner_address": sender, "to_address": receiver})


def _info(transaction: Body, trace: Body, evm_block: Body, contracts: set[str], *, visible: bool) -> Body:
    receipt, kind = transaction["receipt"], kind_of(transaction, contracts)
    gas, price = int(receipt["gasUsed"], 16), int(receipt["effectiveGasPrice"], 16)
    info: Body = {
        "id": transaction["hash"][2:],
        "fee": gas * price,
        "blockNumber": int(evm_block["number"], 16),
        "blockTimeStamp": milliseconds(evm_block),
        "contractResult": [""],
        "receipt": {"net_fee": min(gas, BASE_GAS) * price},
    }
    if kind == "TransferContract":
        return _without_defaults(info)
    used = max(gas - BASE_GAS, 0)
    resources = {"result": _result(receipt), "energy_fee": used * price, "energy_usage_total": used}
    info |= {"packingFee": gas * price, "receipt": _without_defaults({**info["receipt"], **resources})}
    info["contract_address"] = PREFIX + (receipt["contractAddress"] or transaction["to"])[2:]
    if visible:
        info["contract_address"] = shown(info["contract_address"][2:], visible=True)
    if not _went_well(receipt):
        info |= {"result": "FAILED", "resMessage": REVERTED.encode().hex(), "contractResult": [_output(trace)]}
    info["log"] = [_log(each, visible=visible) for each in receipt["logs"]]
    info["internal_transactions"] = list(_internals(trace, transaction["hash"], visible=visible))
    return _without_defaults(info)


def _log(log: Body, *, visible: bool) -> Body:
    address = log["address"][2:]  # without the prefix, unlike any other address
    told = {"address": shown(address, visible=True) if visible else address, "data": log["data"][2:]}
    return _without_defaults({**told, "topics": [topic[2:] for topic in log["topics"]]})


def _internals(frame: Body, transactions_hash: str, *, visible: bool, rejected: bool = False) -> Iterator[Body]:
    """What a call called in its turn, in the order of execution; rejected if it or a caller of it failed."""
    failed = rejected or "error" in frame
    for number, inner in enumerate(frame.get("calls", [])):
        kind = inner["type"]
        amount = 0 if kind in WITHOUT_VALUE else int(inner.get("value", "0x0"), 16)
        note = NOTES.get(kind, "call")
        internal: Body = {
            "hash": f"{number:04x}" + transactions_hash[6:],
            "caller_address": shown(inner["from"][2:], visible=visible),
            "transferTo_address": shown(inner.get("to", "0x")[2:], visible=visible),
            "callValueInfo": [{"callValue": amount} if amount else {}],
            "note": note if visible else note.encode().hex(),
        }
        if failed or "error" in inner:
            internal["rejected"] = True
        yield internal
        yield from _internals(inner, transactions_hash, visible=visible, rejected=failed)


def _output(trace: Body) -> str:
    return str(trace.get("output", "0x"))[2:]


def _went_well(receipt: Body) -> bool:
    return bool(receipt["status"] == "0x1")


def _result(receipt: Body) -> str:
    return "SUCCESS" if _went_well(receipt) else "REVERT"


def _without_defaults(body: Body) -> Body:
    """What is left when numbers that are zero, and lists and texts without anything in them, are not told."""
    return {key: value for key, value in body.items() if value not in (0, "", [])}


def with_receipts(evm_block: Body, receipts: Sequence[Body]) -> Body:
    """The block with each transaction's receipt in it."""
    by_hash = {receipt["transactionHash"]: receipt for receipt in receipts}
    joined = [{**each, "receipt": by_hash[each["hash"]]} for each in evm_block["transactions"]]
    return {**evm_block, "transactions": joined}
