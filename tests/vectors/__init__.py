"""Replies of real nodes, recorded: one request and its reply a file."""

import json
from pathlib import Path
from typing import Any


def recorded(chain: str, number: int) -> dict[str, Any]:
    """The recording with this number of a chain."""
    (path,) = (Path(__file__).parent / chain).glob(f"{number:02d}-*.json")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded
