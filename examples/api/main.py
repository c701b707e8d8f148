"""A small API as users of balance-sync have one: it registers wallets, shows their balances, and has them read anew.

It needs no code of balance-sync: plain SQL, plain HTTP with the user's own token, and a task by its name. Start it with
``uvicorn main:app`` in this folder, and the environment's DATABASE_URL (as the role ``bal_registrar``), REDIS_URL (as
the user ``registrar``), BALANCES_URL (the endpoint) and JWT_SECRET.
"""

import os
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

import httpx
import jwt
import psycopg
from celery import Celery
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from psycopg.errors import IntegrityError, UniqueViolation
from psycopg.rows import dict_row
from pydantic import BaseModel

queue = Celery(broker=os.environ["REDIS_URL"], broker_transport_options={"global_keyprefix": "bal:"})
balances = httpx.AsyncClient(base_url=os.environ["BALANCES_URL"], timeout=10)

# What is to be shown of the shared table, and the decimals of its whole numbers. A network's token or chain may have
# been changed in the settings: a balance that is still of the one before is none until the wallet is read anew.
SHOWN = """
SELECT w.id, w.network, b.usdt_balance::text, s.decimals AS usdt_decimals,
       b.native_balance::text, n.native_decimals, b.block_number, b.last_synced
  FROM wallets AS w
  LEFT JOIN networks AS n ON n.name = w.network
  LEFT JOIN sources AS s ON s.id = n.source
  LEFT JOIN balance_cache AS b
    ON b.wallet_id = w.id AND coalesce(b.source, n.first_source) IS NOT DISTINCT FROM n.source
 WHERE w.user_id = %s
 ORDER BY w.created_at, w.id
"""


@asynccontextmanager
async def lifespan(_: FastAPI) -> Any:
    """Nothing is opened at the start: balance-sync may come up later."""
    yield
    await balances.aclose()


app = FastAPI(title="A shop", lifespan=lifespan)


def user_of(authorization: Annotated[str, Header()] = "") -> UUID:
    """Whose token it is. The endpoint of balance-sync takes the same token, and checks it by itself."""
    token, secret = authorization.removeprefix("Bearer "), os.environ["JWT_SECRET"]
    try:
        return UUID(jwt.decode(token, secret, ["HS256"], options={"require": ["exp", "sub"]})["sub"])
    except (jwt.PyJWTError, ValueError):
        raise HTTPException(401, "Log in first.") from None


User = Annotated[UUID, Depends(user_of)]


class Wallet(BaseModel):
    """A wallet to be watched."""

    network: str
    address: str


@app.post("/wallets", status_code=201)
def register(wallet: Wallet, user: User) -> dict[str, UUID]:
    """Insert a row: a trigger makes the wallet due, and a worker reads it within seconds."""
    insert = "INSERT INTO wallets (user_id, network, address) VALUES (%s, %s, %s) RETURNING id"
    try:
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            row = connection.execute(insert, (user, wallet.network, wallet.address)).fetchone()
    except UniqueViolation:
        raise HTTPException(409, "You have this wallet already.") from None
    except IntegrityError:
        raise HTTPException(422, "No such network, no such address, or too many wallets.") from None
    return {"id": row[0]} if row else {}


@app.get("/balances")
async def shown(user: User, authorization: Annotated[str, Header()], response: Response) -> Any:
    """As the endpoint shows them: amounts as text, what was never read as null."""
    try:
        found = await balances.get(f"/api/v1/auth/balances/user/{user}", headers={"Authorization": authorization})
        told = found.json()  # what the server refuses before the endpoint sees it (400, 414, 431) has no body
    except (httpx.HTTPError, ValueError):
        raise HTTPException(502, "The balances cannot be shown now.") from None
    response.status_code = found.status_code
    return told


@app.get("/balances/rows")
def rows(user: User) -> list[dict[str, Any]]:
    """As the shared table has them: whole numbers of base units. A wallet that is still to be read has null."""
    with psycopg.connect(os.environ["DATABASE_URL"], row_factory=dict_row) as connection:
        return connection.execute(SHOWN, (user,)).fetchall()


@app.post("/balances/refresh", status_code=202)
def refresh(user: User) -> dict[str, str]:
    """Have a worker read the user's wallets now. Nobody waits for it; the balances change when it is done."""
    # Nothing is declared: kombu's tables of bindings are read by nobody, and the user `registrar` may not write them.
    queue.send_task("worker.tasks.refresh_user", args=[str(user)], queue="refresh", ignore_result=True, declare=[])
    return {"status": "asked for"}
