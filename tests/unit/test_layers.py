"""Who may import whom: the layout of the design, held by reading every module's imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"api", "celeryconfig", "config", "db", "devstack", "ops", "worker"}
PURE = [
    "worker/schedule/cadence.py",
    "worker/errors.py",
    "worker/feed/gap.py",
    "worker/feed/policy.py",
    "worker/feed/policy_words.py",
    "worker/feed/timing.py",
    "worker/wording.py",
    "worker/reading/contract.py",
    "config/addresses.py",
    "config/families.py",
    "config/networks.py",
    "worker/nodes/callers.py",
    "worker/reading/facts.py",
    "worker/reading/pieces.py",
    "worker/reading/plausibility.py",
    "worker/reading/multicall.py",
    "worker/reading/backoff.py",
    "worker/reading/batch_size.py",
    "worker/reading/shared_entries.py",
    "worker/feed/blocks.py",
    "worker/feed/evm_blocks.py",
    "worker/feed/tron_blocks.py",
    "api/balances.py",
    "config/work_counts.py",
    "ops/exposition.py",
    "ops/metrics.py",
    "ops/picture.py",
    "ops/quota.py",
]
CELERY_IN = {
    "worker/__init__.py",
    "worker/app.py",
    "worker/tasks.py",
    "worker/schedule/beat.py",
    "worker/queues/redis_transport.py",
    "worker/queues/messages.py",
    "worker/queues/consumer.py",
    "worker/admin/cli.py",
    "api/refresh.py",
}
IO_LIBRARIES = {
    "requests",
    "web3",
    "tronpy",
    "sqlalchemy",
    "psycopg",
    "asyncpg",
    "litestar",
    "redis",
    "celery",
    "kombu",
    "socket",
    "os",
}


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All of a file's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import hides where it leads"
            yield node.module or ""


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        ("config", {"config"}),
        ("db", {"db", "config"}),
        ("api", {"api", "db", "config"}),
        ("worker", {"worker", "db", "config"}),
        ("ops", {"ops", "worker", "db", "config"}),
    ],
)
def test_a_package_imports_only_what_lies_below_it(folder: str, allowed: set[str]) -> None:
    assert modules(folder), "nothing was looked at"
    found = {name_of(path): roots(path) & OURS - allowed for path in modules(folder)}
    assert {name: packages for name, packages in found.items() if packages} == {}


ANYWHERE = {"config", "worker.errors", "worker.wording"}


@pytest.mark.parametrize(
    ("room", "others"),
    [
        ("feed", {"worker.reading", "worker.schedule.cadence", "worker.schedule.sizing", "db"}),
        ("nodes", {"worker.reading"}),  # what a node is to a reader, and the words that it carries
        ("reading", {"worker.nodes"}),
        ("queues", {"worker.liveness", "worker.ops_notes"}),
        ("sync", {"worker.reading", "worker.schedule", "worker.feed", "db"}),
    ],
)
def test_a_room_of_the_worker_knows_only_those_that_it_needs(room: str, others: set[str]) -> None:
    allowed = ANYWHERE | others | {f"worker.{room}"}
    found = {
        (name_of(path), name)
        for path in modules(f"worker/{room}")
        for name in imports(path)
        if name.partition(".")[0] in OURS
        and not allowed & {name, name.partition(".")[0], ".".join(name.split(".")[:2]), ".".join(name.split(".")[:3])}
    }
    assert found == set()


OF_THE_WORKERS = {
    *("worker.errors", "worker.wording", "worker.reading", "worker.nodes.urls"),
    *("worker.admin.node_states", "worker.admin.freshness", "worker.admin.feed_report"),
    "worker.feed.policy_words",
}
"""What the process of operators knows of workers: what they share of nodes, and how that is told."""


def test_operators_metrics_and_page_know_of_workers_only_what_these_leave_behind() -> None:
    found = {
        (name_of(path), name)
        for path in modules("ops")
        for name in imports(path)
        if name.startswith("worker") and not OF_THE_WORKERS & {name, ".".join(name.split(".")[:2])}
    }
    assert found == set()


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_imports_nothing_that_does_io(name: str) -> None:
    assert roots(ROOT / name) & IO_LIBRARIES == set()


def test_a_chains_library_is_imported_by_its_own_transport_alone() -> None:
    found = {
        (name_of(path), library)
        for path in modules("api", "config", "db", "ops", "worker")
        for library in roots(path) & {"web3", "tronpy"}
    }
    assert found == {("worker/nodes/evm.py", "web3"), ("worker/nodes/tron.py", "tronpy")}


def test_celery_is_imported_only_where_messages_are_sent_or_taken() -> None:
    found = {
        name_of(path) for path in modules("api", "config", "db", "ops", "worker") if roots(path) & {"celery", "kombu"}
    }
    assert found <= CELERY_IN
    assert "worker/tasks.py" in {name for name in CELERY_IN if (ROOT / name).exists()}


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        name_of(path)
        for path in modules("api", "config", "db", "ops", "worker")
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    assert readers == set()


def test_only_one_place_commits_but_for_migrations() -> None:
    begins = {
        name_of(path)
        for path in modules("api", "config", "db", "ops", "worker")
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and node.attr in {"commit", "begin"}
    }
    assert begins == {"db/session.py", "db/migrations/env.py"}


def test_queries_are_in_one_package() -> None:
    verbs = ("SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "WITH ")
    elsewhere = {
        name_of(path)
        for path in modules("api", "config", "ops", "worker")
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.lstrip().startswith(verbs)
    }
    assert elsewhere == set()


def test_the_use_case_and_the_rules_load_without_celery() -> None:
    modules = ["worker.errors", "worker.schedule.cadence", "worker.reading.contract", "worker.sync.batch"]
    code = f"import sys, {', '.join(modules)}; print('celery' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert ran.stdout == "False\n"
