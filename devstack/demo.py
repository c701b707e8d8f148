"""The main job, end to end, before one's eyes: ``make demo``, and the same stack left running: ``make up``."""

import json
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import requests

from api.openapi import EXAMPLE
from devstack.arrivals import show_arrival, show_policies
from devstack.product import Product, check, migrate, product, token
from devstack.roles import make_roles
from devstack.saying import DemoFailed, step
from devstack.seed import (
    BSC_USER,
    ETHEREUM_WALLET,
    TRON_WALLET,
    USER,
    SeededWallet,
    bsc_wallets,
    crowds,
    seed,
    wallets,
)
from devstack.servers import CAP, Server, ServerFailed, wait_for
from devstack.stack import FOLDER, Stack, by_roles, devstack, node_reads

OF_18_DECIMALS = ("1234.56789012", "0.25000000")
"""What the endpoint shows of 1,234.567890123456789012 USDT and 0.25 BNB: eight places, cut off and never rounded up."""
COOLDOWN = timedelta(seconds=6)  # the default, and a second that last_synced does not show

PATIENCE = {"REFRESH_DEADLINE": "60"}  # a refresh is shown that was waited for, on a slow machine too


def demo(folder: Path = FOLDER / "demo", more: Mapping[str, str] = PATIENCE) -> None:
    """Run the whole demonstration, with some settings of the product changed. Raises DemoFailed or ServerFailed."""
    began = time.monotonic()
    with devstack(folder, tell=step) as stack:
        stack.env.update(more)
        seeded = prepare(stack)
        step("Checking the configuration: celery -A worker check …")
        print("".join(f"  {line}\n" for line in check(stack.env).splitlines()), end="", flush=True)
        before = node_reads(stack.chains)
        step("Starting the worker, beat, the API and the operator's page …")
        with product(stack.folder, stack.env) as running:
            step("Waiting until every wallet has been read …")
            await_all_read(stack, running, seeded)
            check_all(stack, seeded)
            tell_of_page(stack, running)
            step("The endpoint's reply for the contract's user:")
            first = ask(stack, running.api, "")
            show(first)
            check_reply(first)
            show_18_decimals(stack, running.api)
            show_policies(stack, running)
            for network, wallet_id, place in (("tron", TRON_WALLET, 0), ("ethereum", ETHEREUM_WALLET, 1)):
                show_arrival(stack, running, network, wallet_id)
                show(ask(stack, running.api, ""), only=place)
            show_refresh(stack, running)
            print_table(stack, before, seeded, time.monotonic() - began)
        step("Stopping everything …")


def prepare(stack: Stack) -> list[SeededWallet]:
    """A migrated database with wallets, funded on their chains."""
    step("Migrating the database …")
    migrate(stack.env)
    seeded = [*wallets(), *crowds(), *bsc_wallets()]
    step(f"Seeding {len(seeded):,} wallets: balances on the chains, rows with plain SQL …")
    seed(stack, seeded)
    return seeded


def await_all_read(stack: Stack, running: Product, seeded: list[SeededWallet]) -> None:
    """Wait until each wallet has a row in the cache, and show how far it is."""
    with psycopg.connect(stack.env["DATABASE_URL"], autocommit=True) as connection:
        shown = -1

        def all_read() -> bool:
            nonlocal shown
            row = connection.execute("SELECT count(*) FROM balance_cache").fetchone()
            read: int = row[0] if row else 0
            if read != shown:
                shown = read
                print(f"  {read:>6,} of {len(seeded):,} wallets read", flush=True)
            return read >= len(seeded)

        wait_for(all_read, *running.processes, what="every wallet to be read")


def check_all(stack: Stack, seeded: list[SeededWallet]) -> None:
    """Every row of the cache is what the chain was given. Raises DemoFailed."""
    with psycopg.connect(stack.env["DATABASE_URL"], autocommit=True) as connection:
        rows = connection.execute("SELECT wallet_id, usdt_balance, native_balance FROM balance_cache").fetchall()
    cached = {wallet_id: (int(usdt), int(native)) for wallet_id, usdt, native in rows}
    wrong = [wallet.id for wallet in seeded if cached.get(wallet.id) != (wallet.usdt, wallet.native)]
    if wrong:
        raise DemoFailed(f"{len(wrong)} wallets have a wrong balance, {wrong[0]} among them")
    print(f"  all {len(seeded):,} balances are those that the chains have", flush=True)


def ask(stack: Stack, api: Server, query: str, user: UUID = USER) -> dict[str, Any]:
    """The endpoint's reply for a user, the contract's own by default."""
    url = f"{api.url}/api/v1/auth/balances/user/{user}{query}"
    response = requests.get(url, headers={"Authorization": f"Bearer {token(stack.env, user)}"}, timeout=CAP)
    if not response.ok:
        raise DemoFailed(f"the endpoint answered {response.status_code}: {response.text}")
    body: dict[str, Any] = response.json()
    return body


def check_reply(body: dict[str, Any]) -> None:
    """The reply equals the contract's example but for its times. Raises DemoFailed."""
    if json.dumps(without_times(body)) != json.dumps(without_times(EXAMPLE)):
        raise DemoFailed("the reply is not the contract's example")
    print("  equal to the contract's example, but for the times", flush=True)


def show_18_decimals(stack: Stack, api: Server) -> None:
    """A token of other decimals is shown in the same form. Raises DemoFailed."""
    step("The endpoint's reply for a user whose USDT has 18 decimals, on BNB Smart Chain:")
    reply = ask(stack, api, "", BSC_USER)
    show(reply)
    (entry,) = reply["balances"]
    if (entry["network"], entry["usdt_balance"], entry["native_balance"]) != ("bsc", *OF_18_DECIMALS):
        raise DemoFailed(f"expected {OF_18_DECIMALS} on bsc")


def without_times(body: dict[str, Any]) -> dict[str, Any]:
    """A reply with its times masked."""
    entries = [{**entry, "last_synced": "…"} for entry in body["balances"]]
    return {**body, "balances": entries, "synced_at": "…"}


def show_refresh(stack: Stack, running: Product) -> None:
    """Ask for a read of the chain, as an API does for whoever does not trust the cache. Raises DemoFailed."""
    step("Waiting until the wallet was last read more than REFRESH_COOLDOWN (5 s) ago …")
    cached = ask(stack, running.api, "")["balances"][0]
    read_at = datetime.fromisoformat(cached["last_synced"])
    wait_for(lambda: datetime.now(UTC) - read_at > COOLDOWN, what="the cool-down to pass")
    step("With refresh=true the endpoint waits until the chain has been asked:")
    fresh = ask(stack, running.api, "?refresh=true")
    show(fresh, only=0)
    seen = [(each["usdt_balance"], each["is_cached"]) for each in (cached, fresh["balances"][0])]
    if seen != [(cached["usdt_balance"], True), (cached["usdt_balance"], False)]:
        raise DemoFailed(f"expected the same balance from the cache and from the chain, got {seen}")


def solid_block(url: str) -> int:
    """The number of the local Tron's newest solidified block."""
    block = requests.post(f"{url}/walletsolidity/getblock", json={"detail": False}, timeout=CAP).json()
    return int(block["block_header"]["raw_data"].get("number", 0))


def show(body: dict[str, Any], only: int | None = None) -> None:
    """Print a reply, or one of its wallets."""
    shown = body if only is None else body["balances"][only]
    print("\n".join("  " + line for line in json.dumps(shown, indent=2).splitlines()), flush=True)


def print_table(stack: Stack, before: dict[str, int], seeded: list[SeededWallet], seconds: float) -> None:
    """What happened, in a few numbers."""
    reads = {network: count - before[network] for network, count in node_reads(stack.chains).items()}
    print(f"\n  {'network':<10} {'wallets':>8} {'reads of its node':>22}")
    for network in stack.chains:
        count = sum(wallet.network == network for wallet in seeded)
        print(f"  {network:<10} {count:>8,} {reads[network]:>22}")
    print(f"  in {seconds:.0f} seconds, with everything started from nothing\n", flush=True)


def up() -> None:
    """The same stack, left running until Ctrl-C."""
    with devstack(FOLDER / "up", tell=step) as stack:
        seeded = prepare(stack)
        step("Starting the worker, beat, the API and the operator's page …")
        with product(stack.folder, stack.env) as running:
            await_all_read(stack, running, seeded)
            url = f"{running.api.url}/api/v1/auth/balances/user/{USER}"
            step("Running. Settings are in .devstack/up/env, logs in .devstack/up/*.log")
            shown = by_roles(stack.env)
            for name in ("REGISTRAR_DATABASE_URL", "REDIS_URL", "ETHEREUM_RPC_URLS", "TRON_RPC_URLS", "BSC_RPC_URLS"):
                print(f"  {name:<22} {shown[name]}")
            tell_of_page(stack, running)
            print(f"\n  curl -H 'Authorization: Bearer {token(stack.env, USER, 86400)}' \\\n    '{url}?refresh=true'\n")
            step("Ctrl-C stops everything.")
            wait_until_stopped(running)
            step("Stopping everything …")


def tell_of_page(stack: Stack, running: Product) -> None:
    """Where an operator looks, and what a browser asks for there."""
    token = stack.env["OPS_TOKEN"]
    print(f"\n  The operator's page: {running.ops.url}/ (any user, password {token}); {running.ops.url}/metrics\n")


def wait_until_stopped(running: Product) -> None:
    """Return at Ctrl-C or a request to stop. Raises ServerFailed when a process ends by itself."""
    with suppress(KeyboardInterrupt):
        while True:
            for server in running.processes:
                server.check()
            time.sleep(0.5)


def serve() -> None:
    """The servers and chains alone."""
    with devstack(FOLDER / "servers", tell=step) as stack, suppress(KeyboardInterrupt):
        make_roles(stack.env["DATABASE_URL"])
        step("Running; the product's settings for it are in .devstack/servers/env:")
        print("\n".join(f"  {name}={value}" for name, value in by_roles(stack.env).items()), flush=True)
        step("Ctrl-C stops everything.")
        while True:
            for server in (
                stack.postgres,
                stack.redis,
                *(each for chain in stack.chains.values() for each in chain.servers),
            ):
                server.check()
            time.sleep(0.5)


COMMANDS = {"": serve, "demo": demo, "up": up}


def main(arguments: list[str]) -> int:
    """Run a command; its exit code."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell starts what runs in its background with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    command = COMMANDS.get(" ".join(arguments))
    if command is None:
        print(f"python -m devstack [{' | '.join(name for name in COMMANDS if name)}]", file=sys.stderr)
        return 2
    try:
        command()
    except (DemoFailed, ServerFailed) as error:
        print(f"\nFailed: {error}\nThe logs are in .devstack/*/*.log", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0
