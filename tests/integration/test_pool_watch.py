"""A pool process that ends while the connection to Redis is lost."""

from typing import Any

import pytest
from celery.concurrency.prefork import TaskPool
from kombu.asynchronous import Hub, set_event_loop

from worker.queues.consumer import watch_anew


@pytest.mark.usefixtures("database_url")
def test_a_process_that_was_heard_to_end_and_not_reaped_ends_no_worker() -> None:
    from worker.app import app

    hub = Hub()
    set_event_loop(hub)
    pool = TaskPool(1, app=app, threads=False)
    pool.start()
    try:
        processes: Any = pool.__dict__["_pool"]
        pool.register_with_event_loop(hub)
        (process,) = processes._pool
        processes._untrack_child_process(process, hub)  # its end was heard of, and the system does not tell of it yet
        hub.reset()  # the connection is lost
        watch_anew(pool)
        pool.register_with_event_loop(hub)
        assert process._sentinel_poll in hub.readers
    finally:
        pool.terminate()
        hub.close()
        set_event_loop(None)
