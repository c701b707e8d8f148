"""The whole stack as one block: servers, the chains with their token, and the settings that describe it all."""

import fcntl
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
BSC_CHAIN_ID = 56  # BNB Smart Chain's own, whose USDT has 18 decimals
BSC_DECIMALS = 18
BLOCK_TIME = 1.0  # seconds; Ethereum has 12, Tron 3
ASKED_BY_THE_PRODUCT = {"eth_call", "eth_chainId", "eth_getBlockByNumber", "eth_getBlockReceipts", "eth_getLogs"}
"""Of an EVM node: its log has what the devstack asks for as well."""
SOLID_LAG = 2  # blocks; mainnet's solidified block is 18 to 19 behind its head


@dataclass(frozen=True, slots=True)
class LocalChain:
    """A chain, the node that a reader asks, the node that executes, and its token."""

    node: Server
    evm: Server
    chain: Chain
    token: bytes

    @property
    def servers(self) -> tuple[Server, ...]:
        """Its processes."""
        return (self.node,) if self.node is self.evm else (self.node, self.evm)


@dataclass(frozen=True, slots=True)
class Stack:
    """Everything that runs, and the environment that tells the product's processes of it."""

    folder: Path
    postgres: Server
    redis: Server
    ethereum: LocalChain
    tron: LocalChain
    bsc: LocalChain
    env: dict[str, str]

    @property
    def chains(self) -> dict[str, LocalChain]:
        """The chains by their networks' names."""
        return {"ethereum": self.ethereum, "tron": self.tron, "bsc": self.bsc}


def node_reads(chains: Mapping[str, LocalChain]) -> dict[str, int]:
    """How many calls of a contract each chain's node has answered, by its own account."""
    read = "triggerconstantcontract", "eth_call"
    return {network: sum(map(node_requests(chain).__getitem__, read)) for network, chain in chains.items()}


def node_requests(chain: LocalChain) -> Counter[str]:
    """How often a chain's node was asked for what the product asks for, by its own account and by methods."""
    if chain.node is not chain.evm:
        return Counter(requests.get(f"{chain.node.url}/devstack/requests", timeout=CAP).json())
    # anvil logs the name of each method that it is asked for.
    names = map(str.strip, chain.node.log.read_text(errors="replace").splitlines())
    return Counter(name for name in names if name in ASKED_BY_THE_PRODUCT)


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
def local_bsc(folder: Path) -> Iterator[LocalChain]:
    """A BNB Smart Chain with a USDT of its own. What it calls finalized is two blocks behind its head."""
    with anvil(folder, "bsc", BSC_CHAIN_ID, BLOCK_TIME, "--slots-in-an-epoch", "1") as node:
        chain = Chain(node.url)
        yield LocalChain(node, node, chain, chain.deploy_token(BSC_DECIMALS, mined=True))


@contextmanager
def local_tron(folder: Path, chain_id: int = TRON_CHAIN_ID) -> Iterator[LocalChain]:
    """A Tron with a USDT of its own: the façade, and the EVM node under it."""
    with anvil(folder, "tron-evm", chain_id, BLOCK_TIME) as evm, tron_node(folder, evm.url, SOLID_LAG) as node:
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
        tell("Starting a local BNB Smart Chain, and deploying a USDT of 18 decimals on it …")
        bsc = started.enter_context(local_bsc(folder))
        env = settings(database.url, queue.url, ethereum, tron) | settings_of_bsc(bsc)
        (folder / "env").touch(mode=0o600)  # it has passwords
        (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in by_roles(env).items()))
        yield Stack(folder, database, queue, ethereum, tron, bsc, env)


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
        "OPS_TOKEN": secrets.token_hex(16),
    }


def settings_of_bsc(bsc: LocalChain) -> dict[str, str]:
    """The settings of the third network: its facts are in the product's own table, its token here is another one."""
    return {
        "BSC_RPC_URLS": bsc.node.url,
        "BSC_USDT_CONTRACT": "0x" + bsc.token.hex(),
        "BSC_USDT_DECIMALS": str(BSC_DECIMALS),
    }
