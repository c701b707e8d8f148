"""The access log: one line per request, to stderr beside all others and in their form.

As JSON it is written at once. On their way through structlog and the standard library's records and handlers, fields
that are ready would cost as much again as the query.
"""

import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from config.settings import ApiSettings

Tell = Callable[[Mapping[str, Any]], None]
"""Says what came of a request."""


def access_log(settings: ApiSettings) -> Tell:
    """The log as the settings want it. Above INFO there is none."""
    if logging.getLevelNamesMapping()[settings.log_level] > logging.INFO:
        return lambda _: None
    return _as_json if settings.log_format == "json" else _for_a_person


def _as_json(fields: Mapping[str, Any]) -> None:
    now = datetime.now(UTC).isoformat().removesuffix("+00:00")
    line = {"event": "request", "level": "info", "logger": "api", **fields, "timestamp": f"{now}Z"}
    sys.stderr.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stderr.buffer.flush()


def _for_a_person(fields: Mapping[str, Any]) -> None:
    structlog.get_logger("api").info("request", **fields)
