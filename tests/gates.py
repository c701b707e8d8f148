"""What stands before a node: it counts whose balances are asked for, shows a chain some blocks behind, or hangs."""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from market import MARK
from proxy import Exchange, Proxy, passed_on, proxy

from devstack.chain import Chain

ACCOUNT = re.compile(MARK.hex() + r"[0-9a-f]{24}")


class Gate:
    """Stands before one node, and has it hang or lag when it is told to."""

    def __init__(self, behind_proxy: Proxy, *, lags: int = 0) -> None:
        self.proxy, self.lags = behind_proxy, lags
        self.reads_lag = 0  # blocks, more than the node's blocks do
        self.reads: Counter[str] = Counter()
        self._lock, self._open = threading.Lock(), threading.Event()
        self._open.set()
        behind_proxy.fault = self._pass

    @contextmanager
    def hung(self) -> Iterator[None]:
        """For the block requests are taken and not answered."""
        self._open.clear()
        try:
            yield
        finally:
            self.let_through()

    def let_through(self) -> None:
        """What waits here goes on."""
        self._open.set()

    def _pass(self, exchange: Exchange) -> None:
        asked = exchange.body.decode()
        with self._lock:
            self.reads.update(ACCOUNT.findall(asked))
        self._open.wait()
        method = exchange.json.get("method")
        lags = self.lags + (self.reads_lag if method == "eth_call" else 0)
        if lags and method in {"eth_call", "eth_getBlockByNumber"}:
            newest = Chain(self.proxy.node).head() - lags
            parameters, place = exchange.json["params"], int(method == "eth_call")
            if parameters[place] == "latest":
                parameters[place] = hex(newest)
            elif int(parameters[place], 16) > newest:
                exchange.send({"jsonrpc": "2.0", "id": exchange.json["id"], "result": None})
                return
            exchange.body = json.dumps(exchange.json).encode()
        passed_on(exchange)


@contextmanager
def gates(*nodes: tuple[str, int]) -> Iterator[list[Gate]]:
    """A gate before each of these nodes, given by the URL and by how many blocks it lags."""
    with ExitStack() as opened:
        made = []
        for url, lags in nodes:
            made.append(Gate(opened.enter_context(proxy(url)), lags=lags))
        yield made
        for gate in made:
            gate.let_through()
