"""No secret of REDIS_URL or of a node's URL is in an error, a log or a reply, whatever its client comes across.

The canary stands in the password, percent-encoded too, in user names, paths and queries.
"""

import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from urllib.parse import quote

import pytest
from forwarding import port_of
from redis_clients import CLIENTS
from terminal import CELERY, celery

from config.logging import configure_logging
from devstack.product import environment
from devstack.servers import HOST, Server, running, wait_for
from worker.reading.shared_redis import SharedRedis

PASSWORD = "Hunter2@/canary: 1"
ENCODED = quote(PASSWORD, safe="")
FORMS = ("hunter2", "canary", ENCODED.lower(), b64encode(f"app:{PASSWORD}".encode()).decode().lower())
KEY = "c4naryKey0f4Node9876"


def shown(text: str) -> list[str]:
    return [form for form in (*FORMS, KEY.lower()) if form in text.lower()]


class Stranger(StreamRequestHandler):
    """A server that is no Redis, and repeats what it was sent."""

    def handle(self) -> None:
        self.wfile.write(b"-HTTP/1.1 400 Bad Request: " + self.rfile.readline() + b"\r\n")


@pytest.fixture
def stranger() -> Iterator[int]:
    with ThreadingTCPServer((HOST, 0), Stranger) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


URLS: dict[str, str] = {
    "nobody listens": "redis://app:{password}@127.0.0.1:1/0",
    "no such host": "redis://app:{password}@no-such-host.invalid:6379/0",
    "a wrong password": "redis://app:{password}@127.0.0.1:{redis}/0",
    "no TLS there": "rediss://app:{password}@127.0.0.1:{redis}/0",
    "no Redis": "redis://app:{password}@127.0.0.1:{stranger}/0",
    "no TLS at a stranger's": "rediss://app:{password}@127.0.0.1:{stranger}/0",
    "no socket": "unix://app:{password}@/no/such/socket",
    "no Sentinel": "redis+sentinel://app:{password}@127.0.0.1:1/m?sentinel_password={password}",
    "no Sentinel of that kind": "redis+sentinel://app:{password}@127.0.0.1:{redis}/m?sentinel_password={password}",
}
OF_A_WORKER = {
    "nobody listens": "Cannot connect",
    "a wrong password": "REDIS_URL: Redis: its user or password is refused",
    "no TLS at a stranger's": "Cannot connect",
    "no Sentinel": "Cannot connect",
}
"""What a worker says of each: it waits for such a Redis in Celery's own words, and ends where waiting is no use."""
EACH = pytest.mark.parametrize("url", URLS.values(), ids=URLS)


@pytest.fixture
def filled(redis_process: Server, stranger: int) -> Callable[[str], str]:
    return lambda url: url.format(password=ENCODED, redis=port_of(redis_process), stranger=stranger)


@pytest.mark.usefixtures("database_url")
@EACH
@pytest.mark.parametrize("reach", CLIENTS.values(), ids=CLIENTS)
def test_no_error_of_either_client_shows_it(filled: Callable[[str], str], url: str, reach: Callable[..., None]) -> None:
    with pytest.raises(Exception) as raised:
        reach(filled(url), 0.3)  # nobody answers, however long it is waited for
    assert shown("".join(traceback.format_exception(raised.value))) == []
    assert shown(repr(raised.value)) == []


@EACH
def test_what_workers_share_says_no_more_than_that_it_is_not(
    filled: Callable[[str], str], url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", "console")  # to where this test listens, whatever was set up before it
    assert not SharedRedis("scope", filled(url)).answers()
    told = capfd.readouterr()
    assert "redis_unavailable" in told.out + told.err
    assert shown(told.out + told.err) == []


@pytest.mark.parametrize(("case", "said"), OF_A_WORKER.items(), ids=OF_A_WORKER)
def test_no_process_shows_it(
    filled: Callable[[str], str], case: str, said: str, database_url: str, tmp_path: Path
) -> None:
    """Neither a worker nor a check, and both say what is wrong."""
    env = environment(
        {
            "DATABASE_URL": database_url,
            "REDIS_URL": filled(URLS[case]),
            "ETHEREUM_RPC_URLS": f"http://app:{ENCODED}@127.0.0.1:1/v3/{KEY}?apikey={KEY}",
            "JWT_SECRET": f"hunter2-canary-{KEY}" * 2,
            "LIFE_SIGN_DIR": str(tmp_path / "life"),
        }
    )
    with ExitStack() as stack:
        server = stack.enter_context(running("worker", [*CELERY, "worker", "-c", "1"], tmp_path, env=env))
        wait_for(
            lambda: said in server.log.read_text() or server.process.poll() is not None,
            what="the worker to say what is wrong with its Redis",
        )
        told = server.log.read_text()
        server.process.kill()  # asked to stop it would wait for its next try of Redis
    assert shown(told) == []
    assert said in told, told[-3000:]
    checked = celery(env, "check")
    assert checked.returncode == 1
    assert shown(checked.stdout + checked.stderr) == []
    assert "Traceback" not in checked.stdout + checked.stderr
