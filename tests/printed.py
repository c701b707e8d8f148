"""The README's examples of the API, and what is left of a reply that depends on no moment."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from endpoint import TRON, Endpoint

from devstack.servers import ROOT

SECTION = (ROOT / "README.md").read_text().split("\n## API\n")[1].split("\n## ")[0]
EXAMPLES = re.findall(r"```sh\n(.*?)```\n\n```json\n(.*?)```", SECTION, re.DOTALL)
DIFFERS = re.compile(r'"(synced_at|last_synced|block_time|block_number|age_seconds)": ?("[^"]*"|\d+)')
"""What depends on the moment, and on the chain."""


@contextmanager
def reading(endpoint: Endpoint) -> Iterator[None]:
    """A worker's part for whoever asks for the Tron wallet in the block."""

    def read() -> None:
        endpoint.redis.blpop(["bal:refresh"])
        if not over.is_set():
            endpoint.read(TRON, 977_000_000, 1_993_893_600)

    over = Event()
    worker = Thread(target=read)
    worker.start()
    try:
        yield
    finally:
        over.set()
        endpoint.redis.rpush("bal:refresh", "nobody asked")
        worker.join()


def printed(text: str) -> Any:
    """JSON, but for what differs."""
    return json.loads(DIFFERS.sub(r'"\1": "…"', text))
