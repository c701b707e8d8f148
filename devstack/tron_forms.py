"""The forms in which java-tron answers: addresses, errors, and the transaction that a call would be."""

from typing import Any

import base58
from eth_hash.auto import keccak

PREFIX = "41"
REVERTED = "REVERT opcode executed"
TYPE_URL = "type.googleapis.com/protocol."
NULL_ADDRESS = 'class java.lang.NullPointerException : Cannot read the array length because "bytes" is null'

Body = dict[str, Any]


class Reply(Exception):
    """Ends a request with this reply."""

    def __init__(self, body: Body) -> None:
        super().__init__(body)
        self.body = body


def called(reply: Body, made: Body, *, visible: bool) -> Body:
    """java-tron's words for an EVM node's reply to a call."""
    if "result" in reply:
        return {
            "result": {"result": True},
            "energy_used": 1000,
            "constant_result": [reply["result"][2:]],
            "transaction": {"ret": [{}], **made},
        }
    error = reply["error"]
    if error.get("code") == 3:  # noqa: PLR2004  a revert: Tron says that the call went well, but for a message
        return {
            "result": {"result": True, "message": REVERTED if visible else REVERTED.encode().hex()},
            "energy_used": 1000,
            "constant_result": [str(error.get("data", "0x"))[2:]],
            "transaction": {"ret": [{"ret": "FAILED"}], **made},
        }
    kind = "class org.tron.core.vm.program.Program$IllegalOperationException"
    return trouble(f"{kind} : {error.get('message')}", visible=visible)


def transaction(owner: str, contract: str | None, data: str, *, visible: bool) -> Body:
    """The transaction that the call would be: java-tron sends what it was asked back, twice."""
    sender = shown(owner, visible=visible)
    if contract:
        value: Body = {"data": data, "owner_address": sender, "contract_address": shown(contract, visible=visible)}
        kind = "TriggerSmartContract"
    else:
        code = {"bytecode": data, "consume_user_resource_percent": 100}
        value = {"owner_address": sender, "new_contract": {**code, "origin_address": sender, "origin_energy_limit": 1}}
        kind = "CreateSmartContract"
    made = keccak(data.encode()).hex()
    raw: Body = {"contract": [{"parameter": {"value": value, "type_url": TYPE_URL + kind}, "type": kind}]}
    raw |= {"ref_block_bytes": "0000", "ref_block_hash": "00" * 8, "expiration": 0, "timestamp": 0}
    address = {} if contract else {"contract_address": PREFIX + made[:40]}
    return {"visible": visible, "txID": made, **address, "raw_data": raw, "raw_data_hex": data}


def calldata(body: Body) -> str:
    """What is executed: a selector with its parameter, or raw data."""
    if selector := body.get("function_selector"):
        return keccak(str(selector).encode())[:4].hex() + str(body.get("parameter", ""))
    return str(body.get("data", "")).removeprefix("0x")


def trouble(message: str, code: str = "OTHER_ERROR", *, visible: bool = False) -> Body:
    return {"result": {"code": code, "message": message if visible else message.encode().hex()}}


def is_visible(body: Body) -> bool:
    """Whether addresses are base58 in a request and in its reply."""
    return body.get("visible") in {True, "true"}


def frozen() -> list[Body]:
    return [{}, {"type": "ENERGY"}, {"type": "TRON_POWER"}]


def block_id(number: int, evm_hash: str) -> str:
    """A Tron block's id: its number in eight bytes, and 24 bytes of its hash."""
    return f"{max(number, 0):016x}" + evm_hash[-48:]


def shown(account: str, *, visible: bool) -> str:
    """Twenty bytes as java-tron shows an address."""
    return base58.b58encode_check(bytes.fromhex(PREFIX + account)).decode() if visible else PREFIX + account


def account_of(body: Body, key: str, *, visible: bool, constant: bool = False) -> str | None:
    """The twenty bytes of an address, or None for one that java-tron takes for an account that does not exist.

    Raises Reply with java-tron's own words for what it refuses.
    """

    def refuse(message: str) -> Reply:
        if not constant:
            return Reply({"Error": message})
        return Reply(trouble(message.replace('"', "'"), visible=visible))  # java-tron does the same

    text = str(body[key])
    parse = f"class org.tron.core.services.http.JsonFormat$ParseException : 1:{len(key) + 6}:"  # were it the first key
    if visible:
        illegal = next((at for at, digit in enumerate(text) if digit.encode() not in base58.BITCOIN_ALPHABET), None)
        if illegal is not None:
            raise refuse(f"{parse} INVALID base58 String, Illegal character {text[illegal]} at {illegal}")
        try:
            payload = base58.b58decode_check(text)
        except ValueError as error:
            raise refuse(NULL_ADDRESS) from error
        if payload[:1].hex() != PREFIX:
            raise refuse(NULL_ADDRESS)
        return payload[1:].hex()
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise refuse(f"{parse} INVALID hex String") from error
    return raw[1:].hex() if len(raw) == 21 and raw[:1].hex() == PREFIX else None  # noqa: PLR2004


def not_json(path: str, text: str) -> Body:
    if path == "triggerconstantcontract":
        return trouble("class com.alibaba.fastjson.JSONException : syntax error, pos 1, line 1, column 2" + text)
    if not text:
        return {"Error": 'class org.tron.core.services.http.JsonFormat$ParseException : 1:1: Expected "{".'}
    return {"Error": "class com.alibaba.fastjson.JSONException : syntax error, pos 1, line 1, column 2" + text}
