"""The tasks: ids in, load, call, done. Each may run twice, late, or not at all; Postgres knows what is to be done."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from celery import Task
from kombu.exceptions import OperationalError

from config.broker import FEED_QUEUE, REFRESH_QUEUE, sync_queue
from config.networks import NetworkName
from config.settings import worker_settings
from db.claims import request_user, request_wallets
from worker.app import app
from worker.errors import BadArgument, NotConfigured
from worker.feed.follow import follow
from worker.reading import reader_for
from worker.schedule.dispatch import dispatch
from worker.sync.batch import sync_due
from worker.sync.on_request import sync_one_batch, sync_requested

log = structlog.get_logger(__name__)

NO_COOLDOWN = timedelta(0)

MOST_BATCHES = 4
"""Batches that are sent for one round of the feed; the next tick sends for what is left."""

EXPECTED = (BadArgument, NotConfigured)
"""What is wrong with a message or the settings, not with the code: logged as one line, without a traceback."""


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
def follow_blocks(network: str) -> None:
    """Beat's too: follow a network's blocks, and have the wallets read that they touched."""
    known = _network(network)
    progress = follow(known)
    if progress.due:
        _send_batches(known, progress.due)
    if progress.more:
        try:
            follow_blocks.apply_async(args=(network,), queue=FEED_QUEUE)
        except OperationalError as error:  # beat sends another one in a second
            log.warning("batch_not_sent", network=network, reason=type(error).__name__)


@app.task(base=Refusing, throws=EXPECTED)
def sync_due_wallets(network: str) -> None:
    """Sync one batch of what is due on a network."""
    known = _network(network)
    _send(known, sync_due(known))


@app.task(base=Refusing, throws=EXPECTED)
def sync_wallets(network: str, wallet_ids: list[str]) -> None:
    """Sync those of these wallets that are due or asked for."""
    sync_one_batch(_network(network), [_uuid(wallet_id) for wallet_id in _list(wallet_ids)], _send)


@app.task(base=Refusing, throws=EXPECTED)
def sync_wallet(wallet_id: str) -> None:
    """Sync one wallet now, whenever it was read last."""
    request = partial(request_wallets, wallet_ids=[_uuid(wallet_id)], cooldown=NO_COOLDOWN)
    sync_requested(request, NO_COOLDOWN, _send)


@app.task(base=Refusing, throws=EXPECTED)
def refresh_user(user_id: str, networks: list[str] | None = None) -> None:
    """Sync a user's wallets now, on these networks or on all, but for those read within the cool-down."""
    settings, user = worker_settings(), _uuid(user_id)
    wanted = settings.known_networks if networks is None else map(_network, _list(networks))
    cooldown = timedelta(seconds=settings.refresh_cooldown)
    sync_requested(partial(request_user, user_id=user, networks=list(wanted), cooldown=cooldown), cooldown, _send)


def _send(network: NetworkName, wallet_ids: Sequence[UUID]) -> bool:
    """A message that is served before anything that is merely due. One that cannot be sent costs speed alone."""
    try:
        if wallet_ids:
            sync_wallets.apply_async(args=(network, [str(wallet) for wallet in wallet_ids]), queue=REFRESH_QUEUE)
    except OperationalError as error:
        log.warning("refresh_not_sent", reason=type(error).__name__)
        return False
    return True


def _send_batches(network: NetworkName, wallets: int) -> None:
    """Messages for so many wallets that a block touched. What cannot be sent, beat's next tick sends."""
    batches = min(-(-wallets // reader_for(network).max_wallets), MOST_BATCHES)
    try:
        for _ in range(batches):
            sync_due_wallets.apply_async(args=(network,), queue=sync_queue(network))
    except OperationalError as error:
        log.warning("batch_not_sent", network=network, reason=type(error).__name__)


def _network(value: Any) -> NetworkName:
    settings = worker_settings()
    if isinstance(value, str) and value in settings.known_networks:
        return value
    raise BadArgument(f"a network is one of {', '.join(settings.known_networks)}, not {value!r:.40}")


def _uuid(value: Any) -> UUID:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise BadArgument(f"an id is a UUID, not {value!r:.80}") from None


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise BadArgument(f"a list is asked for, not {value!r:.80}")
    return value
