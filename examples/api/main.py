"""A small API as users of balance-sync have one: it registers wallets, shows their balances, and has them read anew.

It needs no code of balance-sync: plain SQL, plain HTTP with the user's own token, and a task by its name. Start it with
``uvicorn main:app`` in this folder, and the environment's DATABASE_URL (the role ``bal_registrar``), REDIS_URL,
BALANCES_URL (the endpoint) and JWT_SECRET.
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
from psycopg.rows import dict_row
from pydantic import BaseModel

queue = Celery(broker=os.environ["REDIS_URL"], broker_transport_options={"global_keyprefix": "bal:"})
balances = httpx.AsyncClient(base_url=os.environ["BALANCES_URL"], timeout=10)


@asynccontextmanager
async def lifespan(_: FastAPI) -> Any:
    """Nothing is opened at the start: balance-sync may come up later."""
    yield
    await balances.aclose()


app = FastAPI(title="A shop", lifespan=lifespan)


def user_of(authorization: Annotated[str, Header()]) -> UUID:
    """Whose token it is. The endpoint of balance-sync takes the same token, and checks it by itself."""
    try:
        return UUID(jwt.decode(authorization.removeprefix("Bearer "), os.environ["JWT_SECRET"], ["HS256"])["sub"])
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
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        row = connection.execute(insert, (user, wallet.network, wallet.address)).fetchone()
    return {"id": row[0]} if row else {}


@app.get("/balances")
async def shown(user: User, authorization: Annotated[str, Header()], response: Response) -> Any:
    """As the endpoint shows them: amounts as text, what was never read as null."""
    found = await balances.get(f"/api/v1/auth/balances/user/{user}", headers={"Authorization": authorization})
    response.status_code = found.status_code
    return found.json()


@app.get("/balances/rows")
def rows(user: User) -> list[dict[str, Any]]:
    """As the shared table has them: whole numbers of base units. A wallet that was never read has no row there."""
    select = (
        "SELECT w.id, w.network, b.usdt_balance::text, b.native_balance::text, b.block_number, b.last_synced"
        " FROM wallets w LEFT JOIN balance_cache b ON b.wallet_id = w.id WHERE w.user_id = %s ORDER BY w.created_at"
    )
    with psycopg.connect(os.environ["DATABASE_URL"], row_factory=dict_row) as connection:
        return connection.execute(select, (user,)).fetchall()


@app.post("/balances/refresh", status_code=202)
def refresh(user: User) -> dict[str, str]:
    """Have a worker read the user's wallets now. Nobody waits for it; the balances change when it is done."""
    queue.send_task("worker.tasks.refresh_user", args=[str(user)], queue="refresh", ignore_result=True)
    return {"status": "asked for"}
