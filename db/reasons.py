"""Why the database is out of reach, in words of ours: the drivers' own name hosts, users and databases. Pure."""

REASONS = (
    ("password authentication failed", "its user or password is refused"),
    ("no password supplied", "it wants a password"),
    ("no pg_hba.conf entry", "its pg_hba.conf lets nobody in from here, or not without TLS"),
    ("role", "it has no such user"),
    ("database", "it has no such database"),
    ("too many connections", "it takes no more connections"),
    ("remaining connection slots", "it takes no more connections"),
    ("does not support ssl", "it has no TLS: leave sslmode out, or turn TLS on there"),
    ("rejected ssl upgrade", "it has no TLS: leave sslmode out, or turn TLS on there"),
    ("certificate verify failed", "nobody whom we trust vouches for its certificate: name who does in sslrootcert"),
    ("root certificate file", "sslmode wants a certificate to check by: name it in sslrootcert"),
    ("server certificate for", "its certificate is for another host"),
    ("hostname mismatch", "its certificate is for another host"),
    ("private key file", "the key of sslkey cannot be used"),
    ("could not translate host name", "its host's name is not known here"),
    ("name or service not known", "its host's name is not known here"),
    ("read-write", "none of its hosts takes writes"),
    ("read-only", "none of its hosts takes writes"),
    ("starting up", "it is starting up"),
    ("connection refused", "nobody listens there"),
    ("no such file", "there is no such socket"),
    ("permission denied", "this process's user may not open its socket"),
    ("timeout", "it does not answer"),
)
"""What a driver's words have in them, in small letters, and what that means. The first that fits."""
MISSING = ("role", "database")
"""Of these words are too many, but for `… does not exist`."""


def reason(error: BaseException) -> str:
    """Why, in fixed words; the kind of error where none fits. Shows nothing of a setting."""
    said = str(error).lower()
    for words, meaning in REASONS:
        if words in said and (words not in MISSING or (f'{words} "' in said and "does not exist" in said)):
            return meaning
    return "it does not answer" if isinstance(error, TimeoutError) else type(error).__name__
