"""What may come out of a queue: a message of Celery's second protocol that asks for one of our tasks, and nothing else.

Whoever can write to Redis can put anything into a queue. A message is not passed on as it came: it is built anew out of
the parts that our tasks need, so that no header of it sets a time limit, waits in a worker's memory for its hour, calls
other tasks when it is done, or unpacks to more than it says. Pure.
"""

from base64 import b64decode
from collections.abc import Container
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from kombu.utils.json import loads

MAX_BYTES = 2**20
"""The longest message of ours names five thousand wallets of a user: some 270 kB."""

MAX_ID = 128
MAX_NAME = 80


class BadMessage(Exception):
    """A message that no worker takes. `task` is its task's name, as far as it has one: printable, and cut."""

    def __init__(self, reason: str, task: str | None = None) -> None:
        super().__init__(reason)
        self.task = task


def printable(value: object, most: int = MAX_NAME) -> str | None:
    """A text of a stranger's for a log line: cut, and nothing in it that moves a terminal's cursor. None: no text."""
    if not isinstance(value, str):
        return None
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in value[:most])


def message(raw: bytes | str, queue: str, tasks: Container[str]) -> dict[str, Any]:
    """The message that kombu is given for what lay in a queue. Raises BadMessage.

    `tasks` are the names of those that there are. The delivery tag is a new one: two messages with one tag would
    acknowledge each other.
    """
    if len(raw) > MAX_BYTES:
        raise BadMessage("too large")
    given = _decoded(raw)
    if not isinstance(given, dict):
        raise BadMessage("not an object")
    headers = given.get("headers")
    if not isinstance(headers, dict) or not isinstance(headers.get("task"), str):
        raise BadMessage("no task named in its headers")
    name = printable(headers["task"])
    if headers["task"] not in tasks:
        raise BadMessage("an unknown task", name)
    try:
        return _built(given, headers, queue)
    except BadMessage as refused:
        raise BadMessage(str(refused), name) from None


def _decoded(raw: bytes | str) -> Any:
    try:
        return loads(raw)
    except Exception:  # noqa: BLE001  kombu's decoder also makes dates and UUIDs, and raises whatever they do
        raise BadMessage("not JSON") from None


def _built(given: dict[str, Any], headers: dict[str, Any], queue: str) -> dict[str, Any]:
    task_id = headers.get("id")
    if not isinstance(task_id, str) or not 0 < len(task_id) <= MAX_ID or printable(task_id, MAX_ID) != task_id:
        raise BadMessage("its id is none")
    for kept_out in ("eta", "compression"):
        if headers.get(kept_out) is not None:
            raise BadMessage(f"{kept_out} is set, which is not for messages to say")
    request_id = headers.get("request_id")
    return {
        "body": _body(given),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": headers["task"],
            "id": task_id,
            "root_id": task_id,
            "expires": _expires(headers.get("expires")),
            "retries": 0,
            "timelimit": [None, None],  # those of the worker's own settings hold
            **({"request_id": request_id} if isinstance(request_id, str) else {}),
        },
        "properties": {
            "delivery_tag": str(uuid4()),
            "delivery_info": {"exchange": "", "routing_key": queue},
            "body_encoding": None,
            "priority": 0,
        },
    }


def _body(given: dict[str, Any]) -> str:
    """The arguments: a list, and an object. What else a body may hold would call other tasks."""
    properties, body = given.get("properties"), given.get("body")
    if given.get("content-type") != "application/json" or str(given.get("content-encoding")).lower() != "utf-8":
        raise BadMessage("its content is not JSON in UTF-8")
    if not isinstance(properties, dict) or not isinstance(body, str):
        raise BadMessage("no properties, or no body")
    text = _plain(body, properties.get("body_encoding"))
    match _decoded(text):
        case [list(), dict(), None]:
            return text
        case [list(), dict(), dict(more)] if not any(more.values()):
            return text
    raise BadMessage("its body is not arguments alone")


def _plain(body: str, encoding: object) -> str:
    if encoding is None:
        return body
    if encoding != "base64":
        raise BadMessage("its body is encoded in an unknown way")
    try:
        return b64decode(body, validate=True).decode()
    except ValueError:
        raise BadMessage("its body is not base64 of UTF-8") from None


def _expires(value: object) -> str | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise BadMessage("it expires at no moment") from None
