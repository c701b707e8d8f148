"""What both chains' transports share: a session that does what it is told, and requests' errors in our words."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlsplit

import requests
from requests.auth import AuthBase

from worker.errors import BadReply, Refused, Throttled, Unreachable

CONNECT_TIMEOUT = 5.0  # seconds
MAX_DETAIL = 160  # characters of a node's own words that are kept
MIN_SECRET = 6  # characters; a shorter part of a URL is a version or a network's name

# Throttling comes as 429, and from TronGrid and behind some firewalls as 403 (facts of both providers).
THROTTLED = frozenset({429, 403})


class NodeSession(requests.Session):
    """Follows no redirect: a node that redirects is set up wrongly, and a key must not travel to another host."""

    def __init__(self, auth: AuthBase | None = None) -> None:
        super().__init__()
        self.max_redirects = 0
        self.auth = auth


def endpoint_name(url: str) -> str:
    """Host and port: enough to know an endpoint by, and no secret."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def secrets_in(url: str) -> tuple[str, ...]:
    """The parts of a node's URL that may be its key: user, password, path segments, values of the query."""
    parts = urlsplit(url)
    values = [parts.username, parts.password, *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    return tuple(value for value in values if value and len(value) >= MIN_SECRET)


def in_short(text: object, secrets: Iterable[str]) -> str:
    """A node's own words, on one line, without the secrets, cut to a length that a log line bears."""
    words = re.sub(r"\s+", " ", str(text))
    for secret in secrets:
        words = words.replace(secret, "…")
    return words[:MAX_DETAIL]


@contextmanager
def translated(endpoint: str) -> Iterator[None]:
    """Turn what requests and a JSON decoder raise into errors of this project that name the endpoint."""
    try:
        yield
    except requests.HTTPError as error:
        raise _for_status(error.response, endpoint) from None
    except requests.Timeout:
        raise Unreachable("no answer in time", endpoint=endpoint) from None
    except requests.TooManyRedirects:
        raise Refused("a redirect, which is not followed", endpoint=endpoint) from None
    except ValueError as error:  # every JSON decoder's error is one
        raise BadReply(f"not JSON ({type(error).__name__})", endpoint=endpoint) from None
    except (requests.RequestException, OSError) as error:
        raise Unreachable(type(error).__name__, endpoint=endpoint) from None


def _for_status(response: requests.Response, endpoint: str) -> Throttled | Refused:
    status = response.status_code
    if status not in THROTTLED:
        return Refused(f"HTTP {status}", endpoint=endpoint)
    wait = response.headers.get("Retry-After", "")
    return Throttled(f"HTTP {status}", endpoint=endpoint, retry_after=float(wait) if wait.isdecimal() else None)
