"""Users and a chain that go on while a deployment is changed: requests, transfers, new wallets."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import requests
from compose.daemon import CommandFailedError
from compose.deployment import Deployment

from devstack.chain import Chain


@dataclass
class Wallets:
    """Wallets and what each holds on the chain. One thread changes them, others look."""

    deployment: Deployment
    chain: Chain
    token: bytes
    user: str = field(default_factory=lambda: str(uuid4()))
    held: dict[bytes, int] = field(default_factory=dict)

    def add(self, count: int) -> None:
        """Insert so many, with balances. Repeated until the database takes them, as a backend does."""
        dice = random.Random(len(self.held))
        new = {dice.randbytes(20): dice.randrange(1, 10**12) for _ in range(count)}
        self.chain.mint(self.token, new.items())
        rows = ", ".join(f"('{self.user}', 'ethereum', '0x{account.hex()}')" for account in new)
        statement = f"INSERT INTO wallets (user_id, network, address) VALUES {rows} ON CONFLICT DO NOTHING"
        while True:
            try:
                self.deployment.sql(f"SET ROLE bal_registrar; {statement}")
                break
            except CommandFailedError:
                time.sleep(0.5)
        self.held |= new

    def pay(self, account: bytes, value: int) -> None:
        """Move some USDT to a wallet."""
        self.chain.mint(self.token, [(account, value)])
        self.held[account] += value

    def wrong(self) -> list[str]:
        """Wallets whose balance in the table is not the chain's, or which were never read."""
        rows = self.deployment.sql(
            "SELECT w.address, b.usdt_balance FROM wallets w LEFT JOIN balance_cache b ON b.wallet_id = w.id"
        )
        shown = dict(line.split("|") for line in rows.splitlines())
        return [
            f"0x{account.hex()}: {shown.get(f'0x{account.hex()}')}, and not {value}"
            for account, value in self.held.items()
            if shown.get(f"0x{account.hex()}") != str(value)
        ]


@dataclass
class Seen:
    """What users were answered: how often each status (0: nobody listened), and balances that cannot be."""

    answers: Counter[int] = field(default_factory=Counter)
    impossible: list[str] = field(default_factory=list)
    silent: float = 0.0
    """The longest time without a 200, in seconds."""

    @property
    def faults(self) -> list[int]:
        """Statuses that users must not see: an error of ours that is no `try again`."""
        return [status for status in self.answers if status not in (0, 200, 503)]


@contextmanager
def users(wallets: Wallets, url: str, token: str) -> Iterator[Seen]:
    """Somebody who looks at his balances again and again, while wallets are added and paid to."""
    seen, over = Seen(), threading.Event()
    threads = [
        threading.Thread(target=_look, args=(wallets, url, token, seen, over)),
        threading.Thread(target=_trade, args=(wallets, over)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _look(wallets: Wallets, url: str, token: str, seen: Seen, over: threading.Event) -> None:
    last = time.monotonic()
    totals = {f"0x{account.hex()}".lower(): value for account, value in wallets.held.items()}
    while not over.wait(0.1):
        try:
            reply = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        except requests.RequestException:
            seen.answers[0] += 1
            continue
        seen.answers[reply.status_code] += 1
        if not reply.ok:
            continue
        seen.silent, last = max(seen.silent, time.monotonic() - last), time.monotonic()
        # Wallets only gain: one that shows less than it had when this began was changed by somebody.
        for each in reply.json()["balances"]:
            had, shown = totals.get(each["wallet_address"].lower()), each["usdt_balance"]
            if had is not None and shown is not None and round(float(shown) * 10**6) < had:
                seen.impossible.append(f"{each['wallet_address']} shows {shown}, and had {had}")


def _trade(wallets: Wallets, over: threading.Event) -> None:
    dice = random.Random(17)
    while not over.wait(0.5):
        wallets.pay(dice.choice(list(wallets.held)), dice.randrange(1, 10**6))
        if dice.random() < 0.25:
            wallets.add(3)
