"""The devstack: its servers stop, its local Tron has a real node's shapes, its token is what its source says."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import requests
from solc import compiled
from vectors import recorded

from devstack import chain as local
from devstack import contracts
from devstack.demo import solid_block
from devstack.seed import fund, wallets
from devstack.servers import CAP, ROOT, Server, ServerFailed, anvil, redis_server, running, wait_for
from devstack.stack import SOLID_LAG, LocalChain, alone_in, base58_address, by_roles
from worker.reading.contract import encode

HOLDER = bytes.fromhex("1563915e194d8cfba1943570603f7606a3115508")
NOBODY_BASE58 = "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb"
NOTHING_THERE = "4100000000000000000000000000000000dead0001"


@pytest.mark.parametrize(("name", "code"), [("Token", contracts.TOKEN), ("Payer", contracts.PAYER)])
def test_a_contracts_bytes_are_what_its_source_compiles_to(name: str, code: str) -> None:
    assert compiled(contracts.FOLDER / f"{name}.sol", "Solidity", name).hex() == code


def test_funds_are_solidified_as_soon_as_they_are_given(tron: LocalChain) -> None:
    before = tron.chain.head()
    fund(tron, wallets(0)[:1])
    assert solid_block(tron.node.url) > before


def test_tokens_are_minted_and_move(ethereum: LocalChain) -> None:
    chain, token = ethereum.chain, ethereum.token
    holders = [(0x51_0000 + number).to_bytes(20) for number in range(300)]
    chain.mint(token, [(holder, number * 7) for number, holder in enumerate(holders)] + [(chain.owner, 100)])
    assert [chain.balance_of(token, holders[number]) for number in (0, 1, 299)] == [0, 7, 2093]
    chain.transfer(token, holders[0], 60)
    assert chain.balance_of(token, holders[0]) == 60
    with pytest.raises(local.ChainFailed):
        chain.transfer(token, holders[0], 10**18)


@pytest.fixture
def still(tmp_path: Path) -> Iterator[tuple[local.Chain, bytes]]:
    """A chain that makes blocks only when it is asked to, and its token."""
    with anvil(tmp_path, "still", 1337, 1000) as node:
        chain = local.Chain(node.url)
        chain.make_no_blocks()
        yield chain, chain.deploy_token(mined=True)


def test_a_block_is_made_of_what_several_accounts_send(still: tuple[local.Chain, bytes]) -> None:
    chain, token = still
    sender, receiver = bytes(19) + b"s", bytes(19) + b"r"
    chain.set_native([(sender, 10**18)])
    chain.mint(token, [(sender, 100)], mined=True)
    receipts = chain.make_block(
        contracts.set_fee(token, 1000, 5),
        contracts.transfer(token, receiver, 40, sender),
        contracts.transfer(token, receiver, 1000, sender),
        contracts.payment(receiver, 7, sender),
    )
    assert [receipt["status"] for receipt in receipts] == ["0x1", "0x1", "0x0", "0x1"], "more than the sender has"
    assert len({receipt["blockNumber"] for receipt in receipts}) == 1
    # Which of two senders comes first is the node's affair, and so whether the fee was there already.
    assert chain.balance_of(token, sender) == 60
    assert chain.balance_of(token, receiver) + chain.balance_of(token, chain.owner) == 41
    assert chain.native_of(receiver) == 7
    chain.make_block(contracts.destroy(token, receiver), contracts.issue(token, 50), contracts.redeem(token, 20))
    assert chain.balance_of(token, receiver) == 0
    chain.make_block(contracts.transfer(token, receiver, 30), contracts.transfer_from(token, sender, receiver, 60))
    assert chain.balance_of(token, receiver) == 27 + 55, "without a tenth, of which five are the most"


def test_blocks_are_put_in_the_place_of_others(still: tuple[local.Chain, bytes]) -> None:
    chain, token = still
    kept, gone, new = (bytes(19) + name for name in (b"k", b"g", b"n"))
    chain.mint(token, [(kept, 1)], mined=True)
    chain.mint(token, [(gone, 2)], mined=True)
    chain.mine(2)
    before = [chain.ask("eth_getBlockByNumber", hex(number), False) for number in range(chain.head() + 1)]
    chain.reorganise(3, (contracts.mint(token, [new], [3]), 1))
    after = [chain.ask("eth_getBlockByNumber", hex(number), False) for number in range(chain.head() + 1)]
    same = [one["hash"] == other["hash"] for one, other in zip(before, after, strict=True)]
    assert same == [True] * (len(before) - 3) + [False] * 3
    assert [block["parentHash"] for block in after[1:]] == [block["hash"] for block in after[:-1]]
    assert [chain.balance_of(token, each) for each in (kept, gone, new)] == [1, 0, 3]
    assert chain.balance_of(token, new, hex(chain.head() - 2)) == 0, "it is in the second of the three"


def test_the_chain_of_a_fork_goes_on_at_the_time_of_the_others(still: tuple[local.Chain, bytes]) -> None:
    """Not at that of the last block that stayed: then its blocks would be old as soon as they are there."""
    chain, _ = still

    def time_of_next() -> int:
        chain.mine()
        return int(chain.ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    first = time_of_next()
    wait_for(lambda: time_of_next() > first + 1, what="some seconds to pass", pause=0.2)
    before = time_of_next()
    chain.reorganise(chain.head() - 1)
    assert time_of_next() >= before


def test_nobody_is_let_into_its_database_without_the_password(postgres_server: Server) -> None:
    user, _, rest = postgres_server.url.removeprefix("postgresql://").partition(":")
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(f"postgresql://{user}@{rest.partition('@')[2]}")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://{user}:guessed@{rest.partition('@')[2]}")


def test_a_person_is_given_the_database_by_roles_and_never_as_the_superuser(template: str) -> None:
    shown = by_roles({"DATABASE_URL": template})
    users = {}
    for name, url in shown.items():
        with psycopg.connect(url) as connection:
            users[name] = connection.info.user
    assert users == {
        "DATABASE_URL": "bal_worker",
        "OWNER_DATABASE_URL": "bal_owner",
        "REGISTRAR_DATABASE_URL": "bal_registrar",
    }


def test_a_server_stops_with_its_block_even_when_it_hangs(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        process = psutil.Process(server.process.pid)
        process.send_signal(signal.SIGSTOP)
    assert not process.is_running()


def test_a_server_that_does_not_start_is_told_of_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    with (
        pytest.raises(ServerFailed, match=r"broken ended with code 1:\nno such luck"),
        running("broken", command, tmp_path, ready=lambda: False),
    ):
        pass


def test_nothing_survives_a_devstack_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal; from pathlib import Path; from devstack.servers import redis_server\n"
        f"with redis_server(Path({str(tmp_path)!r})) as s: print(s.process.pid, flush=True); signal.pause()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, what="the server to end")


def test_a_folder_holds_one_devstack_at_a_time(tmp_path: Path) -> None:
    with alone_in(tmp_path / "one"), pytest.raises(ServerFailed, match="another devstack"), alone_in(tmp_path / "one"):
        pass


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_servers_alone_run_until_they_are_stopped(stop: signal.Signals) -> None:
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "devstack"], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            assert process.stdout
            assert any("Ctrl-C" in line for line in process.stdout)
            children = psutil.Process(process.pid).children(recursive=True)
            assert len(children) >= 5
            process.send_signal(stop)
            process.communicate(timeout=CAP)
        finally:
            process.kill()
    assert process.returncode == 0
    assert [child for child in children if child.is_running()] == []


class Tron:
    """The local Tron, and what its real sibling answered to the same."""

    def __init__(self, chain: LocalChain) -> None:
        self.local, self.url = chain, chain.node.url
        self.token = "41" + chain.token.hex()

    def post(self, path: str, body: Any) -> Any:
        response = requests.post(self.url + path, data=body if isinstance(body, str) else json.dumps(body), timeout=CAP)
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/json;charset=utf-8"
        return response.json()

    def replay(self, number: int) -> tuple[Any, Any]:
        """A recording's request, with the recorded token in it replaced by ours: our reply and the recorded one."""
        vector = recorded("tron", number)
        text = json.dumps(vector["request"]) if not isinstance(vector["request"], str) else vector["request"]
        theirs = "2a71b2f289baa3c7aa9741c7a927c3187720af99"
        ours = self.local.token.hex()
        for old, new in ((theirs, ours), (base58_address(bytes.fromhex(theirs)), base58_address(self.local.token))):
            text = text.replace(old, new)
        return self.post(vector["path"], text), vector["response"]


@pytest.fixture(scope="module")
def node(tron: LocalChain) -> Tron:
    tron.chain.mint(tron.token, [(HOLDER, 977_000_000)])
    tron.chain.set_native([(HOLDER, 1_993_893_600)])
    funded = tron.chain.head()
    wait_for(lambda: tron.chain.head() >= funded + SOLID_LAG + 1, tron.evm, what="the funds to be solidified")
    return Tron(tron)


# Keys that the façade leaves out of what it imitates: it runs no internal transactions that anyone reads.
LEFT_OUT = {"internal_transactions"}


def shape(value: Any) -> Any:
    """Names and kinds, without the values."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in sorted(value.items()) if key not in LEFT_OUT}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


@pytest.mark.parametrize(
    "number", [1, 2, 3, 14, 15, 16, 18, 20, 30, 31, 32, 33, 34, 35, 36, 42, 49, 53, 54, 55, 56, 57, 58, 59, 61]
)
def test_a_reply_has_the_shape_of_a_real_nodes(node: Tron, number: int) -> None:
    ours, theirs = node.replay(number)
    assert shape(ours) == shape(theirs)


@pytest.mark.parametrize("number", [5, 6, 19, 21, 22, 23, 24, 25, 26, 27, 28, 29, 37, 38, 46, 47, 48, 50, 52])
def test_an_error_or_an_empty_answer_is_a_real_nodes_to_the_letter(node: Tron, number: int) -> None:
    ours, theirs = node.replay(number)
    assert ours == theirs


def test_balances_are_those_of_the_real_recording(node: Tron) -> None:
    for number in (14, 15, 16):
        ours, theirs = node.replay(number)
        assert (ours["address"], ours["balance"]) == (theirs["address"], theirs["balance"])
    for number in (30, 31, 32, 36):
        ours, theirs = node.replay(number)
        assert ours["constant_result"] == theirs["constant_result"]


def test_a_revert_has_a_true_result_and_a_message(node: Tron) -> None:
    ours, theirs = node.replay(58)
    assert (ours["result"], ours["constant_result"]) == (theirs["result"], theirs["constant_result"])


def test_a_get_of_a_constant_call_is_an_empty_answer(node: Tron) -> None:
    response = requests.get(f"{node.url}/wallet/triggerconstantcontract", timeout=CAP)
    assert (response.status_code, response.text) == (200, "")


def test_an_unknown_path_is_refused_as_a_real_node_does(node: Tron) -> None:
    response = requests.post(f"{node.url}/wallet/nope", json={}, timeout=CAP)
    assert (response.status_code, response.headers["Content-Type"]) == (405, "text/html;charset=iso-8859-1")


def test_the_solidified_state_is_behind_the_head(node: Tron) -> None:
    def number(path: str) -> int:
        return int(node.post(path, {"detail": False})["block_header"]["raw_data"]["number"])

    solid, head = number("/walletsolidity/getblock"), number("/wallet/getblock")
    assert solid < head
    # A block made now is not solidified, and a transfer in it is not seen there until it is.
    fresh = (0x52_0000).to_bytes(20)
    node.local.chain.mint(node.local.token, [(fresh, 5)])
    request = encode(node.local.token, [fresh]).hex()
    body = {"owner_address": NOBODY_BASE58, "data": request, "visible": True}
    at_head = node.post("/wallet/triggerconstantcontract", body)["constant_result"][0]
    assert int(at_head[-64:-32], 16) == 5
    solid_amount = "/walletsolidity/triggerconstantcontract"
    wait_for(
        lambda: int(node.post(solid_amount, body)["constant_result"][0][-64:-32], 16) == 5, what="it to be solidified"
    )
