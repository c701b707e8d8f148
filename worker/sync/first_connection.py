"""A worker's first connection: it waits for the database, says what for, and ends where no waiting would help."""

from concurrent.futures import Future
from math import inf
from threading import Thread
from time import monotonic, sleep

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from db import reasons, schema_serves
from db.rights import FORGET, READ_SCHEMA, WORKER, missing
from db.server_facts import facts, troubles
from db.session import applied_schema_of, transaction

log = structlog.get_logger(__name__)

PATIENCE = 60.0
"""Seconds for which a start waits. Then the process ends, and whoever supervises it starts another."""
PAUSES = (0.1, 2.0)
"""Seconds between two tries: the first, and the longest, to which it doubles."""
SILENCE = 10.0
"""Seconds after which a look that has had no answer is told of."""
OLD_SCHEMA = "The database's schema is older than this release: run `alembic upgrade head` first."

Found = tuple[str, float]
"""What keeps a worker from its work, and for how many seconds waiting may mend that; empty where nothing does."""


def await_database(patience: float = PATIENCE) -> None:
    """Raises SystemExit with a sentence: after this time, or at once where a setting or the server is wrong."""
    deadline, pause, said, since = monotonic() + patience, PAUSES[0], "", 0.0
    look = _look()
    while True:
        sentence, may_last = _found(look, deadline)
        if not sentence:
            return
        if sentence != said:
            since = monotonic()
        if monotonic() + pause > min(deadline, since + may_last):
            raise SystemExit(sentence)
        if sentence != said:
            log.warning("database_awaited", reason=sentence)
        said = sentence
        if look.done():
            sleep(pause)
            pause = min(pause * 2, PAUSES[1])
            look = _look()


def _look() -> "Future[Found]":
    """What is found, once it is. A thread looks, which is left behind with its process where no answer comes: a pooler
    takes a client in whose server is away, and no limit of a statement holds before that server has the statement.
    """
    look: Future[Found] = Future()

    def run() -> None:
        try:
            look.set_result(_wrong())
        except BaseException as error:  # noqa: BLE001  for whoever waits for it
            look.set_exception(error)

    Thread(target=run, daemon=True).start()
    return look


def _found(look: "Future[Found]", deadline: float) -> Found:
    """What the look has found; that there is no answer, where it takes too long."""
    try:
        return look.result(max(0.0, min(SILENCE, deadline - monotonic())))
    except TimeoutError as error:
        return reasons.out_of_reach(error), inf


def _wrong() -> Found:
    try:
        with transaction() as connection:
            return _of_server(connection)
    except DBAPIError as error:
        cause = error.orig or error
        return reasons.out_of_reach(cause), reasons.patience(cause)


def _of_server(connection: Connection) -> Found:
    of = facts(connection)
    for trouble in troubles(of):
        if not trouble.warning:
            return trouble.sentence, inf if of.replica or of.read_only else 0.0  # a failover may be on its way
        log.warning("database_unfit", reason=trouble.sentence)
    lacking = [right for right in missing(connection, WORKER) if right != FORGET]  # a command's alone
    # The schema first: rights on what an older one has not are given by the migration that is still to come.
    if READ_SCHEMA not in lacking and not schema_serves(applied_schema_of(connection)):
        return OLD_SCHEMA, 0.0
    if lacking:
        rights = ", ".join(right.text for right in lacking)
        to_do = f"use {WORKER}, or GRANT {WORKER} to it (db/roles.sql), and run `alembic upgrade head`, which gives"
        return f"DATABASE_URL: its role lacks {rights}: {to_do} {WORKER} its rights", 0.0
    return "", 0.0
