"""Having a network followed up to a block that a batch has read, before what was read is written."""

from time import monotonic, sleep

import structlog
from sqlalchemy.exc import DBAPIError

from config.networks import NetworkName
from config.settings import worker_settings
from db import feed_cursor
from db.session import transaction
from worker.feed.follow import BLOCKS_AT_ONCE, Round, give_back
from worker.feed.reader import feed_reader_for

log = structlog.get_logger(__name__)

WAITS_FOR_OTHERS = 2.0  # seconds for which a batch waits for the process that is following just now
LOOKS = 0.05  # seconds between two looks at how far it is


def reach(network: NetworkName, number: int, deadline: float) -> bool:
    """Have a network followed up to this block, by this process or by the one that is at it. Whether it was.

    For a batch that has read that block, so it is there: it costs no request that the feed would not make anyway. What
    goes wrong here is the feed's, and no reason for the batch to fail.
    """
    try:
        return _reach(network, number, min(deadline, monotonic() + WAITS_FOR_OTHERS))
    except DBAPIError as error:
        log.warning("feed_not_reached", network=network, reason=type(error.orig).__name__)
        return False


def _reach(network: NetworkName, number: int, patience: float) -> bool:
    settings, reader = worker_settings(), feed_reader_for(network)
    while True:
        with transaction() as connection:
            at = feed_cursor.cursor(connection, network)
            if at.number is None or at.policy != "feed" or number - at.number > BLOCKS_AT_ONCE:
                return False
            if at.number >= number:
                return True
            token = feed_cursor.take(connection, network)
        if token is not None:
            try:
                return Round(network, settings, settings.chain(network), reader, patience).go_to(number)
            finally:
                give_back(network, token, patience)
        if monotonic() + LOOKS > patience:
            return False
        sleep(LOOKS)
