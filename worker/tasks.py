"""The tasks: ids in, load, call, done. Each may run twice, late, or not at all; Postgres knows what is to be done."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import structlog
from celery import Task
from kombu.exceptions import OperationalError
from sqlalchemy import Connection

from config.broker import REFRESH_QUEUE
from config.networks import NetworkName
from config.settings import NETWORKS, worker_settings
from db.claims import Requested, request_user, request_wallets
from db.requests import LOCKED_PAUSE
from db.session import transaction
from worker.app import app
from worker.errors import BadArgument, NotConfigured
from worker.reading import reader_for
from worker.schedule.dispatch import dispatch
from worker.sync.batch import sync_due, sync_these

log = structlog.get_logger(__name__)

NO_COOLDOWN = timedelta(0)

EXPECTED = (BadArgument, NotConfigured)
"""What is wrong with a message or the settings, not with the code: logged as one line, without a traceback."""


Batch = tuple[NetworkName, Sequence[UUID]]


class Refusing(Task[Any, Any]):
    """A task that is sent too few arguments, too many or unknown ones says so like one that is sent wrong ones."""

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:  # noqa: ARG002
        try:
            self.__header__(*args, **kwargs)  # type: ignore[attr-defined]  # the decorator makes it
        except TypeError as error:
            raise BadArgument(f"{error!s:.120}") from None


@app.task(base=Refusing, throws=EXPECTED)
def dispatch_due_wallets() -> None:
    """Beat's tick: a message for each batch that is due."""
    dispatch()


@app.task(base=Refusing, throws=EXPECTED)
def sync_due_wallets(network: str) -> None:
    """Sync one batch of what is due on a network."""
    known = _network(network)
    _send([(known, sync_due(known))])


@app.task(base=Refusing, throws=EXPECTED)
def sync_wallets(network: str, wallet_ids: list[str]) -> None:
    """Sync those of these wallets that are due or asked for."""
    known, wallets = _first_batch(_network(network), [_uuid(wallet_id) for wallet_id in _list(wallet_ids)])
    _send([(known, sync_these(known, wallets))])


@app.task(base=Refusing, throws=EXPECTED)
def sync_wallet(wallet_id: str) -> None:
    """Sync one wallet now, whenever it was read last."""
    wanted = _uuid(wallet_id)
    _sync_requested(lambda connection: request_wallets(connection, [wanted], cooldown=NO_COOLDOWN), NO_COOLDOWN)


@app.task(base=Refusing, throws=EXPECTED)
def refresh_user(user_id: str, networks: list[str] | None = None) -> None:
    """Sync a user's wallets now, on these networks or on all, but for those read within the cool-down."""
    user = _uuid(user_id)
    wanted = NETWORKS if networks is None else tuple(_network(network) for network in _list(networks))
    cooldown = timedelta(seconds=worker_settings().refresh_cooldown)
    _sync_requested(lambda connection: request_user(connection, user, wanted, cooldown=cooldown), cooldown)


def _sync_requested(request: Callable[[Connection], Requested], cooldown: timedelta) -> None:
    """Make a request, and sync what it asks for. A row that is being written is asked for again when it is free."""
    networks, patience = worker_settings().networks, monotonic() + worker_settings().request_limit
    with transaction() as connection:
        found = request(connection)
    asked = dict(found.networks)
    while found.locked and monotonic() < patience:
        sleep(LOCKED_PAUSE)
        with transaction() as connection:
            found = request_wallets(connection, found.locked, cooldown=cooldown)
        asked |= found.networks
    if found.locked:
        log.warning("rows_locked", wallets=len(found.locked))
    batches = [_first_batch(each, [wallet for wallet, of in asked.items() if of == each]) for each in networks]
    batches = [batch for batch in batches if batch[1]]
    # One here and the other by whoever is free: a network that hangs does not hold up the other.
    _send(batches[1:])
    for network, wallet_ids in batches[:1]:
        _send([(network, sync_these(network, wallet_ids))])


def _first_batch(network: NetworkName, wallet_ids: Sequence[UUID]) -> Batch:
    """What one request takes: however much is asked for, one batch overtakes others', and the rest is merely due."""
    return network, wallet_ids[: reader_for(network).max_wallets]


def _send(batches: Sequence[Batch]) -> None:
    """Messages that are served before anything that is merely due. One that cannot be sent costs speed alone."""
    try:
        for network, wallet_ids in batches:
            if wallet_ids:
                sync_wallets.apply_async(args=(network, [str(wallet) for wallet in wallet_ids]), queue=REFRESH_QUEUE)
    except OperationalError as error:
        log.warning("refresh_not_sent", reason=type(error).__name__)


def _network(value: Any) -> NetworkName:
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
