"""The product's commands in this process: their words, their JSON and their exit codes, without a program's start.

`terminal` has them as programs of their own, for what only a program shows: that it starts, Ctrl-C, a terminal.
"""

import json
import logging
import os
import runpy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import structlog
from celery import Celery
from click.testing import CliRunner, Result
from environment import forget_settings

from devstack.product import environment
from devstack.servers import CAP, ROOT
from worker.admin import check, cli
from worker.queues.redis_transport import install
from worker.reading import shared_redis


def command(env: Mapping[str, str], name: str, *arguments: str, redis_patience: float = CAP) -> Result:
    """One of the commands to its end, where no terminal is, with this environment and no other.

    `redis_patience`: seconds after which a Redis that is only slow counts as one that is out of reach.
    """
    with (
        mock.patch.dict(os.environ, environment(env), clear=True),
        mock.patch.object(shared_redis, "TIMEOUT", redis_patience),
        mock.patch.object(check, "REDIS_TIMEOUT", redis_patience),
        logging_put_back(),
        sending_app(redis_patience) as app,
    ):
        return CliRunner().invoke(
            getattr(cli, name), arguments, obj=SimpleNamespace(app=app), prog_name=name, catch_exceptions=False
        )


def command_json(env: Mapping[str, str], name: str, *arguments: str, code: int = 0) -> Any:
    """The one object that a command prints with --json."""
    done = command(env, name, *arguments, "--json")
    assert done.exit_code == code, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


@contextmanager
def sending_app(redis_patience: float) -> Iterator[Celery]:
    """Celery with the project's own settings file, read anew in the environment of the block."""
    forget_settings()
    install()
    settings = runpy.run_path(str(ROOT / "celeryconfig.py"))
    settings["broker_transport_options"] |= {
        "socket_timeout": redis_patience,
        "socket_connect_timeout": redis_patience,
    }
    app = Celery("balance-sync", set_as_current=False)
    try:
        app.config_from_object(SimpleNamespace(**settings))
        yield app
    finally:
        app.close()
        forget_settings()


@contextmanager
def logging_put_back() -> Iterator[None]:
    """A command sets logging up for its whole process: here for the block alone."""
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, ("urllib3", "web3", "requests"))]
    levels, handlers = [each.level for each in loggers], list(root.handlers)
    before = structlog.get_config()
    configure = structlog.configure

    def for_now(**options: Any) -> None:
        # A logger that keeps what it was first used with could not be put back.
        configure(**{**options, "cache_logger_on_first_use": False})

    try:
        with mock.patch.object(structlog, "configure", for_now):
            yield
    finally:
        configure(**before)
        root.handlers[:] = handlers
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
