"""The Celery app, and what each of its processes sets up for itself."""

import gc
import logging
import tempfile
from time import time
from typing import Any

import structlog
from celery import Celery, signals

from config.base_settings import misnamed, unknown_networks
from config.broker import queues
from config.logging import configure_logging
from config.network_settings import prefix
from config.settings import worker_settings
from db.session import engine, forget_engine
from worker.admin.redis_at_start import look_at_redis
from worker.errors import SyncError
from worker.liveness import READY, make_life_sign_folder
from worker.queues.redis_transport import install
from worker.reading import reader_for, send_counts
from worker.sync.first_connection import await_database
from worker.sync.registration import networks_left_out, register_networks
from worker.wording import printable

install()
app = Celery("balance-sync")
app.config_from_object("celeryconfig")
app.set_default()

log = structlog.get_logger(__name__)

GC_THRESHOLD = 50_000  # objects; a few batches' worth

MAX_REQUEST_ID = 128  # characters, as the endpoint has it


@app.on_after_finalize.connect
def leave_out_celerys_own_tasks(**_: Any) -> None:
    """`celery.map` and its like run any task as often as one message says; nothing here uses them."""
    for name in [name for name in app.tasks if name.startswith("celery.")]:
        app.tasks.unregister(name)


@signals.setup_logging.connect
def set_up_logging(**_: Any) -> None:
    """Ours instead of Celery's."""
    settings = worker_settings()
    configure_logging(settings.log_level, settings.log_format)
    # Celery's two lines for each task and each tick say nothing that a batch's own line does not.
    for name in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


@signals.celeryd_init.connect
def check_networks(**_: Any) -> None:
    """Before the worker starts: every configured reader can be made, and what may have been forgotten is logged."""
    make_life_sign_folder("worker", READY)
    settings = worker_settings()
    find_room_for_temporary_files(str(settings.life_sign_dir))
    if not settings.networks:
        example = prefix(next(iter(settings.known_networks)))
        raise SystemExit(f"Set {example}RPC_URLS, or that of another network: without a node no wallet can be read.")
    for network in settings.networks:
        reader_for(network)
    for variable in unknown_networks(settings):
        log.warning("network_unknown", variable=variable, reason="it gives nodes to a network that is not known")
    for variable in misnamed(settings):
        log.warning("network_unknown", variable=variable, reason="its network has no setting of this name")
    look_at_redis(settings.redis_url.get_secret_value())
    await_database()
    register_networks(settings)
    for network in networks_left_out(settings):
        log.warning("network_not_synced", network=network, reason=f"{prefix(network)}RPC_URLS is not set")
    engine().dispose()  # before the pool's processes are forked: none of them is to have this connection


def find_room_for_temporary_files(own_folder: str) -> None:
    """The pool needs some. Where no usual place takes writes, the folder of the signs of life does."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = own_folder


@signals.celeryd_init.connect
def serve_networks_with_nodes(instance: Any, **_: Any) -> None:
    """The queues of other networks are for workers that have nodes of them. What -Q names overrides this."""
    settings = worker_settings()
    instance.app.amqp.queues.select(queues(settings.networks, feed=settings.feed))


@signals.beat_init.connect
def check_redis(**_: Any) -> None:
    """Before beat starts: it would end without a word on a Redis Cluster, and wait for ever by a wrong password."""
    look_at_redis(worker_settings().redis_url.get_secret_value())


@signals.worker_process_init.connect
def start_process(**_: Any) -> None:
    """A pool process has connections of its own: sockets that two processes write to mix their answers up."""
    forget_engine()
    reader_for.cache_clear()
    # A batch makes some ten thousand short-lived objects. The collector would look through every module's for each few
    # hundred of them, at as much CPU as the batch itself.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


@signals.task_prerun.connect
def bind_task(task_id: str, task: Any, **_: Any) -> None:
    """Every event of a task says whose it is, and which request of the endpoint it is for."""
    structlog.contextvars.bind_contextvars(task=task.name.rpartition(".")[2], task_id=task_id)
    request_id = task.request.get("request_id")
    if isinstance(request_id, str):
        structlog.contextvars.bind_contextvars(request_id=printable(request_id[:MAX_REQUEST_ID]))


@signals.task_failure.connect
def log_refusal(exception: BaseException, **_: Any) -> None:
    """An error of ours says what was wrong with a message; Celery itself logs all others, as errors."""
    if isinstance(exception, SyncError):
        log.warning("task_refused", error=exception.code, detail=printable(str(exception)))


@signals.task_postrun.connect
def unbind_task(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()


@signals.task_postrun.connect
def send_what_was_counted(**_: Any) -> None:
    """Ticks come every second, so that no count waits for the next batch of its network."""
    send_counts()


@signals.worker_process_shutdown.connect
def send_the_last_counts(**_: Any) -> None:
    """A pool's process ends after a number of tasks, or with its worker."""
    send_counts(at_the_end=True)


@signals.before_task_publish.connect
def note_when_sent(headers: dict[str, Any], **_: Any) -> None:
    """For operators, who see how long a queue's oldest message waits. No worker goes by it."""
    headers["sent_at"] = round(time(), 3)
