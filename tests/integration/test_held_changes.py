"""Changes that one endpoint alone tells of too many wallets: held back in Postgres, until they are believed or gone."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import faults as f
import network
import psycopg
import pytest
import redis
from leases import claim, good, only, write
from network import Net, Scene
from running import await_lock_wait
from structlog.testing import capture_logs
from tables import Tables

from config.networks import NetworkName
from config.settings import worker_settings
from config.work_counts import counts_key, failed_field
from db import held_changes as held
from db.held_changes import Lesson, Rates, history, learn
from db.session import transaction
from devstack.servers import CAP
from worker.errors import CHANGE_UNCONFIRMED
from worker.reading import node_reader_of, send_counts
from worker.sync.likely import NEVER_UNLIKELY
from worker.sync.verify import HOLD_BLOCKS, HOLD_READS


def known(*wallets: UUID) -> held.History:
    with transaction() as connection:
        return history(connection, "tron", wallets)


def remember(**lesson: Any) -> None:
    with transaction() as connection:
        learn(connection, "tron", Lesson(lesson.get("hold", {}), lesson.get("forget", ()), lesson.get("rates")))


@pytest.fixture
def read(tables: Tables) -> list[UUID]:
    """Wallets that were read once."""
    ids = tables.add("tron", "T1", "T2", "T3")
    write(only(claim()).token, *map(good, ids))
    return ids


def test_a_held_change_keeps_when_it_was_first_read_as_long_as_its_zeros_are_the_same(
    tables: Tables, read: list[UUID]
) -> None:
    one, two, _ = read
    remember(hold={one: (1, 2**200, 10), two: (3, 4, 10)})
    first = known(*read).held
    assert {wallet: each[:3] for wallet, each in first.items()} == {one: (1, 2**200, 10), two: (3, 4, 10)}
    remember(hold={one: (7, 2**200, 12), two: (3, 0, 12)})
    second = known(*read).held
    assert second[one] == first[one]._replace(usdt=7, reads=2), "sums may go on changing"
    assert (second[two][:3], second[two].reads) == ((3, 0, 12), 1), "another zero is another change"
    assert second[two].since > first[two].since
    remember(forget=[one])
    assert known(*read).held.keys() == {two}
    assert known(one).held == {}
    tables.rows("UPDATE wallets SET address = 'T4' WHERE id = %s", two)
    assert known(*read).held == {}, "it was the other address's"


def test_a_wallet_without_a_balance_is_not_held(tables: Tables, read: list[UUID]) -> None:
    (new,) = tables.add("tron", "T9")
    remember(hold={new: (1, 1, 10), uuid4(): (1, 1, 10), read[0]: (1, 1, 10)})
    assert known(new, *read).held.keys() == {read[0]}


def test_a_wallet_that_is_deleted_meanwhile_holds_nothing_up(tables: Tables, read: list[UUID]) -> None:
    with psycopg.connect(tables.dsn) as other, ThreadPoolExecutor() as pool:
        other.execute("DELETE FROM wallets WHERE id = %s", [read[1]])
        holding = pool.submit(remember, hold=dict.fromkeys(read, (1, 1, 10)))
        await_lock_wait(tables.rows)
        other.commit()
        holding.result(CAP)
    assert known(*read).held.keys() == {read[0], read[2]}


def test_what_is_usual_is_counted_and_old_counts_fade(monkeypatch: pytest.MonkeyPatch, tables: Tables) -> None:
    assert tables.rows("SELECT FROM change_rates") == []
    assert known().rates == Rates(0, 0, 0)
    remember(rates=Rates(100, 10, 1))
    remember(rates=Rates(100, 0, 1))
    assert known().rates == Rates(200, 10, 2)
    monkeypatch.setattr(held, "MOST_COUNTED", 250)
    remember(rates=Rates(100, 0, 0))
    assert known().rates == Rates(150, 5, 1)


MANY = NEVER_UNLIKELY + 5


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "WALLETS", MANY)


def events(logs: list[Any]) -> list[dict[str, Any]]:
    return [line for line in logs if line["event"] == "unlikely_changes"]


def denied() -> list[int]:
    """How often each of Ethereum's endpoints had something otherwise than another one that was believed."""
    send_counts(at_the_end=True)
    client: Any = redis.Redis.from_url(worker_settings().redis_url.get_secret_value())
    fields = [failed_field(node.id, CHANGE_UNCONFIRMED) for node in node_reader_of("ethereum").nodes]
    return [int(count or 0) for count in client.hmget(counts_key("ethereum"), fields)]


def time_passes(scene: Scene) -> None:
    scene.tables.rows("UPDATE held_changes SET since = since - interval '5 min'")
    for _ in range(HOLD_BLOCKS):
        scene.net.chain.ask("evm_mine")


@pytest.mark.usefixtures("many")
def test_zeros_of_a_whole_batch_are_not_written_on_the_only_endpoints_word(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net]
) -> None:
    settings()
    scene = Scene(nets["ethereum"], tables)
    scene.sync()
    assert scene.fresh()
    with scene.net.proxy.faulty(f.wallets(lambda _: 0)), capture_logs() as logs:
        for _ in range(3):
            scene.sync()
    assert scene.fresh(), "the rows have what they had, and nothing failed"
    (line, *_) = events(logs)
    assert (line["log_level"], line["network"], line["wallets"], line["held"]) == ("error", "ethereum", MANY, MANY)
    assert line["endpoint"]
    time_passes(scene)
    scene.sync()
    assert scene.fresh()
    assert tables.rows("SELECT FROM held_changes") == [], "a read that has the row's own balance ends it"


@pytest.mark.usefixtures("many")
def test_what_the_only_endpoint_keeps_saying_for_minutes_is_believed(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net]
) -> None:
    settings()
    scene = Scene(nets["ethereum"], tables)
    scene.sync()
    before = scene.rows()
    scene.empties()
    for _ in range(HOLD_READS):
        scene.sync()
        assert scene.rows() == before
    time_passes(scene)
    scene.sync()
    assert scene.fresh()
    assert tables.rows("SELECT FROM held_changes") == []


@pytest.mark.usefixtures("many")
def test_another_endpoint_confirms_many_changes_at_once_or_has_them_otherwise(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net]
) -> None:
    net = nets["ethereum"]
    settings(ETHEREUM_RPC_URLS=f"{net.proxy.url},{net.other.url}")
    scene = Scene(net, tables)
    scene.sync()
    scene.change()
    scene.sync()
    assert scene.fresh(), "both say so"
    before = denied()
    with net.proxy.faulty(f.wallets(lambda word: word ^ 1)), capture_logs() as logs:
        scene.sync()
    assert scene.fresh(), "the other endpoint's word is the rows'"
    (line,) = events(logs)
    assert (line["wallets"], line["held"], line["unconfirmed"]) == (MANY, 0, MANY)
    assert [now - then for now, then in zip(denied(), before, strict=True)] == [1, 0], "operators see who was denied"
    assert tables.rows("SELECT FROM held_changes") == []
