"""The settings of this process, which tests change."""

from typing import Any

from config import settings
from db import session
from db.session import forget_engine
from devstack.servers import wait_for
from worker.feed.reader import feed_reader_for
from worker.reading import reader_for


def forget_settings() -> None:
    """Whatever was built from the environment is built anew."""
    for built in (settings.database_settings, settings.worker_settings, settings.api_settings, reader_for):
        built.cache_clear()
    feed_reader_for.cache_clear()  # of the readers that there were
    if session._made.cache_info().currsize:
        engine: Any = session.engine()
        # What a thread that a start has left behind gives back to an engine that is closed stays open.
        wait_for(lambda: not engine.pool.checkedout(), what="connections that are given back")
        engine.dispose()
    forget_engine()
