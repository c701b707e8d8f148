"""The tasks: ids in, load, call, done. Each may run twice, late, or not at all; Postgres knows what is to be done."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from time import sleep
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from config.broker import REFRESH_QUEUE
from config.settings import NETWORKS, Network, worker_settings
from db.session import transaction
from db.wallets import Requested, request_user, request_wallets
from worker.app import app
from worker.chains import reader_for
from worker.dispatch import dispatch
from worker.errors import BadArgument, NotConfigured
from worker.sync import sync_due, sync_these

NO_COOLDOWN = timedelta(0)
LOCKED_PAUSE = 0.02  # seconds; a worker locks the rows that it writes for some milliseconds

EXPECTED = (BadArgument, NotConfigured)
"""What is wrong with a message or the settings, not with the code: logged as one line, without a traceback."""


@app.task(throws=EXPECTED)
def dispatch_due_wallets() -> None:
    """Beat's tick: a message for each batch that is due."""
    dispatch()


@app.task(throws=EXPECTED)
def sync_due_wallets(network: str) -> None:
    """Sync one batch of what is due on a network."""
    known = _network(network)
    _send_again(known, sync_due(known))


@app.task(throws=EXPECTED)
def sync_wallets(network: str, wallet_ids: list[str]) -> None:
    """Sync those of these wallets that are due or asked for."""
    _sync(_network(network), [_uuid(wallet_id) for wallet_id in _list(wallet_ids)])


@app.task(throws=EXPECTED)
def sync_wallet(wallet_id: str) -> None:
    """Sync one wallet now, whenever it was read last."""
    wanted = _uuid(wallet_id)
    _sync_requested(lambda connection: request_wallets(connection, [wanted], cooldown=NO_COOLDOWN), NO_COOLDOWN)


@app.task(throws=EXPECTED)
def refresh_user(user_id: str, networks: list[str] | None = None) -> None:
    """Sync a user's wallets now, on these networks or on all, but for those read within the cool-down."""
    user = _uuid(user_id)
    wanted = NETWORKS if networks is None else tuple(_network(network) for network in _list(networks))
    cooldown = timedelta(seconds=worker_settings().refresh_cooldown)
    _sync_requested(lambda connection: request_user(connection, user, wanted, cooldown=cooldown), cooldown)


def _sync_requested(request: Callable[[Connection], Requested], cooldown: timedelta) -> None:
    """Make a request, and sync what it asks for. A row that is being written is asked for again when it is free."""
    with transaction() as connection:
        found = request(connection)
    asked = dict(found.networks)
    while found.locked:
        sleep(LOCKED_PAUSE)
        with transaction() as connection:
            found = request_wallets(connection, found.locked, cooldown=cooldown)
        asked |= found.networks
    for network in worker_settings().networks:
        _sync(network, [wallet_id for wallet_id, of in asked.items() if of == network])


def _sync(network: Network, wallet_ids: list[UUID]) -> None:
    if not wallet_ids:
        return
    size = reader_for(network).max_wallets
    for start in range(0, len(wallet_ids), size):
        _send_again(network, sync_these(network, wallet_ids[start : start + size]))


def _send_again(network: Network, wallet_ids: Sequence[UUID]) -> None:
    """Wallets that were asked for while they were being read are read again, before anything that is merely due."""
    if wallet_ids:
        sync_wallets.apply_async(args=(network, [str(wallet) for wallet in wallet_ids]), queue=REFRESH_QUEUE)


def _network(value: Any) -> Network:
    for network in NETWORKS:
        if value == network:
            return network
    raise BadArgument(f"a network is one of {', '.join(NETWORKS)}, not {value!r:.40}")


def _uuid(value: Any) -> UUID:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise BadArgument(f"an id is a UUID, not {value!r:.80}") from None


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise BadArgument(f"a list is asked for, not {value!r:.80}")
    return value
