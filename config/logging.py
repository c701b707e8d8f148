"""Structured logging, the same for every process: an event's static name, and fields beside it."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

import structlog

from config.redaction import mask_for, secrets

# What a terminal obeys, or what makes a line look like another: C0, DEL and C1, the separators of lines and paragraphs,
# and what changes the direction of writing.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_LONGER = frozenset({"exception", "stack"})
"""Fields that have lines of their own."""


# What libpq appends to an error: the row that a table did not take, with a customer's balances.
_ROW = re.compile(r"(DETAIL|CONTEXT):  (?:(?!\\n|\n).)*")


def without_rows(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor: no error of the database tells what was in a row."""
    for name, value in event.items():
        if isinstance(value, str) and ":  " in value:
            event[name] = _ROW.sub(r"\1: …", value)
    return event


def escaped(text: str) -> str:
    """With an escape in the place of each character that a terminal obeys. For anybody's words."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escape_control_characters(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor: no value of an event has control characters, whoever it comes from."""
    for name, value in event.items():
        if name in _LONGER and isinstance(value, str):
            event[name] = "\n".join(map(escaped, value.split("\n")))
        else:
            event[name] = _harmless(value)
    if isinstance(event.get("event"), str):
        event["event"] = event["event"].removesuffix(r"\n")  # with which Celery ends some of its messages
    return event


def _harmless(value: object) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {_harmless(name): _harmless(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_harmless(each) for each in value]
    # A renderer shows anything else by its repr.
    shown = repr(value)
    return escaped(shown) if _CONTROL.search(shown) else value


def configure_logging(level: str, fmt: Literal["console", "json"]) -> None:
    """Send structlog's events and the standard library's records to stderr in one form, without secrets."""
    mask = mask_for(secrets())

    def masked(_: object, __: str, line: Any) -> str:
        return mask(line)

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[structlog.typing.Processor] = [
        # Plain: other forms show what variables hold, and one may hold a token.
        structlog.processors.format_exc_info,
        without_rows,
        escape_control_characters,
        structlog.processors.JSONRenderer()
        if fmt == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        ),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, masked],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Those of libraries, as the server's: their lines go the same way, or none would mask them.
    for name in list(root.manager.loggerDict):
        if (other := logging.getLogger(name)).handlers:
            other.handlers[:], other.propagate = [], True
    root.setLevel(level)
    # urllib3 and web3 log whole URLs at DEBUG, and a node's URL may hold its key.
    for name in ("urllib3", "web3", "requests"):
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
