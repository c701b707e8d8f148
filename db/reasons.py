"""Why the database is out of reach, in words of ours: the drivers' own name hosts, users and databases. Pure."""

from math import inf

NOBODY, ENDS = "nobody listens there", "it ends the connection at once: its log says why"
REFUSED = "its user or password is refused"
NO_ROLE, NO_DATABASE = "it has no such user", "it has no such database"
NO_ENTRY = "its pg_hba.conf lets nobody in from here, or not without TLS"
POOLER = "a pooler before it cannot log in to it: the pooler's log says why"
FULL, STARTS = "it takes no more connections", "it is starting up"

OF_A_POOLER = (("server_login_retry", POOLER), ("cached error", POOLER))
"""A pooler repeats what its server said last, whatever that was, until it tries again."""
STATES = {"28P01": REFUSED, "3D000": NO_DATABASE, "53300": FULL}
"""What PostgreSQL's own codes mean, in whatever language it speaks. Only asyncpg tells them of a connection."""
WRONG = (
    ("password authentication failed", REFUSED),
    ("sasl authentication failed", REFUSED),
    ("no password supplied", "it wants a password"),
    ("tenant or user not found", "its pooler knows no such user: write user and host as the provider shows them"),
    ("no such user", NO_ROLE),
    ("no such database", NO_DATABASE),
    ("is not permitted to log in", "its role may not log in: ALTER ROLE with LOGIN, or use one that may"),
    ("permission denied for database", "its role may not connect: GRANT CONNECT ON DATABASE to it"),
    ("permission denied to set role", "its role may not become the one of its options: GRANT that one to it"),
    ("permission denied to set parameter", "its role may not set a parameter of its options: leave that out"),
    ("permission denied for", "its role lacks a right there: celery -A worker check names those that it needs"),
    ("no pg_hba.conf entry", NO_ENTRY),
    ("requires a valid client certificate", "it wants a certificate of ours: name it in sslcert, its key in sslkey"),
    ("certificate required", "it wants a certificate of ours: name it in sslcert, its key in sslkey"),
    ("certificate authentication failed", "our certificate is for another user"),
    ("alert unknown ca", "it does not trust whoever vouches for our certificate of sslcert"),
    ("role", NO_ROLE),
    ("database", NO_DATABASE),
    ("does not support ssl", "it has no TLS: leave sslmode out, or turn TLS on there"),
    ("rejected ssl upgrade", "it has no TLS: leave sslmode out, or turn TLS on there"),
    ("root certificate file", "sslmode wants a certificate to check by: name it in sslrootcert"),
    ("server certificate for", "its certificate is for another host"),
    ("hostname mismatch", "its certificate is for another host"),
    ("ip address mismatch", "its certificate is for another host"),
    ("too weak", "its certificate's key or signature is too weak for TLS: give it another one"),
    ("certificate verify failed", "nobody whom we trust vouches for its certificate: name who does in sslrootcert"),
    ("pem lib", "the key of sslkey is none in PEM, which the endpoint's driver wants"),
    ("private key file", "the key of sslkey cannot be used"),
)
"""What a driver's words have in them, in small letters, and what that means, where no waiting mends it."""
PASSING = (
    ("too many connections", FULL),
    ("remaining connection slots", FULL),
    ("could not translate host name", "its host's name is not known here"),
    ("name or service not known", "its host's name is not known here"),
    ("read-write", "none of its hosts takes writes"),
    ("read-only", "none of its hosts takes writes"),
    ("starting up", STARTS),
    ("not yet accepting connections", STARTS),
    ("shutting down", "it is shutting down"),
    ("in recovery mode", "it recovers from a crash"),
    ("not currently accepting connections", "its database takes no connections: ALTER DATABASE with ALLOW_CONNECTIONS"),
    ("connection refused", NOBODY),
    ("no such file", "there is no such socket"),
    ("permission denied", "this process's user may not open its socket"),
    ("timeout", "it does not answer"),
    ("unexpected eof", ENDS),
    ("closed in the middle", ENDS),  # asyncpg hears no more of why a certificate is refused
    ("closed the connection unexpectedly", ENDS),
)
"""The same where it may."""
MISSING = ("role", "database")
"""Of these words are too many, but for `… does not exist`."""
KINDS = ((TimeoutError, "it does not answer"), (ConnectionRefusedError, NOBODY), (ConnectionError, ENDS))
"""For which asyncpg has no words."""
OTHER_STATES = {"28000": "its user may not come in: its log says why", "57P03": "it takes no connections just now"}
"""Codes that mean several things, where no words tell which."""

YOUNG = frozenset({NO_ROLE, NO_DATABASE, NO_ENTRY})
"""What a server says as well that has just been made: its port is open before its roles and databases are there."""
YOUNG_SECONDS = 15.0


def reason(error: BaseException) -> str:
    """Why, in fixed words; the kind of error where none fits. Shows nothing of a setting."""
    said, state = str(error).lower(), getattr(error, "sqlstate", None) or ""
    for words, meaning in OF_A_POOLER:
        if words in said:
            return meaning
    if state in STATES:
        return STATES[state]
    for words, meaning in (*WRONG, *PASSING):
        if words in said and (words not in MISSING or (f'{words} "' in said and "does not exist" in said)):
            return meaning
    if state in OTHER_STATES:
        return OTHER_STATES[state]
    return next((meaning for kind, meaning in KINDS if isinstance(error, kind)), type(error).__name__)


def patience(error: BaseException) -> float:
    """Seconds for which waiting may mend it: for ever a server that starts, restarts or fails over; none where a
    setting is wrong.
    """
    why = reason(error)
    if why in YOUNG:
        return YOUNG_SECONDS
    wrong = {*(meaning for _, meaning in WRONG), OTHER_STATES["28000"]}
    return 0.0 if why in wrong else inf


def out_of_reach(error: BaseException) -> str:
    """A sentence for a log, or for a process's last words."""
    return f"DATABASE_URL: the database is out of reach: {reason(error)}. Correct it, or start PostgreSQL"
