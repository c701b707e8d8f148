"""The part of a worker that takes messages: Celery's own, less all by which strangers could give it orders."""

from functools import partial
from typing import Any

from celery import bootsteps
from celery.worker import consumer

from worker.liveness import show_life

SHOWN_EACH = 2.0  # seconds
LONGEST_PAUSE = 5.0  # seconds from one try to reach Redis to the next; kombu's grow to half a minute


class LifeSign(bootsteps.StartStopStep):
    """The main process came round to its timers: `celery inspect ping` would load everything anew to learn as much."""

    label = "life sign"
    _shown: Any = None

    def start(self, parent: Any) -> None:
        """Show it now and from now on, as long as this connection to the broker lasts."""
        show_life("worker")
        self._shown = parent.timer.call_repeatedly(SHOWN_EACH, show_life, ("worker",))

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        """Until there is another one."""
        if self._shown:
            self._shown.cancel()


CONNECTION = "celery.worker.consumer.connection:Connection"


class Tasks(consumer.Tasks):
    """Celery's own step, without those that it would have run first, by which workers hear of each other."""

    requires = (CONNECTION,)


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

    def connect(self) -> Any:
        """The connection to take tasks from. What the event loop watches is registered with it anew after this."""
        watch_anew(self.pool)
        return super().connect()

    def ensure_connected(self, conn: Any) -> Any:
        """A connection, as soon as there is one."""
        conn.ensure_connection = partial(conn.ensure_connection, interval_max=LONGEST_PAUSE)
        return super().ensure_connected(conn)

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc, valid-type]  # its stubs have a variable
        """The steps that are left."""

        default_steps = (
            CONNECTION,
            Tasks,
            LifeSign,
            "celery.worker.consumer.consumer:Evloop",
        )
