"""``celery -A worker check``: what the role of DATABASE_URL lacks or has too much of, and who may listen on the way."""

import psycopg
import pytest
from checking import Look, failed

from db.rights import WORKER
from devstack.servers import SUPERUSER
from worker.admin.finding import Finding


def warned(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.detail, each.to_do) for each in found if each.warning]


def test_the_workers_role_is_all_that_is_wanted(look: Look) -> None:
    found = look()
    assert (failed(found), warned(found)) == ([], [])


def test_a_superuser_is_warned_of_and_can_go_on(look: Look, database_url: str) -> None:
    found = look(DATABASE_URL=database_url)
    assert failed(found) == []
    ((detail, to_do),) = warned(found)
    assert detail.endswith("a superuser's role")
    assert WORKER in to_do


@pytest.mark.parametrize(
    ("revoked", "named"),
    [
        ("UPDATE ON balance_cache", "UPDATE ON balance_cache"),
        ("UPDATE (lane) ON sync_schedule", "UPDATE (lane) ON sync_schedule"),
        ("DELETE ON leases", "DELETE ON leases"),
        ("SELECT ON alembic_version", "SELECT ON alembic_version"),
    ],
)
def test_a_right_that_is_missing_is_named_with_what_gives_it(
    look: Look, database_url: str, revoked: str, named: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as superuser:
        superuser.execute(f"REVOKE {revoked} FROM {WORKER}")
    ((subject, detail, to_do),) = failed(look())
    assert (subject, detail) == ("database", f"closed to us: the role of DATABASE_URL lacks {named}")
    assert f"GRANT {WORKER}" in to_do


def test_a_database_of_another_machine_that_proves_nothing_is_warned_of(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loopback is not taken for this machine here: another one cannot be had in a test."""
    monkeypatch.setattr("worker.admin.check.LOOPBACK", ())
    ((detail, to_do),) = warned(look())
    assert detail == "sslmode=prefer: nothing proves which server it is that answers"
    assert to_do == "add sslmode=verify-full to DATABASE_URL"
    monkeypatch.setenv("PGSSLMODE", "allow")
    ((detail, _),) = warned(look())
    assert detail.startswith("sslmode=allow"), "wherever it was set"
    assert SUPERUSER not in detail
