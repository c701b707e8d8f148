"""The examples of the API that README and docs/api.md print, and what is left of a reply that depends on no moment."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from endpoint import TRON, Endpoint

from devstack.servers import ROOT

PAGES = {"README.md": "\n## API\n", "docs/api.md": "\n## Examples\n"}
SECTIONS = [(ROOT / page).read_text().split(heading)[1].split("\n## ")[0] for page, heading in PAGES.items()]
EXAMPLES = re.findall(r"```sh\n(.*?)```\n\n```json\n(.*?)```", "\n".join(SECTIONS), re.DOTALL)
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
