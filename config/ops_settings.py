"""What the ops process needs: the worker's settings, which name networks, endpoints and queues, and its own."""

from functools import cache
from typing import Self

from pydantic import Field, model_validator

from config.settings import WorkerSettings, load
from config.values import Secret

SHORTEST_TOKEN = 16  # characters


class OpsSettings(WorkerSettings):
    """What metrics and the operator's page need. It asks no node: its URLs are there for their names."""

    ops_token: Secret | None = Field(default=None)
    """Whoever has it may see the page. Without it the page is closed, and /metrics alone is served."""
    collect_interval: float = Field(default=30, ge=5, le=300)
    """Seconds from the beginning of one pass over Postgres and Redis to that of the next."""

    @model_validator(mode="after")
    def _token_cannot_be_guessed_and_can_be_typed(self) -> Self:
        token = "" if self.ops_token is None else self.ops_token.get_secret_value()
        if self.ops_token is not None and len(token) < SHORTEST_TOKEN:
            raise ValueError(f"OPS_TOKEN must have at least {SHORTEST_TOKEN} characters: openssl rand -hex 16")
        if not token.isprintable():  # nobody could type it, and no header can hold it
            raise ValueError("OPS_TOKEN must be one line of printable characters: openssl rand -hex 16")
        return self


@cache
def ops_settings() -> OpsSettings:
    return load(OpsSettings)
