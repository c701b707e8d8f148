"""The part of a worker that takes messages: Celery's own, less all by which strangers could give it orders."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from time import monotonic, time
from typing import Any

import structlog
from celery import bootsteps
from celery.worker import consumer

from config.broker import LONGEST_PAUSE
from config.ops_keys import worker_entry
from config.settings import worker_settings
from worker.liveness import READY, Life, show, withdraw
from worker.ops_notes import OpsNotes
from worker.queues.watch import ConsumerWatch

log = structlog.get_logger(__name__)

LOOKED_EACH = 2.0  # seconds
NOTED_EACH = 10.0  # seconds
READY_FOR = 10.0  # seconds

CONNECTION = "celery.worker.consumer.connection:Connection"


class Tasks(consumer.Tasks):
    """Celery's own step, without those that it would have run first, by which workers hear of each other."""

    requires = (CONNECTION,)


class SignsOfLife(bootsteps.StartStopStep):
    """What shows that the main process comes round, that it takes messages, and that its pool gets done with them.

    `celery inspect ping` would load everything anew to learn less. Shown as long as one connection to Redis lasts.
    """

    label = "signs of life"
    requires = (Tasks,)
    _timers: tuple[Any, ...] = ()
    _noted_at: float | None = None
    """When it was last noted that this worker serves its queues. Of the monotonic clock."""

    def __init__(self, parent: Any, **_: Any) -> None:
        self._notes = OpsNotes()
        self._wedged: str | None = None
        self._entry = worker_entry(parent.hostname, list(parent.app.amqp.queues.consume_from))

    def start(self, parent: Any) -> None:
        """From now on."""
        settings = worker_settings()
        watch = ConsumerWatch(settings.task_hard_limit, settings.liveness_grace, monotonic())
        parent.life.comes_round()
        self._timers = (parent.timer.call_repeatedly(LOOKED_EACH, self._look, (parent, watch)),)
        self._noted_at = None

    def stop(self, parent: Any) -> None:
        """Until there is another connection, or for good."""
        for timer in self._timers:
            timer.cancel()
        with suppress(OSError):
            withdraw(READY)
        if not self._timers:
            return
        self._timers = ()
        # Without a connection it looks for one, and waits (Consumer.ensure_connected). Else it ends, as soon as its
        # pool has finished what is in hand.
        if parent.blueprint.state != bootsteps.RUN:  # type: ignore[attr-defined]  # its stubs lack it
            settings = worker_settings()
            parent.life.until(time() + settings.task_hard_limit + settings.liveness_grace)
            self._notes.gone(self._entry)

    def _look(self, parent: Any, watch: ConsumerWatch) -> None:
        channel, now = parent.task_consumer.channel, monotonic()
        # Kombu notes when it last asked Redis for a message, and our transport when it was given those in hand.
        if watch.serves(now, channel._brpop_sent_at, full=not channel.qos.can_consume()):  # noqa: SLF001
            # Not by a timer of its own: one that takes no messages any more would be seen for good.
            if self._noted_at is None or now - self._noted_at >= NOTED_EACH - LOOKED_EACH / 2:
                self._noted_at = now
                self._notes.seen(self._entry)
            with suppress(OSError):  # logged as that of the sign of life is
                show(READY, time() + READY_FOR)
        wedged = watch.wedged(now, _taken_at(channel))
        if not wedged:
            parent.life.comes_round()
        elif not self._wedged:
            log.error("worker_wedged", part=wedged)
            parent.life.until(0)
        self._wedged = wedged


def _taken_at(channel: Any) -> Iterator[float]:
    """When each of the messages in hand was taken."""
    return (taken_at for _queue, taken_at in channel.qos._taken.values())  # noqa: SLF001


def watch_anew(pool: Any) -> None:
    """Have a process watched that was heard to end, and was not reaped yet.

    Celery 5.7 remembers that it is watched no longer, and would end the worker when it watches all of them again.
    """
    for process in getattr(getattr(pool, "_pool", None), "_pool", ()):
        if getattr(process, "_sentinel_poll", 0) is None:
            del process._sentinel_poll  # noqa: SLF001


class Consumer(consumer.Consumer):
    """It takes tasks out of the queues and listens to nothing else: no remote control, no events of other workers."""

    event_dispatcher = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self.life = Life("worker")
        super().__init__(*args, **options)

    def connect(self) -> Any:
        """The connection to take tasks from. What the event loop watches is registered with it anew after this."""
        watch_anew(self.pool)
        return super().connect()

    def ensure_connected(self, conn: Any) -> Any:
        """A connection, as soon as there is one."""
        self.life.waits_for_redis()
        conn.ensure_connection = partial(conn.ensure_connection, interval_max=LONGEST_PAUSE)
        return super().ensure_connected(conn)

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc, valid-type]  # its stubs have a variable
        """The steps that are left."""

        default_steps = (
            CONNECTION,
            Tasks,
            SignsOfLife,
            "celery.worker.consumer.consumer:Evloop",
        )
