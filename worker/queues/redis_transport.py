"""Kombu's transport for Redis, mended: a worker outlives a Redis that goes away while messages are in hand, and what
somebody may have planted there (docs/operations.md, "Redis").
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty
from time import monotonic, time
from typing import Any, TypeVar

import structlog
from celery import current_app
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from redis.exceptions import (
    ClusterCrossSlotError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as Lost

from config.broker import queues
from config.redis_address import CLUSTER
from config.settings import worker_settings
from worker.queues.fair_order import FairOrder
from worker.queues.messages import BadMessage, message

log = structlog.get_logger(__name__)

T = TypeVar("T")

MOST_RESTORED = 100
"""Messages of dead workers that one look puts back, three commands each: a worker does nothing else meanwhile."""


def all_queues() -> tuple[str, ...]:
    """The queues of every known network, whether this process serves it or another."""
    return queues(worker_settings().known_networks, feed=True)


def wrong_type(error: ResponseError) -> bool:
    """Whether Redis complains of a key's type: of what lies there, and not of the server or our rights."""
    return "WRONGTYPE" in str(error)


REFUSALS = ("UNBLOCKED", "MISCONF", "NOREPLICAS", "CLUSTERDOWN")
"""What redis-py knows no class for."""


def of_the_server(error: ResponseError) -> bool:
    """Whether Redis refuses because of what it is just now: a replica since a failover, cut off from its primary, full.

    Another connection may lead to another server, and the next minute bring this one back.
    """
    return (
        isinstance(error, ReadOnlyError | MasterDownError)
        or getattr(error, "status_code", "") == "OOM"
        or str(error).startswith(REFUSALS)
    )


class GivenUpWhenRefused:
    """A connection that such a reply ends. Celery would end the worker for it; a lost connection is made anew."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        """The next reply. Raises ConnectionError."""
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]  # of redis-py's, whose mixin this is
        except ResponseError as error:
            if not of_the_server(error):
                raise
            self.disconnect()  # type: ignore[attr-defined]
            raise Lost(f"{type(error).__name__}: {error}") from None


class QoS(redis.QoS):
    """The messages that workers have in hand."""

    channel: "Channel"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._taken: dict[str, tuple[str, float]] = {}

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message that a worker has taken."""
        self._taken[delivery_tag] = message.delivery_info["routing_key"], monotonic()
        self.channel.mended(lambda: super(QoS, self).append(message, delivery_tag))

    def ack(self, delivery_tag: str) -> None:
        """Forget a message that is done."""
        with self.out_of_hand(delivery_tag):
            self.channel.mended(lambda: super(QoS, self).ack(delivery_tag))

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Forget a message, or put it back into its queue."""
        with self.out_of_hand(delivery_tag):
            super().reject(delivery_tag, requeue)

    @contextmanager
    def out_of_hand(self, delivery_tag: str) -> Iterator[None]:
        """Count a message as in hand no longer, even if Redis could not be told.

        Celery logs that error and goes on. Kombu would count the message as in hand for ever: with as many of them as
        a worker takes at once, it would wait for no more messages, and never notice that Redis is back. Redis itself
        gives what it was not told of to a worker once more, after the transport's visibility time-out.

        A message is acknowledged when its task is done, so the time in between is what it has cost the worker.
        """
        if delivery_tag in self._taken:
            queue, taken_at = self._taken.pop(delivery_tag)
            self.channel.done(queue, monotonic() - taken_at)
        try:
            yield
        except redis.Transport.connection_errors:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def restore_visible(self, start: int = 0, num: int | None = None, interval: int = 1) -> None:  # noqa: ARG002
        """Put back what workers took long ago and never came back with.

        Without kombu's lock: it could be planted, for ever. Two workers that do this at once do no harm, since each
        message is put back in a transaction.
        """

        def restore() -> None:
            with self.channel.conn_or_acquire() as client:
                longest_ago = time() - self.visibility_timeout
                tags = client.zrange(
                    self.unacked_index_key, "-inf", longest_ago, byscore=True, offset=0, num=MOST_RESTORED
                )
                for tag in tags:
                    self.restore_by_tag(tag, client)

        self.channel.mended(restore)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back into its queue. What is not a message of ours is dropped."""

        def restore(pipe: Any) -> None:
            held = pipe.hget(self.unacked_key, tag)
            pipe.multi()
            self._remove_from_indices(tag, pipe)  # type: ignore[attr-defined]  # kombu's stubs lack private names
            if held is not None and (restored := self.channel.restored(held)):
                (pipe.lpush if leftmost else pipe.rpush)(*restored)

        def transaction() -> None:
            with self.channel.conn_or_acquire(client) as each:
                each.transaction(restore, self.unacked_key)

        self.channel.mended(transaction)


class Channel(redis.Channel):
    """One that a lost connection does not leave half closed, and that passes on nothing but messages of ours."""

    QoS = QoS

    def __init__(self, *args: Any, **options: Any) -> None:
        """Raises ConnectionError where nothing can be written: a worker then waits, and connects anew."""
        super().__init__(*args, **options)
        try:
            with suppress(NoPermissionError):  # of whoever only sends
                self.client.delete("nothing", "nobody")
        except (ClusterCrossSlotError, MovedError):  # two keys of different slots
            self.close()
            raise SystemExit(f"The settings are not usable:\n  REDIS_URL: {CLUSTER}") from None
        except redis.Transport.connection_errors:
            self.close()
            raise

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        options: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]
        options["connection_class"] = type("Connection", (GivenUpWhenRefused, options["connection_class"]), {})
        return options

    def mended(self, command: Callable[[], T]) -> T:
        """What a command gives. Where a key of ours is of another type, it is deleted, and the command repeated."""
        try:
            return command()
        except ResponseError as error:
            if not wrong_type(error):
                raise
        self._drop_strangers()
        return command()

    def _drop_strangers(self) -> None:
        lists = dict.fromkeys(all_queues(), b"list")
        kinds = {**lists, self.unacked_key: b"hash", self.unacked_index_key: b"zset"}
        with self.conn_or_acquire() as client:
            for key, kind in kinds.items():
                found = client.execute_command("TYPE", self.global_keyprefix + key)
                if found not in {kind, b"none"}:
                    client.delete(key)
                    log.warning("key_dropped", key=self.global_keyprefix + key, type=found.decode())

    def done(self, queue: str, seconds: float) -> None:
        """Tell the order of queues what a message has cost; a process that only sends has an order of kombu's own."""
        order: Any = self._queue_cycle  # type: ignore[attr-defined]
        if isinstance(order, FairOrder):
            order.done(queue, seconds)

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue. One command."""
        return self.mended(lambda: int(self.client.llen(queue)))

    def restored(self, held: bytes) -> tuple[str, str] | None:
        """The queue and the message of what a worker had in hand. None: it is no message, and is logged."""
        try:
            payload, _exchange, queue = json.loads(held)
            if queue in all_queues():
                return queue, json.dumps(message(json.dumps(payload), queue, current_app.tasks))
            refused = BadMessage("of no queue")
        except (ValueError, TypeError, RecursionError):
            refused = BadMessage("not a message in hand")
        except BadMessage as error:
            refused = error
        _log_refused(self.unacked_key, refused)
        return None

    def _brpop_read(self, **options: Any) -> Any:
        """Deliver what a BRPOP has brought. Raises Empty if that is nothing, or nothing of ours.

        To close, kombu 5.7 first reads what its last BRPOP may have brought. With the connection lost it stops there,
        half closed. Celery then closes the connection once more, without its transport: where a message is not
        acknowledged, that may end the worker with an AttributeError.
        """
        try:
            queue, given = self._brought(**options)
            self._queue_cycle.rotate(queue)  # type: ignore[attr-defined]
            self.connection._deliver(given, queue)  # noqa: SLF001  as kombu's own does
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()  # type: ignore[attr-defined]

    def _brought(self, **options: Any) -> tuple[str, dict[str, Any]]:
        client = self.client
        try:
            reply = client.parse_response(client.connection, "BRPOP", **options)
        except redis.Transport.connection_errors:
            if self._closing:  # type: ignore[attr-defined]
                raise Empty from None
            client.connection.disconnect()
            raise
        except ResponseError as error:
            if not wrong_type(error):
                raise
            self._drop_strangers()
            raise Empty from None
        if not reply:
            raise Empty
        queue = reply[0].decode()
        try:
            return queue, message(reply[1], queue, current_app.tasks)
        except BadMessage as refused:
            _log_refused(queue, refused)
            raise Empty from None

    def _size(self, queue: str) -> int:
        return self.mended(lambda: int(super(Channel, self)._size(queue)))

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        self.mended(lambda: super(Channel, self)._put(queue, message, **options))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: Any, queue: str) -> None:
        """Nothing: a message is sent to its queue by name, and kombu's tables of bindings could be planted, too."""


def _log_refused(queue: str, refused: BadMessage) -> None:
    log.warning("message_dropped", queue=queue, reason=str(refused), of_task=refused.task)


class Transport(redis.Transport):
    """Kombu's, with this channel."""

    Channel = Channel


class SentinelChannel(Channel, redis.SentinelChannel):
    """The same at the server of which the Sentinels say that it is the master."""


class SentinelTransport(redis.SentinelTransport):
    """Kombu's for Sentinel, with this channel."""

    Channel = SentinelChannel


def install() -> None:
    """Use it for every URL that kombu's own is for. Before the first connection: kombu remembers what it looked up."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:{Transport.__name__}"))
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:{SentinelTransport.__name__}"
