"""What the endpoint says of its database at its start: until all is well there, each new thing that is not, once.

It serves meanwhile, and answers with 503 what it cannot. `/readyz` tells a load balancer; this tells an operator why.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import structlog

from api.database import UNAVAILABLE, Database, NoConnectionFree, Statement
from db import SCHEMA_VERSION, schema_serves
from db.reasons import out_of_reach
from db.rights import API, LACKING, lacking, wanted
from db.server_facts import FACTS, Facts, troubles
from db.user_balances import SCHEMA_VERSION_APPLIED

log = structlog.get_logger(__name__)

PAUSES: Final = (0.2, 10.0)
"""Seconds between two looks: the first, and the longest, to which it doubles."""
SECONDS: Final = 5.0
"""For which one look waits for an answer."""

_FACTS, _LACKING, _VERSION = Statement(FACTS), Statement(LACKING), Statement(SCHEMA_VERSION_APPLIED)


async def look(database: Database) -> None:
    """Look until there is nothing that keeps the endpoint from serving."""
    said: set[str] = set()
    pause = PAUSES[0]
    while True:
        found = [each async for each in _wrong(database)]
        for event, sentence, _ in found:
            if sentence not in said:
                log.warning(event, reason=sentence)
        said |= {sentence for _, sentence, _ in found}
        if not any(stops for _, _, stops in found):
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSES[1])


async def _wrong(database: Database) -> AsyncIterator[tuple[str, str, bool]]:
    """Each thing as an event, a sentence, and whether it keeps the endpoint from serving."""
    try:
        (row,) = await database.rows(_FACTS, {}, SECONDS)
        of = Facts(*row)
        for trouble in troubles(of):
            # What is in a replica can be shown: only asking for reads is not possible.
            stops = not trouble.warning and not (of.replica or of.read_only)
            yield "database_unfit", trouble.sentence, stops
        rights = [lacking(*each).text for each in await database.rows(_LACKING, wanted(API), SECONDS)]
        if rights:
            to_do = f"use {API}, or GRANT {API} to it (db/roles.sql)"
            yield "database_unfit", f"DATABASE_URL: its role lacks {', '.join(rights)}: {to_do}", True
            return
        rows = await database.rows(_VERSION, {}, SECONDS) if of.migrated else []
        version = str(rows[0][0]) if rows else None
        if not schema_serves(version):
            has = "no schema" if version is None else f"schema {version}"
            sentence = f"DATABASE_URL: the database has {has}, {SCHEMA_VERSION} is wanted: run `alembic upgrade head`"
            yield "database_unfit", sentence, True
    except NoConnectionFree:
        yield "database_awaited", out_of_reach(TimeoutError()), True
    except UNAVAILABLE as error:
        yield "database_awaited", out_of_reach(error), True
