"""What an endpoint's URL tells: a name for people, an id for Redis, what in it is secret, whether keys may go there.

Pure. Nothing of it but the names and ids may be logged.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from urllib.parse import parse_qsl, urlsplit

from config.values import named_url, overheard

MIN_SECRET = 6  # characters; a shorter part of a URL is a version or a network's name

# Providers put a customer's token in front of their host: a long label in which letters and digits are mixed.
TOKEN = re.compile(r"(?=[a-z-]*[0-9])(?=[0-9-]*[a-z])[a-z0-9-]{16,}", re.ASCII | re.IGNORECASE)


def digest(secret: str) -> str:
    """A name for something secret, the same in every process, that does not give it away."""
    return sha256(secret.encode()).hexdigest()[:16]


def node_name(url: str) -> str:
    """The operator's name for an endpoint, or its host and port without what may be a token: no secret."""
    name, url = named_url(url)
    if name:
        return name
    parts = urlsplit(url)
    host = ".".join("…" if TOKEN.fullmatch(label) else label for label in str(parts.hostname).split("."))
    return f"{host}:{parts.port}" if parts.port else host


def node_names(urls: Sequence[str]) -> list[str]:
    """A name for each of a network's endpoints. Those that would have one name are told apart by a number."""
    seen, names = Counter[str](), []
    for url in urls:
        name = node_name(url)
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def takes_keys(url: str, hosts: Iterable[str]) -> bool:
    """Whether a URL is of one of `hosts` or below one: only there may an API key be sent, and never in the clear."""
    url = named_url(url)[1]
    name = "" if overheard(url) else urlsplit(url).hostname or ""
    return any(name == host.lower() or name.endswith("." + host.lower().lstrip(".")) for host in hosts)


def secrets_in(url: str) -> tuple[str, ...]:
    """The parts of a node's URL that may be its key: user, password, path, query, a host's token."""
    parts = urlsplit(named_url(url)[1])
    labels = [label for label in (parts.hostname or "").split(".") if TOKEN.fullmatch(label)]
    values = [parts.username, parts.password, *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    return tuple(value for value in [*values, *labels] if value and len(value) >= MIN_SECRET)
