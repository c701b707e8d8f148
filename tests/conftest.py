"""What tests of every ring share: a fresh, migrated database for each test that asks for one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import structlog
from environment import forget_settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from tables import Tables

from db.rights import OWNER, WORKER
from devstack import product
from devstack.roles import as_role, make_roles
from devstack.servers import Server, postgres, redis_server
from devstack.stack import LocalChain, local_ethereum, local_tron

_configure = structlog.configure


def _configure_for_now(**options: Any) -> None:
    """A logger that keeps what it was first used with would pass by whoever captures the log later in this process."""
    _configure(**{**options, "cache_logger_on_first_use": False})


structlog.configure = _configure_for_now  # type: ignore[assignment]  # it takes whatever that takes

ROOT = Path(__file__).parent.parent

# Most tests are of the cadence, with blocks that nobody follows. A test of the feed says FEED=on.
BASE = {"FEED": "off"}
product.DEFAULTS.update(BASE)


@pytest.fixture(autouse=True)
def _base_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BASE.items():
        monkeypatch.setenv(name, value)


# Whoever starts pytest in the background may have Ctrl-C ignored, and its processes would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Ended by a request to stop, as by Ctrl-C, a run too takes its servers and folders along.
signal.signal(signal.SIGTERM, signal.default_int_handler)

# No deadline: what a machine does beside the tests is no fault of theirs. The same examples at each run; to look
# further, `pytest --hypothesis-profile=further`, with a `--hypothesis-seed` of one's own.
ANY_SPEED = [HealthCheck.too_slow]
hypothesis_settings.register_profile("ours", deadline=None, derandomize=True, suppress_health_check=ANY_SPEED)
hypothesis_settings.register_profile("quick", hypothesis_settings.get_profile("ours"), max_examples=20)
hypothesis_settings.register_profile(
    "further", deadline=None, max_examples=2000, suppress_health_check=ANY_SPEED, print_blob=True
)
hypothesis_settings.load_profile("ours")


TOGETHER = ("tests/acceptance/", "tests/integration/test_api_outage.py", "tests/integration/test_devstack.py")
"""Where the tests of one file run in one process: they share servers that may hang or end, or the project's folder."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(getattr(pytest.mark, item.path.parent.name))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests go wherever there is room, but for those of TOGETHER.

    Not by the mark `xdist_group`: pytest 9.2 has no place any more where xdist 3.8 notes it, and says nothing.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist publishes no types
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0] if nodeid.startswith(TOGETHER) else nodeid

    return Scheduling(config, log)


def migrate(url: str) -> None:
    """Make the roles and the schema as an operator does: the roles as the superuser, the tables as their owner."""
    make_roles(url)
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": as_role(url, OWNER)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="session")
def servers() -> Iterator[Path]:
    """A folder for the data and the logs of the session's servers.

    Not pytest's own: as root PostgreSQL runs as another user, whom the next session of pytest would shut out.
    """
    with TemporaryDirectory(prefix="balance-sync-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def postgres_server(servers: Path) -> Iterator[Server]:
    with postgres(servers) as server:
        yield server


@pytest.fixture(scope="session")
def redis_process(servers: Path) -> Iterator[Server]:
    with redis_server(servers) as server:
        yield server


@pytest.fixture(scope="session")
def ethereum(servers: Path) -> Iterator[LocalChain]:
    with local_ethereum(servers) as chain:
        yield chain


@pytest.fixture(scope="session")
def tron(servers: Path) -> Iterator[LocalChain]:
    with local_tron(servers) as chain:
        yield chain


@pytest.fixture(scope="session")
def template(postgres_server: Server) -> str:
    """The URL of the server, on which one database is migrated for all others to be copied from."""
    url = postgres_server.url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE template_migrated")
    migrate(url.rpartition("/")[0] + "/template_migrated")
    return url


@contextmanager
def new_database(template: str) -> Iterator[str]:
    """The URL of a migrated database that is gone at the end of the block."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(template, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_migrated")
        yield template.rpartition("/")[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A migrated database of the test's own, as its superuser; the settings name it as the worker's role."""
    with new_database(template) as url:
        monkeypatch.setenv("DATABASE_URL", as_role(url, WORKER))
        monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")  # nobody listens there
        forget_settings()
        yield url
        forget_settings()


@pytest.fixture
def as_superuser(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the code's own connections make states that no role of the product may make."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    forget_settings()


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield Tables(connection)
