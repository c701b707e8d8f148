"""The contract's own user, two thousand wallets more on both of its chains, and some whose USDT has 18 decimals."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

import base58
import psycopg

from db.rights import REGISTRAR
from devstack.roles import as_role
from devstack.stack import SOLID_LAG, LocalChain, Stack, base58_address

USER = UUID("5c81c005-1c52-4e0d-85e2-862ee1cdd4d0")
TRON_WALLET = UUID("fae48f4b-9aa3-44db-9011-c4f6b91aeb0e")
ETHEREUM_WALLET = UUID("de755c09-27e0-41cd-a791-41c5c858459c")
TRON_ADDRESS = "TAVFvX9tToo1UJ2h7j47jVkgQjZa8LarY8"
ETHEREUM_ADDRESS = "0x17F4552b0c47F24F88B9569E6305413c5ff5370d"
MORE_PER_CHAIN = 1000
CROWDS = {"tron": 600, "ethereum": 6400}
BSC_USER = UUID("0b5c56aa-5d2c-4f7f-9a43-6f0f3e8d5618")
BSC_WALLETS = 100
WALLETS_PER_USER = 4


@dataclass(frozen=True, slots=True)
class SeededWallet:
    """A wallet and what it holds on its chain, in base units."""

    id: UUID
    user_id: UUID
    network: str
    address: str
    account: bytes
    usdt: int
    native: int


def wallets(per_chain: int = MORE_PER_CHAIN) -> list[SeededWallet]:
    """The contract's wallets, the older one first, and more on each chain. The same at each call but for ids."""
    dice = random.Random(977)  # noqa: S311  the same balances at each run
    tron = base58.b58decode_check(TRON_ADDRESS)[1:]
    ethereum = bytes.fromhex(ETHEREUM_ADDRESS[2:])
    seeded = [
        SeededWallet(TRON_WALLET, USER, "tron", TRON_ADDRESS, tron, 977_000_000, 1_993_893_600),
        SeededWallet(ETHEREUM_WALLET, USER, "ethereum", ETHEREUM_ADDRESS, ethereum, 0, 0),
    ]
    users = [uuid4() for _ in range(2 * per_chain // WALLETS_PER_USER + 1)]
    for number in range(2 * per_chain):
        network, account = ("tron", "ethereum")[number % 2], dice.randbytes(20)
        address = base58_address(account) if network == "tron" else "0x" + account.hex()
        usdt, native = dice.randrange(10**13), dice.randrange(10**10 if network == "tron" else 10**20)
        user = users[number // WALLETS_PER_USER]
        seeded.append(SeededWallet(uuid4(), user, network, address, account, usdt, native))
    return seeded


def crowds() -> list[SeededWallet]:
    """So many more on both chains that following blocks is cheaper there than to read all wallets once a block."""
    dice = random.Random(1)  # noqa: S311  the same balances at each run
    made = []
    for network, count in CROWDS.items():
        for _ in range(count):
            account = dice.randbytes(20)
            address = base58_address(account) if network == "tron" else "0x" + account.hex()
            made.append(SeededWallet(uuid4(), uuid4(), network, address, account, dice.randrange(10**9), 0))
    return made


def bsc_wallets() -> list[SeededWallet]:
    """Wallets on BNB Smart Chain, the first one of a user of its own. The same at each call but for ids."""
    dice = random.Random(56)  # noqa: S311  the same balances at each run
    accounts = [dice.randbytes(20) for _ in range(BSC_WALLETS)]
    users = [BSC_USER, *(uuid4() for _ in accounts[1:])]
    amounts = [(1_234_567_890_123_456_789_012, 250_000_000_000_000_000)]
    amounts += [(dice.randrange(10**25), dice.randrange(10**20)) for _ in accounts[1:]]
    return [
        SeededWallet(uuid4(), user, "bsc", "0x" + account.hex(), account, usdt, native)
        for user, account, (usdt, native) in zip(users, accounts, amounts, strict=True)
    ]


def fund(chain: LocalChain, seeded: list[SeededWallet]) -> None:
    """Give wallets their balances on one chain, in its solidified state too: the blocks for that are made at once."""
    chain.chain.mint(chain.token, [(wallet.account, wallet.usdt) for wallet in seeded if wallet.usdt], mined=True)
    chain.chain.set_native([(wallet.account, wallet.native) for wallet in seeded])
    chain.chain.mine(1 + SOLID_LAG)


def fund_all(chains: Mapping[str, LocalChain], seeded: list[SeededWallet]) -> None:
    """The same on several chains, each by its network's name."""
    for network, chain in chains.items():
        fund(chain, [wallet for wallet in seeded if wallet.network == network])


def seed(stack: Stack, seeded: list[SeededWallet]) -> None:
    """Fund the wallets on their chains, and insert them as an API does: with plain SQL."""
    fund_all(stack.chains, seeded)
    insert(stack.env["DATABASE_URL"], seeded)


def insert(database_url: str, seeded: list[SeededWallet]) -> None:
    """Insert wallets with plain SQL, as a company's own backend does, the first one as the oldest."""
    url = as_role(database_url, REGISTRAR)
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for some in (seeded[:1], seeded[1:]):  # what is sent together is created at one moment
            cursor.executemany(
                "INSERT INTO wallets (id, user_id, network, address) VALUES (%s, %s, %s, %s)",
                [(wallet.id, wallet.user_id, wallet.network, wallet.address) for wallet in some],
            )
