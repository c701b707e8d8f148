"""Redis over TLS with a private authority: certificates of clients, those that cannot be loaded, and Sentinels."""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import redis
from authorities import Authority
from environment import forget_settings
from forwarding import Forwarder, port_of
from kombu.exceptions import OperationalError
from redis_clients import CLIENTS, by_kombu, redis_with_tls
from sentinels import Watched, watched

from config import redis_address
from config.settings import QueueSettings, load
from devstack.servers import HOST, Server, wait_for
from worker.admin import check_redis
from worker.reading.shared_redis import SharedRedis

Reach = Callable[[str], None]
EACH = pytest.mark.parametrize("reach", CLIENTS.values(), ids=CLIENTS)
SECRET = "hunter2-of-redis"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def demanding(redis_process: Server, authority: Authority) -> Iterator[Forwarder]:
    """A Redis that asks its clients for certificates of our authority."""
    with Forwarder(port_of(redis_process), authority.server(HOST, of_clients=authority)) as forwarder:
        yield forwarder


def url_of(forwarder: Forwarder, authority: Authority, own: tuple[Path, Path] | None) -> str:
    given = f"&ssl_certfile={own[0]}&ssl_keyfile={own[1]}" if own else ""
    return f"rediss://{HOST}:{forwarder.port}/0?ssl_ca_certs={authority.file}{given}"


@pytest.mark.usefixtures("database_url")
@EACH
def test_a_server_that_wants_a_certificate_of_its_clients_gets_ours(
    demanding: Forwarder, authority: Authority, reach: Reach
) -> None:
    reach(url_of(demanding, authority, authority.issue("balance-sync")))
    assert demanding.heard


@pytest.mark.usefixtures("database_url")
@EACH
@pytest.mark.parametrize("whose", ["nobody's", "a stranger's"])
def test_without_one_or_with_a_strangers_nothing_is_heard(
    demanding: Forwarder, authority: Authority, reach: Reach, whose: str, tmp_path: Path
) -> None:
    own = None if whose == "nobody's" else Authority(tmp_path, "strangers").issue("balance-sync")
    url = url_of(demanding, authority, own).replace("rediss://", f"rediss://:{SECRET}@")
    with pytest.raises(Exception) as refused:
        reach(url)
    assert SECRET not in repr(refused.value)
    assert demanding.heard == []
    (found,) = check_redis.broker(url, 10)
    assert not found.ok
    assert "hunter2" not in str(found)


NOT_LOADED = {
    "a certificate and another one's key": ("{own}", "{others}", "does not belong to the certificate"),
    "no certificate": ("{key}", "{key}", "names no certificate in ssl_certfile"),
    "a key alone": ("", "{key}", "names a key in ssl_keyfile, and no ssl_certfile"),
    "a certificate alone": ("{own}", "", "names no key"),
    "a key with a pass phrase": ("{own}", "{closed}", "pass phrase"),
}


@pytest.mark.usefixtures("database_url")
@pytest.mark.parametrize(("certificate", "key", "sentence"), NOT_LOADED.values(), ids=NOT_LOADED)
def test_a_certificate_that_no_process_could_load_stops_the_start_with_a_sentence(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, certificate: str, key: str, sentence: str
) -> None:
    own, own_key = authority.issue("balance-sync")
    _, others = authority.issue("others.example")
    places = {"own": own, "key": own_key, "others": others, "closed": authority.closed(own_key)}
    named = {"ssl_certfile": certificate.format(**places), "ssl_keyfile": key.format(**places)}
    query = "&".join(f"{name}={value}" for name, value in named.items() if value)
    monkeypatch.setenv("REDIS_URL", f"rediss://:{SECRET}@{HOST}:1/0?{query}")
    with pytest.raises(SystemExit) as stop:
        load(QueueSettings)
    assert "REDIS_URL: " in str(stop.value)
    assert sentence in str(stop.value)
    assert "hunter2" not in str(stop.value)


@pytest.mark.usefixtures("database_url")
def test_a_file_without_authorities_stops_the_start_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("hunter2")
    monkeypatch.setenv("REDIS_URL", f"rediss://h?ssl_ca_certs={tmp_path / 'ca.pem'}")
    with pytest.raises(SystemExit, match="names a file without certificates in ssl_ca_certs") as stop:
        load(QueueSettings)
    assert "hunter2" not in str(stop.value)


@pytest.fixture
def pair(
    tmp_path: Path,
    authority: Authority,
    database_url: str,  # noqa: ARG001  a setting too
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Watched]:
    """A pair and its Sentinel, which all speak TLS alone."""
    with watched(tmp_path, authority=authority, program=redis_with_tls()) as found:
        monkeypatch.setenv("REDIS_URL", found.url)
        forget_settings()
        yield found


def test_sentinels_and_their_master_are_found_over_tls_before_and_after_a_fail_over(pair: Watched) -> None:
    url = load(QueueSettings).redis_url.get_secret_value()
    shared = SharedRedis("scope", url)
    by_kombu(url)
    assert shared.answers()
    with closing(redis_address.client(url, timeout=20)) as client:
        assert client.llen("bal:refresh") == 1
        pair.fail_over()

        def written() -> bool:
            with suppress(redis.RedisError):
                return bool(client.set("bal:x", "1"))
            return False

        wait_for(written, what="redis-py to find the new master")

    def sent() -> bool:
        with suppress(redis.RedisError, OSError, OperationalError):  # the Sentinel may still be changing its mind
            by_kombu(url)
            return True
        return False

    wait_for(sent, what="kombu to find the new master")
    wait_for(shared.answers, what="what is shared to be reachable")


def test_an_authority_that_the_sentinels_are_not_of_is_not_believed(pair: Watched, tmp_path: Path) -> None:
    others = Authority(tmp_path, "others")
    url = pair.url.partition("&ssl_ca_certs=")[0] + f"&ssl_ca_certs={others.file}"
    for reach in CLIENTS.values():
        with pytest.raises(Exception) as refused:
            reach(url)
        assert "hunter2" not in repr(refused.value)
