"""The whole stack as one block: servers, both chains with their token, and the settings that describe it all."""

import fcntl
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import base58
import requests

from db.rights import OWNER, REGISTRAR, WORKER
from devstack.chain import Chain
from devstack.roles import as_role
from devstack.servers import CAP, ROOT, Server, ServerFailed, anvil, postgres, redis_server, tron_node

FOLDER = ROOT / ".devstack"
ETHEREUM_CHAIN_ID = 1337
TRON_CHAIN_ID = 3_735_928_559  # of nobody else's network
BLOCK_TIME = 1.0  # seconds; Ethereum has 12, Tron 3
SOLID_LAG = 2  # blocks; mainnet's solidified block is 18 to 19 behind its head


@dataclass(frozen=True, slots=True)
class LocalChain:
    """A chain, the node that a reader asks, the node that executes, and its token."""

    node: Server
    evm: Server
    chain: Chain
    token: bytes


@dataclass(frozen=True, slots=True)
class Stack:
    """Everything that runs, and the environment that tells the product's processes of it."""

    folder: Path
    postgres: Server
    redis: Server
    ethereum: LocalChain
    tron: LocalChain
    env: dict[str, str]


def node_reads(ethereum: LocalChain, tron: LocalChain) -> dict[str, int]:
    """How many calls of a contract each chain's node has answered, by its own account."""
    # anvil logs the name of each method that it is asked for.
    calls = sum(line.strip() == "eth_call" for line in ethereum.node.log.read_text(errors="replace").splitlines())
    asked = requests.get(f"{tron.node.url}/devstack/requests", timeout=CAP).json()
    return {"ethereum": calls, "tron": asked.get("triggerconstantcontract", 0)}


def base58_address(account: bytes) -> str:
    """Tron's form of an account's 20 bytes."""
    return base58.b58encode_check(b"\x41" + account).decode()


@contextmanager
def local_ethereum(folder: Path) -> Iterator[LocalChain]:
    """An Ethereum with a USDT of its own."""
    with anvil(folder, "ethereum", ETHEREUM_CHAIN_ID, BLOCK_TIME) as node:
        chain = Chain(node.url)
        yield LocalChain(node, node, chain, chain.deploy_token(mined=True))


@contextmanager
def local_tron(folder: Path) -> Iterator[LocalChain]:
    """A Tron with a USDT of its own: the façade, and the EVM node under it."""
    with anvil(folder, "tron-evm", TRON_CHAIN_ID, BLOCK_TIME) as evm, tron_node(folder, evm.url, SOLID_LAG) as node:
        chain = Chain(evm.url)
        token = chain.deploy_token(mined=True)
        chain.mine(SOLID_LAG)
        yield LocalChain(node, evm, chain, token)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for the block. Raises ServerFailed when another devstack is running in it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerFailed(f"another devstack is running in {folder.name}: stop that one first") from None
        yield


@contextmanager
def devstack(folder: Path, tell: Callable[[str], None] = print) -> Iterator[Stack]:
    """Start everything with empty data in `folder`, and stop everything at the end of the block."""
    with ExitStack() as started:
        started.enter_context(alone_in(folder))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        tell("Starting PostgreSQL …")
        database = started.enter_context(postgres(folder))
        tell("Starting Redis …")
        queue = started.enter_context(redis_server(folder))
        tell("Starting a local Ethereum, and deploying a USDT on it …")
        ethereum = started.enter_context(local_ethereum(folder))
        tell("Starting a local Tron, and deploying a USDT on it …")
        tron = started.enter_context(local_tron(folder))
        env = settings(database.url, queue.url, ethereum, tron)
        (folder / "env").touch(mode=0o600)  # it has passwords
        (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in by_roles(env).items()))
        yield Stack(folder, database, queue, ethereum, tron, env)


def by_roles(env: dict[str, str]) -> dict[str, str]:
    """What is given to a person: the database as the worker has it, and as who migrates and who keeps wallets."""
    url = env["DATABASE_URL"]
    return {
        **env,
        "DATABASE_URL": as_role(url, WORKER),
        "OWNER_DATABASE_URL": as_role(url, OWNER),
        "REGISTRAR_DATABASE_URL": as_role(url, REGISTRAR),
    }


def settings(database_url: str, redis_url: str, ethereum: LocalChain, tron: LocalChain) -> dict[str, str]:
    """The product's settings for this stack."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "ETHEREUM_RPC_URLS": ethereum.node.url,
        "ETHEREUM_CHAIN_ID": str(ETHEREUM_CHAIN_ID),
        "ETHEREUM_USDT_CONTRACT": "0x" + ethereum.token.hex(),
        "ETHEREUM_USDT_DECIMALS": "6",
        "TRON_RPC_URLS": tron.node.url,
        "TRON_CHAIN_ID": str(TRON_CHAIN_ID),
        "TRON_USDT_CONTRACT": base58_address(tron.token),
        "TRON_USDT_DECIMALS": "6",
        "JWT_ALGORITHMS": "HS256",
        "JWT_SECRET": secrets.token_hex(32),
    }
