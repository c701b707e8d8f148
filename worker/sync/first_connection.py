"""A worker's first connection: it waits for the database, says what for, and ends where no waiting would help."""

from time import monotonic, sleep

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from db.reasons import out_of_reach, passes
from db.rights import WORKER, missing
from db.server_facts import facts, troubles
from db.session import transaction

log = structlog.get_logger(__name__)

PATIENCE = 60.0
"""Seconds for which a start waits. Then the process ends, and whoever supervises it starts another."""
PAUSES = (0.1, 2.0)
"""Seconds between two tries: the first, and the longest, to which it doubles."""


def await_database(patience: float = PATIENCE) -> None:
    """Raises SystemExit with a sentence: after this time, or at once where a setting or the server is wrong."""
    deadline, pause, said = monotonic() + patience, PAUSES[0], ""
    while True:
        sentence, passing = _wrong()
        if not sentence:
            return
        if not passing or monotonic() + pause > deadline:
            raise SystemExit(sentence)
        if sentence != said:
            log.warning("database_awaited", reason=sentence)
        said = sentence
        sleep(pause)
        pause = min(pause * 2, PAUSES[1])


def _wrong() -> tuple[str, bool]:
    """What keeps a worker from its work, and whether that may pass; empty where nothing does."""
    try:
        with transaction() as connection:
            return _of_server(connection)
    except DBAPIError as error:
        cause = error.orig or error
        return out_of_reach(cause), passes(cause)


def _of_server(connection: Connection) -> tuple[str, bool]:
    of = facts(connection)
    for trouble in troubles(of):
        if not trouble.warning:
            return trouble.sentence, of.replica or of.read_only  # a failover may be on its way
        log.warning("database_unfit", reason=trouble.sentence)
    if lacking := missing(connection, WORKER):
        rights = ", ".join(right.text for right in lacking)
        return f"DATABASE_URL: its role lacks {rights}: use {WORKER}, or GRANT {WORKER} to it (db/roles.sql)", False
    return "", False
