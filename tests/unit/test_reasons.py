"""What a driver says of a database that is out of reach, what that means, and whether a start waits for it to pass."""

from math import inf

import pytest

from db.reasons import YOUNG_SECONDS, patience, reason

ADDRESS = 'connection failed: connection to server at "10.0.0.9", port 6432 failed: FATAL:  '
NO_PASSWORD = "its user or password is refused"


class Coded(Exception):
    """As asyncpg raises it."""

    def __init__(self, sqlstate: str, said: str) -> None:
        super().__init__(said)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("said", "meaning", "seconds"),
    [
        ("server login has been failing, try again later (server_login_retry)", "a pooler before it cannot", inf),
        (
            'cached error: FATAL: password authentication failed for user "hunter2" (server_login_retry)',
            "a pooler before it cannot",
            inf,
        ),
        ('cached error: database "hunter2" does not exist', "a pooler before it cannot", inf),
        ('role "hunter2" does not exist', "it has no such user", YOUNG_SECONDS),
        ("no such user: hunter2", "it has no such user", YOUNG_SECONDS),
        ('database "hunter2" does not exist', "it has no such database", YOUNG_SECONDS),
        ("no such database: hunter2", "it has no such database", YOUNG_SECONDS),
        ('no pg_hba.conf entry for host "10.0.0.1", user "hunter2"', "its pg_hba.conf lets nobody in", YOUNG_SECONDS),
        ('password authentication failed for user "hunter2"', NO_PASSWORD, 0),
        ("SASL authentication failed", NO_PASSWORD, 0),
        ("Tenant or user not found", "its pooler knows no such user", 0),
        ('role "hunter2" is not permitted to log in', "its role may not log in", 0),
        ('permission denied for database "hunter2"', "its role may not connect: GRANT CONNECT", 0),
        ('permission denied to set role "hunter2"', "its role may not become the one of its options", 0),
        ('permission denied to set parameter "log_statement"', "its role may not set a parameter", 0),
        ("permission denied for table alembic_version", "its role lacks a right", 0),
        ("the database system is starting up", "it is starting up", inf),
        ("the database system is not yet accepting connections", "it is starting up", inf),
        ("the database system is shutting down", "it is shutting down", inf),
        ("the database system is in recovery mode", "it recovers from a crash", inf),
        ('database "hunter2" is not currently accepting connections', "its database takes no connections", inf),
    ],
)
def test_the_servers_words_have_a_meaning_and_a_patience(said: str, meaning: str, seconds: float) -> None:
    error = ConnectionError(ADDRESS + said)
    assert reason(error).startswith(meaning)
    assert "hunter2" not in reason(error)
    assert patience(error) == seconds


def test_a_socket_that_may_not_be_opened_is_still_told_of() -> None:
    error = PermissionError('connection to server on socket "/run/.s.PGSQL.5432" failed: Permission denied')
    assert reason(error) == "this process's user may not open its socket"
    assert patience(error) == inf


@pytest.mark.parametrize(
    ("state", "said", "meaning", "seconds"),
    [
        ("28P01", "authentification par mot de passe échouée", NO_PASSWORD, 0),
        ("3D000", "la base de données n'existe pas", "it has no such database", YOUNG_SECONDS),
        ("53300", "désolé, trop de clients sont déjà connectés", "it takes no more connections", inf),
        ("57P03", "le système de bases de données se lance", "it takes no connections just now", inf),
        ("28000", "aucune entrée dans pg_hba.conf", "its user may not come in: its log says why", 0),
        ("28000", 'no pg_hba.conf entry for host "10.0.0.1"', "its pg_hba.conf lets nobody in", YOUNG_SECONDS),
        ("28P01", "cached error: password authentication failed", "a pooler before it cannot", inf),
    ],
)
def test_a_code_tells_what_words_in_another_language_do_not(
    state: str, said: str, meaning: str, seconds: float
) -> None:
    error = Coded(state, said)
    assert reason(error).startswith(meaning)
    assert patience(error) == seconds


def test_words_that_nobody_knows_are_not_shown() -> None:
    assert reason(OSError(f"{ADDRESS}something new of hunter2")) == "OSError"
