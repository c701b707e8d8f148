"""The sync worker. ``celery -A worker`` finds its app here, and nothing else pays for loading Celery."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery


def __getattr__(name: str) -> "Celery":
    if name == "celery":
        # The celery command finds this package in the current folder, and has left that folder when it comes here.
        root = str(Path(__file__).parent.parent)
        if root not in sys.path:
            sys.path.insert(0, root)
        from worker.app import app

        return app
    raise AttributeError(f"module 'worker' has no attribute {name!r}")
