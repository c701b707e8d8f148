"""The endpoint: beside what others would write, its own 304, what it sends to Postgres, what it weighs."""

import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from statistics import median
from uuid import UUID

import jwt
import psycopg
import requests

from benchmarks.reading import Figure
from benchmarks.relay import relay
from benchmarks.speed import Speed, load, processes, speed
from benchmarks.stage import FOLDER, Unsound
from devstack.product import api, environment, migrate
from devstack.servers import Server, free_port, postgres, running
from devstack.stack import alone_in

ROUNDS = 9
PLAIN = 2
"""Wallets of the user that the route is measured with."""
MORE = 10
COUNTS = (1, PLAIN, MORE, 100, 1000)
SECRET = "b" * 32
TOKENS = 8000  # more than are asked with in one measurement
NUMBERS = count()


OTHERS = {
    "FastAPI on asyncpg, the same duties": ("others:on_asyncpg", 1.35),
    "FastAPI on SQLAlchemy": ("others:on_sqlalchemy", 2.5),
    "a bare ASGI program on asyncpg": ("bare:app", 0.48),
}
"""What the endpoint is measured beside, and how many times as many requests are wanted of it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What runs."""

    database: Server
    ours: Server
    others: dict[str, Server]

    def url(self, server: Server, wallets: int) -> str:
        return f"{server.url}/api/v1/auth/balances/user/{user(wallets)}"


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Each figure as soon as it is measured."""
    with scene() as made:
        hold(made)
        tell("the endpoint beside what others would write, turn by turn …")
        yield from beside(made)
        tell("at half of that load …")
        yield Figure("p99 ÷ p50 of the endpoint at half of its saturating load", tail(made))
        tell("users with more wallets …")
        yield from wallets_cost(made)
        tell("what it weighs …")
        yield Figure("resident memory of an endpoint's two processes, MB", memory(made.ours))
        yield from statements(made)
    yield Figure("CPU of importing api.app ÷ of importing fastapi alone", import_ratio(), 3.0)


def beside(made: Scene) -> Iterator[Figure]:
    """Programs that take turns.

    What counts is how many requests one second of a process's own time serves: with a core to itself it serves as many
    by the clock, and other programs on this machine change little of it.
    """
    ours, more = made.url(made.ours, PLAIN), made.url(made.ours, MORE)
    programs: dict[str, Callable[[], Speed]] = {
        "304": lambda: speed(made.ours, ours, [bearer(PLAIN) | copy(ours, PLAIN)], 304),
        "more": lambda: speed(made.ours, more, [bearer(MORE)]),
        "304, more": lambda: speed(made.ours, more, [bearer(MORE) | copy(more, MORE)], 304),
    }
    for name, server in {"": made.ours, **made.others}.items():
        url = made.url(server, PLAIN)
        programs[f"{name}, new"] = lambda server=server, url=url: speed(  # type: ignore[misc]
            server, url, [bearer(PLAIN) for _ in range(TOKENS)]
        )
        programs[f"{name}, one"] = lambda server=server, url=url: speed(server, url, [bearer(PLAIN)])  # type: ignore[misc]
    rounds = [in_any_order(programs) for _ in range(ROUNDS + 1)][1:]

    def ratio(over: str, under: str) -> float:
        return median(each[over].of_its_time / each[under].of_its_time for each in rounds)

    for name, (_, wanted) in OTHERS.items():
        for tokens, mode in (("every token new", "new"), ("one token", "one")):
            title = f"requests per CPU second of the endpoint ÷ {name}, {tokens}"
            yield Figure(title, ratio(f", {mode}", f"{name}, {mode}"), wanted, "at least")
    for mode in ("new", "one"):
        micros = median(1e6 / each[f", {mode}"].of_its_time for each in rounds)
        yield Figure(f"  µs of the endpoint's own time for a request, {mode}", micros)
    yield Figure(f"requests per CPU second of its 304 ÷ of its 200, {PLAIN} wallets", ratio("304", ", one"))
    by_more = ratio("304, more", "more")
    yield Figure(f"requests per CPU second of its 304 ÷ of its 200, {MORE} wallets", by_more, 1.3, "at least")


def in_any_order(programs: dict[str, Callable[[], "Speed"]]) -> dict[str, "Speed"]:
    """A round: each once, so that none is always measured after the same other one."""
    names = list(programs)
    random.shuffle(names)  # an order, and no secret
    return {name: programs[name]() for name in names}


def copy(url: str, wallets: int) -> dict[str, str]:
    """The header of a client that has a copy."""
    return {"If-None-Match": requests.get(url, headers=bearer(wallets), timeout=10).headers["ETag"]}


def tail(made: Scene) -> float:
    url, headers = made.url(made.ours, PLAIN), [bearer(PLAIN)]
    half = median(speed(made.ours, url, headers).by_the_clock for _ in range(3)) / 2

    def ratio() -> float:
        latencies = load(url, headers, rate=half)["latencies"]
        return float(latencies[len(latencies) * 99 // 100] / median(latencies))

    return median(ratio() for _ in range(5))


def wallets_cost(made: Scene) -> Iterator[Figure]:
    """Microseconds of the process's time for a request."""

    def micros(wallets: int) -> float:
        return 1e6 / speed(made.ours, made.url(made.ours, wallets), [bearer(wallets)]).of_its_time

    taken = {wallets: median(micros(wallets) for _ in range(5)) for wallets in (1, 100, 1000)}
    slopes = {wallets: (taken[wallets] - taken[1]) / (wallets - 1) for wallets in (100, 1000)}
    yield Figure("µs per wallet, from 1 wallet to 1,000", slopes[1000])
    yield Figure("the same ÷ from 1 wallet to 100: linear", slopes[1000] / slopes[100], 1.5)


def memory(server: Server) -> float:
    return sum(process.memory_info().rss for process in processes(server)) / 1e6


def statements(made: Scene) -> Iterator[Figure]:
    """What one process sends to Postgres for one request: statements by the server's log, round trips by a relay."""
    with psycopg.connect(made.database.url, autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER SET log_statement = 'all'")  # for those who connect from now on
    with relay(made.database.url) as counted, api(FOLDER / "counted", settings(counted.url)) as server:
        url, headers = made.url(server, PLAIN), bearer(PLAIN)
        for kind, more in (("200", {}), ("304", copy(url, PLAIN))):
            requests.get(url, headers=headers | more, timeout=10)  # prepares the statement
            logged, _ = len(executed(made.database)), counted.count()
            for _ in range(20):
                if requests.get(url, headers=headers | more, timeout=10).status_code != int(kind):
                    raise Unsound(f"not answered {kind}")
            yield Figure(f"SQL statements a request, {kind}", (len(executed(made.database)) - logged) / 20, 1)
            yield Figure(f"round trips to Postgres a request, {kind}", counted.count() / 20, 1)


def executed(database: Server) -> list[str]:
    return re.findall(r"LOG:  (?:statement|execute \S+): .*", database.log.read_text())


def import_ratio() -> float:
    """The CPU that a process uses to import one over the other, less what Python itself takes."""

    def cpu(code: str) -> float:
        measured = f"import time; began = time.process_time(); {code}; print(time.process_time() - began)"
        times = (
            subprocess.run([sys.executable, "-c", measured], capture_output=True, text=True, check=True)
            for _ in range(ROUNDS)
        )
        return min(float(done.stdout) for done in times)

    return cpu("import api.app") / cpu("import fastapi")


@contextmanager
def scene() -> Iterator[Scene]:
    """A database, the endpoint with its log, and the programs beside it."""
    with ExitStack() as started:
        started.enter_context(alone_in(FOLDER))
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        database = started.enter_context(postgres(FOLDER))
        env = settings(database.url)
        migrate(env)
        insert(database.url)
        others = {name: started.enter_context(program(app, env)) for name, (app, _) in OTHERS.items()}
        yield Scene(database, started.enter_context(api(FOLDER, env)), others)


def program(app: str, env: dict[str, str]) -> AbstractContextManager[Server]:
    """A program behind uvicorn with its fast parser and loop, as most run one."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.{app}", "--no-access-log", "--no-server-header"]
    command += ["--http", "httptools", "--loop", "uvloop", "--port", str(port)]

    def answers() -> bool:
        try:
            return (
                requests.get(f"{url}/nothing-is-here/{user(PLAIN)}", headers=bearer(PLAIN), timeout=2).status_code > 0
            )
        except requests.RequestException:
            return False

    return running(app.replace(":", "-"), command, FOLDER, url=url, ready=answers, env=environment(env))


def settings(database_url: str) -> dict[str, str]:
    """As in production: a line for each request, as JSON."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",  # nothing here needs it
        "JWT_SECRET": SECRET,
        "LOG_FORMAT": "json",
        "SYNC_INTERVAL_ACTIVE": "86400",
        "SYNC_INTERVAL_IDLE": "86400",
        "FEED": "off",
    }


def insert(url: str) -> None:
    """A user for each number of wallets, all of them read, among twenty thousand others."""
    others = [(UUID(int=10**6 + number // 4), number) for number in range(20_000)]
    ours = [(user(wallets), number) for wallets in COUNTS for number in range(wallets)]
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.cursor() as cursor, cursor.copy("COPY wallets (user_id, network, address) FROM STDIN") as copy:
            for owner, number in others + ours:
                copy.write_row((owner, ("tron", "ethereum")[number % 2], f"{number:042x}"))
        connection.execute(
            "INSERT INTO balance_cache SELECT id, 977000000, 1993893600, 5, now(), 'solid', now() FROM wallets"
        )
        connection.execute("UPDATE sync_schedule SET claimed_at = now(), next_sync_at = now() + interval '1 day'")
        connection.execute("VACUUM ANALYZE")


def user(wallets: int) -> UUID:
    return UUID(int=wallets)


def bearer(wallets: int) -> dict[str, str]:
    """A token that no other request has had."""
    claims = {"sub": str(user(wallets)), "exp": int(time.time()) + 3600, "jti": str(next(NUMBERS))}
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}


def hold(made: Scene) -> None:
    """Raise Unsound unless all programs say the same, to the byte, but for the moment."""
    for number in COUNTS:
        ours, *others = (
            re.sub(rb'"synced_at":"[^"]*"', b"", requests.get(url, headers=bearer(number), timeout=10).content)
            for url in (made.url(each, number) for each in (made.ours, *made.others.values()))
        )
        for name, other in zip(made.others, others, strict=True):
            if ours != other:
                raise Unsound(f"for {number} wallets {name} differs: {ours[:300]!r}, {other[:300]!r}")
