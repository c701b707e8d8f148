"""Settings as a process with this environment and no other would have them. `hunter2` must never be shown."""

import os
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import pytest

from config.settings import load

PASSWORD = "hunter2"
DATABASE = "postgresql://u:hunter2@h/d"
QUEUE = {"DATABASE_URL": DATABASE, "REDIS_URL": "redis://:hunter2@cache/0"}
SECRET = "hunter2-" * 8


def loaded(kind: type[Any], variables: Mapping[str, str]) -> Any:
    with patch.dict(os.environ, variables, clear=True):
        return load(kind)


def refusal(kind: type[Any], variables: Mapping[str, str]) -> str:
    """The words with which the start stops."""
    with pytest.raises(SystemExit) as stop:
        loaded(kind, variables)
    said = str(stop.value.code)
    assert "hunter2" not in said
    return said
