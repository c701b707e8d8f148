"""The floor: the least that any program must do to bring wallets' balances from a node into Postgres.

Raw HTTP, the words decoded by a straight loop, one bulk upsert for each batch. No claim, no schedule, no checks, no
queue, no endpoints to choose from.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import psycopg

from benchmarks.stage import Wallet
from worker.reading.contract import HEADER, READER, REVERTING_READER, WORD

UPSERT = """
INSERT INTO balance_cache (wallet_id, usdt_balance, native_balance, block_number, block_time, finality, last_synced)
SELECT wallet_id, usdt, native, %(block)s, to_timestamp(%(time)s), 'latest', now()
  FROM unnest(%(ids)s::uuid[], %(usdt)s::numeric[], %(native)s::numeric[]) AS o (wallet_id, usdt, native)
    ON CONFLICT (wallet_id) DO UPDATE
   SET usdt_balance = EXCLUDED.usdt_balance, native_balance = EXCLUDED.native_balance,
       block_number = EXCLUDED.block_number, block_time = EXCLUDED.block_time, last_synced = EXCLUDED.last_synced
"""

TOKEN = bytes(20)


def build(accounts: Sequence[bytes], *, reverts: bool) -> bytes:
    """A read's init code by joining its parts."""
    return b"".join((REVERTING_READER if reverts else READER, bytes(12), TOKEN, *accounts))


def decode(reply: bytes) -> list[tuple[int, int]]:
    """A read's balances by a straight loop over the bytes."""
    balances = []
    for at in range(HEADER, len(reply), WORD):
        balances.append((int.from_bytes(reply[at : at + 16]), int.from_bytes(reply[at + 16 : at + 32])))  # noqa: PERF401
    return balances


@dataclass(slots=True)
class Floor:
    """The program, with its connections open."""

    node: HTTPConnection
    database: "psycopg.Connection[Any]"

    @classmethod
    def at(cls, node_url: str, database_url: str) -> "Floor":
        parts = urlsplit(node_url)
        return cls(HTTPConnection(str(parts.hostname), parts.port), psycopg.connect(database_url, autocommit=True))

    def run(self, network: str, wallets: Sequence[Wallet], size: int) -> None:
        """One pass over these wallets."""
        for batch in (wallets[at : at + size] for at in range(0, len(wallets), size)):
            code = build([account for _, account in batch], reverts=network == "ethereum").hex()
            words = self.ethereum(code) if network == "ethereum" else self.tron(code)
            self.write(batch, bytes.fromhex(words))

    def ethereum(self, code: str) -> str:
        asked = '{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"data":"0x' + code + '"},"latest"]}'
        digits: str = self.ask("/", asked)["error"]["data"]
        return digits[2:]

    def tron(self, code: str) -> str:
        asked = '{"owner_address":"' + "41" + "00" * 20 + '","data":"' + code + '"}'
        digits: str = self.ask("/walletsolidity/triggerconstantcontract", asked)["constant_result"][0]
        return digits

    def ask(self, path: str, body: str) -> Any:
        self.node.request("POST", path, body, {"Content-Type": "application/json"})
        return json.loads(self.node.getresponse().read())

    def write(self, batch: Sequence[Wallet], reply: bytes) -> None:
        balances = decode(reply)
        self.database.execute(
            UPSERT,
            {
                "block": int.from_bytes(reply[:32]),
                "time": int.from_bytes(reply[32:64]),
                "ids": [wallet for wallet, _ in batch],
                "usdt": [str(usdt) for usdt, _ in balances],
                "native": [str(native) for _, native in balances],
            },
        )
