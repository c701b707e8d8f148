"""Kombu's transport for Redis, mended: a worker outlives a Redis that goes away while messages are in hand."""

from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis


class Channel(redis.Channel):
    """One that a lost connection does not leave half closed."""

    def _brpop_read(self, **options: Any) -> Any:
        """Deliver what a BRPOP has brought. Raises Empty if that is nothing.

        To close, kombu 5.7 first reads what its last BRPOP may have brought. With the connection lost it stops there,
        half closed. Celery then closes the connection once more, without its transport: where a message is not
        acknowledged, and the channel for remote control has stopped the first attempt too, that ends the worker with
        an AttributeError.
        """
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # its stubs have no private names
        except redis.Transport.connection_errors:
            if self._closing:  # type: ignore[attr-defined]
                raise Empty from None
            raise


class Transport(redis.Transport):
    """Kombu's, with this channel."""

    Channel = Channel


def install() -> None:
    """Use it for every URL that kombu's own is for. Before the first connection: kombu remembers what it looked up."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:{Transport.__name__}"))
