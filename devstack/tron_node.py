"""The local Tron node: a thin façade that speaks java-tron's HTTP over an EVM node, whose balances are in sun.

Replies and errors have the shapes recorded from a real java-tron 4.8.0 (``tests/vectors/tron``): every error is HTTP
200, defaults are left out, messages are hexadecimal unless ``visible``. ``/wallet`` reads the newest block,
``/walletsolidity`` one some blocks behind it. Not imitated: energy, limits by clock or rate, pending transactions.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import base58
import requests
import uvicorn
from eth_hash.auto import keccak
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PREFIX = "41"
JSON_TYPE = "application/json;charset=utf-8"
NO_SUCH_PAGE = "<html><title>Error 405 HTTP method {method} is not supported by this URL</title></html>\n"
REVERTED = "REVERT opcode executed"
TYPE_URL = "type.googleapis.com/protocol."
PERMISSION = {"threshold": 1}
NULL_ADDRESS = 'class java.lang.NullPointerException : Cannot read the array length because "bytes" is null'

Body = dict[str, Any]
Answer = Callable[..., Body]


class Reply(Exception):
    """Ends a request with this reply."""

    def __init__(self, body: Body) -> None:
        super().__init__(body)
        self.body = body


class TronNode:
    """What the node answers, path by path."""

    def __init__(self, evm_url: str, solid_lag: int) -> None:
        self._evm_url, self._solid_lag = evm_url, solid_lag
        self._session = requests.Session()
        self.asked: Counter[str] = Counter()

    def evm(self, method: str, *parameters: Any) -> Body:
        """The EVM node's whole reply."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        reply: Body = self._session.post(self._evm_url, json=request, timeout=30).json()
        return reply

    def state(self, *, solid: bool) -> str:
        """The block whose state a path reads, as the EVM node takes its number."""
        head = int(self.evm("eth_blockNumber")["result"], 16)
        return hex(max(head - self._solid_lag, 0) if solid else head)

    def get_account(self, body: Body, *, solid: bool) -> Body:
        visible = is_visible(body)
        if "address" not in body:
            return {}
        account = account_of(body, "address", visible=visible)
        if account is None:
            return {}
        state = self.state(solid=solid)
        balance = int(self.evm("eth_getBalance", "0x" + account, state)["result"], 16)
        code = self.evm("eth_getCode", "0x" + account, state)["result"]
        address = shown(account, visible=visible)
        if code != "0x":
            known = {"account_name": b"T".hex(), "type": "Contract", "address": address, "balance": balance}
            known |= {"account_resource": {}, "frozenV2": frozen()}
            return {key: value for key, value in known.items() if value != 0}
        if balance == 0:
            return {}  # nobody activated it
        owner = {"permission_name": "owner", **PERMISSION, "keys": [{"address": address, "weight": 1}]}
        active = {"type": "Active", "id": 2, "permission_name": "active", **PERMISSION}
        active |= {"operations": "7fff1fc0033e01" + "00" * 25, "keys": [{"address": address, "weight": 1}]}
        return {
            "address": address,
            "balance": balance,
            "create_time": 1_795_461_837_000,
            "account_resource": {},
            "owner_permission": owner,
            "active_permission": [active],
            "frozenV2": frozen(),
        }

    def get_block(self, body: Body, *, solid: bool) -> Body:
        wanted = str(body.get("id_or_num", ""))
        if not wanted:
            return self._block(self.state(solid=solid))
        if len(wanted) == 64:  # noqa: PLR2004  a block id, whose first eight bytes are its number
            block = self._block(hex(int(wanted[:16], 16)))
            return block if block.get("blockID") == wanted else {}
        if not wanted.lstrip("-").isdecimal():
            return {"Error": "id must be legal block hash."}
        if wanted.startswith("-"):
            return {"Error": "num must be non-positive number."}
        newest = int(self.state(solid=solid), 16)
        return self._block(hex(int(wanted))) if int(wanted) <= newest else {}

    def _block(self, number: str) -> Body:
        block = self.evm("eth_getBlockByNumber", number, False)["result"]
        if block is None:
            return {}
        height = int(number, 16)
        raw = {"number": height, "txTrieRoot": block["transactionsRoot"][2:], "witness_address": PREFIX + "00" * 20}
        raw |= {"parentHash": block_id(height - 1, self._hash(height - 1, block["parentHash"])), "version": 32}
        raw |= {"timestamp": int(block["timestamp"], 16) * 1000}
        if height == 0:
            del raw["number"]
        return {
            "blockID": block_id(height, self._hash(height, block["hash"])),
            "block_header": {"raw_data": raw, "witness_signature": "00" * 65},
        }

    def _hash(self, height: int, evm_hash: str) -> str:
        """A Tron network's chain id is how the id of its genesis block ends."""
        if height > 0:
            return evm_hash
        chain_id = int(self.evm("eth_chainId")["result"], 16)
        return f"{evm_hash[:-8]}{chain_id:08x}"

    def trigger(self, body: Body, *, solid: bool) -> Body:
        """A constant call: of a contract, or, without one, of init code whose return it answers with."""
        visible = is_visible(body)
        if "owner_address" not in body:
            raise Reply(trouble("class java.security.InvalidParameterException : owner_address isn't set."))
        owner = account_of(body, "owner_address", visible=visible, constant=True) or "00" * 20
        contract = None
        if body.get("contract_address") or (visible and "contract_address" in body):
            contract = account_of(body, "contract_address", visible=visible, constant=True)
        data = calldata(body)
        if contract is None and not data:
            words = "At least one of contract_address and data must be set."
            raise Reply(trouble(f"class java.security.InvalidParameterException : {words}"))
        state = self.state(solid=solid)
        if contract is not None and self.evm("eth_getCode", "0x" + contract, state)["result"] == "0x":
            raise Reply(trouble("Smart contract is not exist.", "CONTRACT_VALIDATE_ERROR", visible=visible))
        call = {"from": "0x" + owner, "data": "0x" + data} | ({"to": "0x" + contract} if contract else {})
        reply = self.evm("eth_call", call, state)
        return called(reply, transaction(owner, contract, data, visible=visible), visible=visible)


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


def application(node: TronNode) -> Starlette:
    """The paths of java-tron that the façade has, on both states, and its own count of requests."""
    answers: dict[str, Answer] = {
        "getaccount": node.get_account,
        "getblock": node.get_block,
        "getnowblock": lambda _, solid: node.get_block({}, solid=solid),
        "triggerconstantcontract": node.trigger,
    }

    def respond(path: str, *, solid: bool, text: str, query: Body | None) -> Response:
        node.asked[path] += 1
        try:
            body = query if query is not None else json.loads(text)
            reply = answers[path](body if isinstance(body, dict) else {}, solid=solid)
        except json.JSONDecodeError:
            reply = not_json(path, text)
        except Reply as ready:
            reply = ready.body
        return Response(json.dumps(reply) + "\n", media_type=JSON_TYPE)

    async def endpoint(request: Request) -> Response:
        path, solid = request.path_params["path"], request.path_params["state"] == "walletsolidity"
        if path not in answers or request.path_params["state"] not in {"wallet", "walletsolidity"}:
            page = NO_SUCH_PAGE.format(method=request.method)
            return Response(page, status_code=405, media_type="text/html;charset=iso-8859-1")
        if request.method == "GET" and path == "triggerconstantcontract":
            return Response("", media_type=JSON_TYPE)  # its servlet has no GET
        text = (await request.body()).decode("utf-8", "replace")
        query = dict(request.query_params) if request.method == "GET" else None
        return await run_in_threadpool(respond, path, solid=solid, text=text, query=query)

    async def asked(_: Request) -> Response:
        return JSONResponse(node.asked)

    return Starlette(
        routes=[
            Route("/devstack/requests", asked),
            Route("/{state}/{path}", endpoint, methods=["GET", "POST"]),
        ]
    )


if __name__ == "__main__":  # It keeps idle connections: stopped for a while, it answers when it goes on.
    url, port, lag = sys.argv[1:]
    uvicorn.run(application(TronNode(url, int(lag))), port=int(port), log_level="warning", timeout_keep_alive=3600)
