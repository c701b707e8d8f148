"""Looking a wallet up on the operator's page: by a real Postgres, as the role that only looks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from asgi import Answer, ask
from environment import forget_settings
from pictures import LEASE, TOKEN, Shown, app, settings
from sqlalchemy.exc import DBAPIError
from tables import Tables

from db import lookup_queries
from db.lookup_queries import MOST
from db.rights import OPS
from db.session import transaction
from devstack.product import ops
from devstack.roles import as_role
from devstack.seed import ETHEREUM_ADDRESS, TRON_ADDRESS
from devstack.servers import CAP, Server
from devstack.stack import base58_address
from ops.history import History
from ops.lookup import look_up, spellings
from ops.page_wallet import wallet_view

ACCOUNT = bytes.fromhex(ETHEREUM_ADDRESS[2:])
CANARIES = ("a-password-of-ops", "a token that nobody guesses")


@pytest.fixture(autouse=True)
def as_ops(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DATABASE_URL", as_role(database_url, OPS))
    forget_settings()
    yield
    forget_settings()


def read(tables: Tables, wallet: Any, **more: Any) -> None:
    """A balance of 977 USDT, read a minute ago and not due for another."""
    tables.rows(
        "INSERT INTO balance_cache (wallet_id, usdt_balance, native_balance, block_number, block_time, finality,"
        " last_synced) VALUES (%s, 977000000, 1993893600, 81000123, now(), 'solid', now() - interval '1 min')",
        wallet,
    )
    tables.rows(
        "UPDATE sync_schedule SET claimed_at = now() - interval '1 min', next_sync_at = now() + interval '1 min',"
        " failures = %s, last_error = %s WHERE wallet_id = %s",
        more.get("failures", 0),
        more.get("last_error"),
        wallet,
    )


def found(typed: Any) -> list[Any]:
    return [each.wallet_id for each in look_up(str(typed)).wallets]


def shown(typed: Any) -> Answer:
    made = app(Shown(None, History()), settings())
    return ask(made, "/find", f"q={typed}".encode(), authorization=f"Bearer {TOKEN}")


def test_a_wallet_is_found_by_its_id_and_by_its_user(tables: Tables) -> None:
    user = uuid4()
    first, second = tables.add("tron", TRON_ADDRESS, base58_address(b"\x07" * 20), user_id=user)
    tables.add("tron", TRON_ADDRESS)
    assert found(first) == [first]
    assert set(found(user)) == {first, second}
    assert found(str(first).upper()) == found(f"  {first}\n") == found(first.hex) == [first]
    assert found(uuid4()) == []


@pytest.mark.parametrize(
    "typed",
    [
        ETHEREUM_ADDRESS,
        ETHEREUM_ADDRESS.lower(),
        ETHEREUM_ADDRESS.upper(),
        ETHEREUM_ADDRESS[2:],
        f" {ETHEREUM_ADDRESS} ",
    ],
)
def test_an_evm_address_is_found_in_any_spelling(tables: Tables, typed: str) -> None:
    (wallet,) = tables.add("ethereum", ETHEREUM_ADDRESS.upper().replace("0X", "0x"))
    tables.add("ethereum", "0x" + "7" * 40)
    assert found(typed) == [wallet]


@pytest.mark.parametrize(
    "typed", [base58_address(ACCOUNT), f"41{ACCOUNT.hex()}", f"0x41{ACCOUNT.hex()}", ACCOUNT.hex()]
)
def test_a_tron_address_is_found_in_any_spelling(tables: Tables, typed: str) -> None:
    (wallet,) = tables.add("tron", base58_address(ACCOUNT))
    assert found(typed) == [wallet]
    assert found(base58_address(ACCOUNT).lower()) == [], "its letters mean what they are"


def test_an_address_that_is_none_is_found_as_it_is_written(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "no address at all")
    assert found("no address at all") == [wallet]
    assert spellings("no address at all") == ["no address at all"]
    (other,) = tables.add("ethereum", "0xNoAddress")
    assert found("0XnOaDDRESS") == [other]


def test_no_more_than_a_hundred_wallets_are_shown_and_the_page_says_so(tables: Tables) -> None:
    user = uuid4()
    tables.rows("UPDATE wallet_limits SET per_user = 1000")
    tables.add("tron", *(base58_address(number.to_bytes(20)) for number in range(1, MOST + 3)), user_id=user)
    assert len(found(user)) == MOST
    assert look_up(str(user)).more
    with transaction() as connection:
        assert len(lookup_queries.wallets_of_id(connection, user)) == MOST + 1, "the database sends no more"
    body = shown(user).body.decode()
    assert body.count("<article") == MOST
    assert "There are more: the first 100 are shown" in body


def test_the_page_shows_balance_block_age_error_and_next_read(tables: Tables) -> None:
    (wallet,) = tables.add("tron", TRON_ADDRESS)
    tables.rows("INSERT INTO networks (name, family) VALUES ('tron', 'tron') ON CONFLICT DO NOTHING")
    tables.rows(
        "WITH s AS (INSERT INTO sources (network, chain_id, token, decimals) VALUES ('tron', 728126428, 'T', 6)"
        " RETURNING id) UPDATE networks SET source = s.id, first_source = s.id, native_decimals = 6,"
        " native_symbol = 'TRX' FROM s WHERE name = 'tron'"
    )
    read(tables, wallet, failures=2, last_error="throttled")
    body = shown(wallet).body.decode()
    for words in (
        TRON_ADDRESS,
        "977.00",
        "1,993.8936",
        "TRX",
        "81,000,123",
        "solid",
        "throttled",
        "1 min",
        str(wallet),
    ):
        assert words in body, words
    assert "Reading it failed 2 times in a row" in body
    assert f"celery -A worker resync --wallet {wallet} --wait" in body


def words(typed: Any) -> tuple[str, str]:
    (detail,) = look_up(str(typed)).wallets
    view = wallet_view(detail, lease=LEASE)
    return view.verdict.word, view.next_read


def test_a_wallets_state_is_said_in_a_word(tables: Tables) -> None:
    (wallet,) = tables.add("tron", TRON_ADDRESS)
    assert words(wallet) == ("Never read", "due for less than 1 s")
    read(tables, wallet)
    assert words(wallet)[0] == "Fresh"
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '1 hour'")
    tables.rows("UPDATE wallets SET created_at = now() - interval '1 day'")
    assert words(wallet) == ("Overdue", "due for 1 h")
    tables.rows(
        "INSERT INTO leases (token, lane, network, claimed_at, lease_until, wallet_ids) VALUES"
        " (gen_random_uuid(), 2, 'tron', now(), now() + interval '1 hour', ARRAY[%s])",
        wallet,
    )
    assert words(wallet) == ("Fresh", "it is being read now")
    tables.rows("UPDATE sync_schedule SET failures = 1, last_error = 'bad_address'")
    assert words(wallet)[0] == "Failing"
    tables.rows("DELETE FROM balance_cache")
    tables.rows("DELETE FROM sync_schedule")
    assert words(wallet) == ("Not enrolled", "not before a worker has enrolled it")


def test_a_wallet_that_a_block_touched_says_so_and_when_it_is_read(tables: Tables) -> None:
    (wallet,) = tables.add("tron", TRON_ADDRESS)
    read(tables, wallet)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '6 hours'")
    assert words(wallet)[1] == "in 6 h"
    assert "Touched" not in shown(wallet).body.decode()
    due = "now() + interval '1 min'"
    touch = f"INSERT INTO touches (wallet_id, block_number, network, due_at) VALUES (%s, %s, 'tron', {due})"
    tables.rows(touch, wallet, 81_000_124)
    tables.rows(touch, wallet, 81_000_126)
    assert words(wallet)[1] == "in 1 min"
    body = shown(wallet).body.decode()
    assert "by block 81,000,126 and 1 before it, which no read has shown yet" in body


def test_a_look_up_cannot_change_anything(tables: Tables) -> None:
    tables.add("tron", TRON_ADDRESS)

    def look_and_change() -> None:
        with transaction() as connection:
            lookup_queries.wallets_of_id(connection, uuid4())
            connection.exec_driver_sql("UPDATE sync_schedule SET requested_at = now()")

    with pytest.raises(DBAPIError, match="read-only"):
        look_and_change()


def test_a_look_up_that_takes_too_long_is_given_up(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.add("tron", TRON_ADDRESS)
    slow = lookup_queries._BY_ADDRESS.replace(
        "s.next_sync_at, coalesce", "s.next_sync_at + (pg_sleep(60)::text || '0')::interval, coalesce"
    )
    assert slow != lookup_queries._BY_ADDRESS
    monkeypatch.setattr(lookup_queries, "_BY_ADDRESS", slow)
    monkeypatch.setattr(lookup_queries, "TIMEOUT", 100)
    problem = look_up(TRON_ADDRESS).problem
    assert problem.startswith("The database did not find it within ")
    assert "Look for the wallet's id instead." in problem


def test_look_ups_come_one_after_another(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    (wallet,) = tables.add("tron", TRON_ADDRESS)
    with ThreadPoolExecutor(6) as threads:
        monkeypatch.setattr("ops.lookup.PATIENCE", 60)
        assert list(threads.map(found, [wallet] * 12)) == [[wallet]] * 12


def test_one_that_hangs_holds_up_no_other_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    from ops import lookup

    monkeypatch.setattr(lookup, "PATIENCE", 0.01)
    with lookup._one_at_a_time:
        assert look_up("anything").problem == "Another look-up is being carried out. Try again in a moment."


def test_a_database_that_is_away_is_said_and_nothing_of_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://ops:{CANARIES[0]}@127.0.0.1:1/balances")
    forget_settings()
    answer = shown(TRON_ADDRESS)
    assert answer.status == 200
    body = answer.body.decode()
    assert "The database does not answer, so nothing can be looked up now." in body
    assert not [each for each in (*CANARIES, "127.0.0.1") if each in body]


def test_the_process_of_ops_serves_the_page_and_the_look_up(
    tables: Tables, database_url: str, redis_process: Server, tmp_path: Path
) -> None:
    (wallet,) = tables.add("tron", TRON_ADDRESS)
    env = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_process.url,
        "TRON_RPC_URLS": "http://127.0.0.1:2/a-secret-path",
        "OPS_TOKEN": CANARIES[1],
    }
    with ops(tmp_path, env) as server:
        session = requests.Session()
        assert session.get(server.url, timeout=CAP).status_code == 401
        session.auth = ("anybody", CANARIES[1])
        page = session.get(server.url, timeout=CAP)
        assert page.status_code == 200
        assert 'id="network-tron"' in page.text
        assert "Insert the first one" not in page.text
        found = session.get(f"{server.url}/find", params={"q": str(wallet)}, timeout=CAP)
        assert TRON_ADDRESS in found.text
        assert session.get(f"{server.url}/static/ops.css", timeout=CAP).ok
        told = page.text + found.text + server.log.read_text()
    assert not [each for each in (*CANARIES, "a-secret-path", database_url) if each in told]
