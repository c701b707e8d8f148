"""Why the database is out of reach, in words of ours: the drivers' own name hosts, users and databases. Pure."""

NOBODY, ENDS = "nobody listens there", "it ends the connection at once: its log says why"

WRONG = (
    ("password authentication failed", "its user or password is refused"),
    ("no password supplied", "it wants a password"),
    ("no pg_hba.conf entry", "its pg_hba.conf lets nobody in from here, or not without TLS"),
    ("requires a valid client certificate", "it wants a certificate of ours: name it in sslcert, its key in sslkey"),
    ("certificate required", "it wants a certificate of ours: name it in sslcert, its key in sslkey"),
    ("certificate authentication failed", "our certificate is for another user"),
    ("alert unknown ca", "it does not trust whoever vouches for our certificate of sslcert"),
    ("role", "it has no such user"),
    ("database", "it has no such database"),
    ("does not support ssl", "it has no TLS: leave sslmode out, or turn TLS on there"),
    ("rejected ssl upgrade", "it has no TLS: leave sslmode out, or turn TLS on there"),
    ("root certificate file", "sslmode wants a certificate to check by: name it in sslrootcert"),
    ("server certificate for", "its certificate is for another host"),
    ("hostname mismatch", "its certificate is for another host"),
    ("ip address mismatch", "its certificate is for another host"),
    ("certificate verify failed", "nobody whom we trust vouches for its certificate: name who does in sslrootcert"),
    ("private key file", "the key of sslkey cannot be used"),
)
"""What a driver's words have in them, in small letters, and what that means, where no waiting mends it."""
PASSING = (
    ("too many connections", "it takes no more connections"),
    ("remaining connection slots", "it takes no more connections"),
    ("could not translate host name", "its host's name is not known here"),
    ("name or service not known", "its host's name is not known here"),
    ("read-write", "none of its hosts takes writes"),
    ("read-only", "none of its hosts takes writes"),
    ("starting up", "it is starting up"),
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


def reason(error: BaseException) -> str:
    """Why, in fixed words; the kind of error where none fits. Shows nothing of a setting."""
    said = str(error).lower()
    for words, meaning in (*WRONG, *PASSING):
        if words in said and (words not in MISSING or (f'{words} "' in said and "does not exist" in said)):
            return meaning
    return next((meaning for kind, meaning in KINDS if isinstance(error, kind)), type(error).__name__)


def passes(error: BaseException) -> bool:
    """Whether waiting may mend it: a server that starts, restarts or fails over, and not a setting that is wrong."""
    return reason(error) not in {meaning for _, meaning in WRONG}


def out_of_reach(error: BaseException) -> str:
    """A sentence for a log, or for a process's last words."""
    return f"DATABASE_URL: the database is out of reach: {reason(error)}. Correct it, or start PostgreSQL"
