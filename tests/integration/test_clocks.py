"""A database whose clock is off: every ``now()`` of its connections is, and nothing else of it."""

from typing import Any

import psycopg
import pytest
from checking import Look, failed
from network import Net, Scene
from structlog.testing import capture_logs
from tables import Tables

from config.networks import NetworkName

CLOCKS = "now", "statement_timestamp", "clock_timestamp"


def skew(database_url: str, seconds: float) -> None:
    """From the next connection on: functions of the same names come before Postgres' own ones."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS skewed")
        connection.execute("GRANT USAGE ON SCHEMA skewed TO PUBLIC")
        for name in CLOCKS:
            connection.execute(
                f"CREATE OR REPLACE FUNCTION skewed.{name}() RETURNS timestamptz LANGUAGE sql STABLE"
                f" AS $$ SELECT pg_catalog.{name}() + interval '{seconds} s' $$"
            )
        database = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{database}" SET search_path = skewed, public, pg_catalog')


@pytest.mark.parametrize(("seconds", "word"), [(-60, "60 s behind"), (300, "300 s ahead of")])
def test_the_check_names_the_databases_clock(look: Look, database_url: str, seconds: float, word: str) -> None:
    skew(database_url, seconds)
    found = failed(look(ETHEREUM_MAX_HEAD_AGE="120", TRON_MAX_HEAD_AGE="120"))
    assert [subject for subject, _, _ in found] == ["ethereum", "tron", "clocks"]
    assert all("clock_skewed" in detail for _, detail, _ in found[:2])
    _, detail, to_do = found[2]
    assert word in detail
    assert to_do.endswith("the database server's clock")


def test_a_few_seconds_are_no_matter(look: Look, database_url: str) -> None:
    skew(database_url, -5)
    assert failed(look()) == []


def test_a_worker_writes_nothing_names_the_clock_and_lets_no_endpoint_rest(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net], database_url: str
) -> None:
    settings()
    scene = Scene(nets["ethereum"], tables)
    scene.sync()
    before = scene.rows()
    scene.change()
    skew(database_url, 3600)
    settings(ETHEREUM_MAX_HEAD_AGE="600")
    with capture_logs() as logs:
        scene.sync()
    (line,) = [line for line in logs if line["event"] == "clock_skewed"]
    assert (line["log_level"], line["network"]) == ("error", "ethereum")
    assert 3500 < -line["seconds"] < 3700
    assert scene.rows() == before
    assert scene.errors() == {"clock_skewed"}, "the network's: no wallet failed"
    assert tables.rows("SELECT reason FROM network_state WHERE network = 'ethereum'") == [{"reason": "clock_skewed"}]
    skew(database_url, 0)
    settings()
    scene.sync()  # of some wallets: to see whether the network is back
    assert tables.rows("SELECT reason FROM network_state WHERE network = 'ethereum'") == [{"reason": None}]
    scene.sync()
    assert scene.fresh(), "the endpoint was not left alone"
