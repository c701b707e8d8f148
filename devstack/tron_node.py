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

import requests
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devstack import tron_history
from devstack.tron_forms import (
    Body,
    Reply,
    account_of,
    calldata,
    called,
    frozen,
    is_visible,
    not_json,
    shown,
    transaction,
    trouble,
)

JSON_TYPE = "application/json;charset=utf-8"
NO_SUCH_PAGE = "<html><title>Error 405 HTTP method {method} is not supported by this URL</title></html>\n"
PERMISSION = {"threshold": 1}
MOST_BLOCKS = 100  # that java-tron gives in one reply

Answer = Callable[..., Body | list[Body]]


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
        full = is_true(body.get("detail"))
        visible = is_visible(body)
        if not wanted:
            return self._block(self.state(solid=solid), full=full, visible=visible)
        if len(wanted) == 64:  # noqa: PLR2004  a block id, whose first eight bytes are its number
            block = self._block(hex(int(wanted[:16], 16)), full=full, visible=visible)
            return block if block.get("blockID") == wanted else {}
        if not wanted.lstrip("-").isdecimal():
            return {"Error": "id must be legal block hash."}
        if wanted.startswith("-"):
            return {"Error": "num must be non-positive number."}
        newest = int(self.state(solid=solid), 16)
        return self._block(hex(int(wanted)), full=full, visible=visible) if int(wanted) <= newest else {}

    def get_now_block(self, body: Body, *, solid: bool) -> Body:
        return self._block(self.state(solid=solid), full=True, visible=is_visible(body))

    def get_block_by_num(self, body: Body, *, solid: bool) -> Body:
        (block,) = self._blocks(number_of(body, "num"), 1, body, solid=solid)
        return block

    def get_blocks_by_limit(self, body: Body, *, solid: bool) -> Body:
        """Blocks from `startNum` to the one before `endNum`, as far as there are any yet."""
        start, end = number_of(body, "startNum"), number_of(body, "endNum")
        if not 0 <= start < end <= start + MOST_BLOCKS:
            return {}
        blocks = [block for block in self._blocks(start, end - start, body, solid=solid) if block]
        return {"block": blocks} if blocks else {}

    def _blocks(self, start: int, count: int, body: Body, *, solid: bool) -> list[Body]:
        """So many blocks, each of them empty that is not there in this state yet."""
        newest, visible = int(self.state(solid=solid), 16), is_visible(body)
        wanted = range(start, start + count)
        return [self._block(hex(each), full=True, visible=visible) if 0 <= each <= newest else {} for each in wanted]

    def get_infos(self, body: Body, *, solid: bool) -> Body | list[Body]:
        """What came of the transactions of a block: nothing, as java-tron says it, of one that is not there yet."""
        number = number_of(body, "num")
        if number <= 0:
            return {}
        block = self._full(hex(number)) if number <= int(self.state(solid=solid), 16) else None
        if not block or not block["transactions"]:
            return []
        traced = self.evm("debug_traceBlockByHash", block["hash"], {"tracer": "callTracer"}).get("result") or []
        traces = {each["txHash"]: each["result"] for each in traced}
        if len(traces) < len(block["transactions"]):
            return []  # it was replaced
        return tron_history.infos(block, traces, self._contracts(block), visible=is_visible(body))

    def _full(self, number: str) -> Body | None:
        """A block of the EVM node with its transactions, and with their receipts in them."""
        block: Body | None = self.evm("eth_getBlockByNumber", number, True)["result"]
        if block is None:
            return None
        receipts = self.evm("eth_getBlockReceipts", block["hash"])["result"] if block["transactions"] else []
        return None if receipts is None else tron_history.with_receipts(block, receipts)  # None: it was replaced

    def _contracts(self, block: Body) -> set[str]:
        """Which of those that a block's transactions are sent to have code."""
        sent_to = {each["to"] for each in block["transactions"] if each["to"]}
        return {each for each in sent_to if self.evm("eth_getCode", each, "latest")["result"] != "0x"}

    def _block(self, number: str, *, full: bool, visible: bool) -> Body:
        block = self._full(number) if full else self.evm("eth_getBlockByNumber", number, False)["result"]
        if block is None:
            return {}
        height = int(number, 16)
        told = tron_history.header(
            block, self._hash(height, block["hash"]), self._hash(height - 1, block["parentHash"])
        )
        if full and block["transactions"]:
            told["transactions"] = tron_history.transactions(block, self._contracts(block), visible=visible)
        return told

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


def number_of(body: Body, key: str) -> int:
    """A number of a request; java-tron takes one that is left out for zero."""
    try:
        return int(body.get(key) or 0)
    except ValueError as error:
        raise Reply({"Error": f"class java.lang.NumberFormatException : {error}"}) from error


def is_true(value: Any) -> bool:
    """Whether a request's yes or no is a yes: in a query it is a word."""
    return value in {True, "true"}


def application(node: TronNode) -> Starlette:
    """The paths of java-tron that the façade has, on both states, and its own count of requests."""
    answers: dict[str, Answer] = {
        "getaccount": node.get_account,
        "getblock": node.get_block,
        "getblockbylimitnext": node.get_blocks_by_limit,
        "getblockbynum": node.get_block_by_num,
        "getnowblock": node.get_now_block,
        "gettransactioninfobyblocknum": node.get_infos,
        "triggerconstantcontract": node.trigger,
    }

    def respond(path: str, *, solid: bool, text: str, query: Body | None) -> Response:
        node.asked[path] += 1
        try:
            body = query if query is not None else json.loads(text)
            reply: Body | list[Body] = answers[path](body if isinstance(body, dict) else {}, solid=solid)
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
