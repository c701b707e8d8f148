"""The settings of this process, which tests change."""

from config import settings
from db.session import engine
from worker.feed.reader import feed_reader_for
from worker.reading import reader_for


def forget_settings() -> None:
    """Whatever was built from the environment is built anew."""
    for built in (settings.database_settings, settings.worker_settings, settings.api_settings, reader_for):
        built.cache_clear()
    feed_reader_for.cache_clear()  # of the readers that there were
    if engine.cache_info().currsize:
        engine().dispose()
    engine.cache_clear()
