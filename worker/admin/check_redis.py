"""Whether the server that REDIS_URL names is what a worker and beat can work with. I/O.

It is connected to as they do it, by the same code, and what they do is tried.
"""

import re
from collections.abc import Iterable, Iterator
from secrets import token_hex
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config import redis_address
from config.redis_address import CLUSTER
from worker.admin.finding import Finding
from worker.queues.redis_transport import of_the_server

OLDEST = (6, 2)
RIGHTS = "give it the rights of config/redis.acl"
TAKES_NO_WRITES = "takes no writes now"
SENTINEL = Finding("redis", "is a Sentinel", "write redis+sentinel://host:26379/its-name/0 in REDIS_URL")
REPLICA = Finding(
    "redis", "a replica, which takes no writes", "name the primary in REDIS_URL, or Sentinels", passing=True
)
REFUSALS = {
    "OOM": ("it is full", "give it more maxmemory, or remove what is not ours"),
    "MISCONF": ("it cannot save to its disk", "look into its log, and free its disk"),
    "NOREPLICAS": ("too few of its replicas are in step", "bring them back, or set min-replicas-to-write to less"),
    "READONLY": ("it is a replica", "name the primary in REDIS_URL, or Sentinels"),
}
"""What Redis says where it takes no writes just now, by the codes of its replies, and what to do."""

BY_WORDS = {
    "CERTIFICATE_VERIFY_FAILED": Finding(
        "redis",
        "nobody whom we trust vouches for its certificate",
        "name who does in REDIS_URL, by ssl_ca_certs, or its own name if it has another",
    ),
    "DB index": Finding("redis", "it has no database of that number", "correct the number at the end of REDIS_URL"),
    **dict.fromkeys(("unknown command `SELECT`", "unknown command 'SELECT'"), SENTINEL),  # it has no databases
}

Command = tuple[Any, ...]


def broker(url: str, timeout: float) -> Iterator[Finding]:
    """Whether Redis answers, is of a kind that Celery works with, and gives us every right that a worker needs."""
    client: Any = redis_address.client(url, timeout=timeout, retry=Retry(NoBackoff(), 0))
    try:
        yield from _of_redis(client)
    except redis.RedisError as error:
        yield _out_of_reach(error)
    finally:
        client.close()


def _of_redis(client: Any) -> Iterator[Finding]:
    client.ping()
    try:
        about = client.info()
    except redis.exceptions.NoPermissionError:
        about = {}
    if about.get("redis_mode") == "sentinel":
        yield SENTINEL
    elif about.get("redis_mode") == "cluster" or _is_cluster(client):
        yield Finding("redis", f"REDIS_URL {CLUSTER.partition(':')[0]}", CLUSTER.partition(": ")[2])
    elif about.get("role") == "slave":
        yield REPLICA
    elif refused := _refused(client, _for_messages()):
        yield Finding("redis", f"its user may not do what a worker does: {', '.join(refused)}", RIGHTS)
    else:
        if refused := _refused(client, _for_the_rest()):
            lost = "so that workers share no pace of requests, and count nothing"
            yield Finding("redis", f"its user may not do {', '.join(refused)}, {lost}", RIGHTS, warning=True)
        yield _of_its_kind(about)


def _of_its_kind(about: dict[str, Any]) -> Finding:
    """What is to be said of its version and its policy."""
    if not about:
        lost = "its user may not ask INFO, so its version and policy are not known"
        return Finding("redis", lost, RIGHTS, warning=True)
    said, policy = str(about.get("redis_version", "")), about.get("maxmemory_policy", "noeviction")
    version = re.match(r"(\d{1,9})\.(\d{1,9})", said, re.ASCII)
    if version and (int(version[1]), int(version[2])) < OLDEST:
        return Finding("redis", f"version {said}", "use 6.2 or later", passing=True)
    if policy != "noeviction":
        to_do = "set its maxmemory-policy to noeviction: a full Redis would throw messages away"
        return Finding("redis", f"maxmemory-policy {policy}", to_do, passing=True)
    if not version:
        return Finding("redis", "tells no version that we know", "use Redis 6.2 or later, or Valkey", warning=True)
    return Finding("redis", f"version {said}, {policy}")


def _is_cluster(client: Any) -> bool:
    """Whether two keys may be out of one command's reach."""
    try:
        client.mget("bal:check:1", "bal:check:2")
    except redis.exceptions.MasterDownError:  # redis-py counts it among those of a cluster
        raise
    except (redis.exceptions.ClusterError, redis.exceptions.ClusterCrossSlotError, redis.exceptions.MovedError):
        return True
    except redis.ResponseError:
        return False
    return False


def _for_messages() -> Iterator[Command]:
    """What a worker needs to take and to send messages. It is done to keys that nothing else uses."""
    own, field = f"bal:check:{token_hex(8)}", f"check:{token_hex(8)}"
    yield from (
        ("SET", own, "1", "PX", "60000"),
        *(("MGET", own), ("TYPE", own), ("INCRBY", own, "1")),
        *(("PTTL", own), ("PEXPIRE", own, "60000"), ("EXPIRE", own, "60"), ("DEL", own)),
        *(("LPUSH", own, "1"), ("RPUSH", own, "1"), ("LLEN", own), ("BRPOP", own, "0.1"), ("DEL", own)),
        *(("HSET", "bal:unacked", field, "1"), ("HGET", "bal:unacked", field), ("HMGET", "bal:unacked", field)),
        *(("HDEL", "bal:unacked", field), ("ZADD", "bal:unacked_index", "9e15", field)),
        *(("ZRANGE", "bal:unacked_index", "0", "0"), ("ZREM", "bal:unacked_index", field)),
        *(("WATCH", own), ("UNWATCH",), ("MULTI",), ("EXEC",)),
    )


def _for_the_rest() -> Iterator[Command]:
    """What is for a common pace, counts and notes alone: without it a worker does its work all the same."""
    own = f"bal:check:{token_hex(8)}"
    yield from (
        *(("HINCRBY", own, "1", "1"), ("EXPIRE", own, "60"), ("DEL", own), ("GET", own), ("EXISTS", own)),
        *(("ZREMRANGEBYSCORE", own, "9e15", "9e15"), ("EVAL", "return 1", "0"), ("TIME",)),
    )


def _refused(client: Any, commands: Iterable[Command]) -> list[str]:
    """Which of these commands are refused to this user. Raises ResponseError where Redis takes none just now."""
    refused = []
    for command in commands:
        try:
            client.execute_command(*command)
        except redis.exceptions.NoPermissionError:
            refused.append(command[0])
        except redis.ResponseError as error:  # of what lies there, or since one before was refused
            if of_the_server(error):
                raise
    return list(dict.fromkeys(refused))


def _out_of_reach(error: redis.RedisError) -> Finding:
    said = str(error)
    if isinstance(error, redis.ResponseError) and of_the_server(error):
        return _takes_no_writes(error)
    if isinstance(error, redis.exceptions.AuthenticationError) or "WRONGPASS" in said or "NOAUTH" in said:
        return Finding("redis", "its user or password is refused", "correct them in REDIS_URL")
    if isinstance(error, redis.exceptions.NoPermissionError):
        return Finding("redis", "its user may do next to nothing", RIGHTS)
    if isinstance(error, redis.sentinel.MasterNotFoundError):
        to_do = "correct REDIS_URL: redis+sentinel://host:26379/its-name/0"
        return Finding("redis", "no Sentinel tells of that master", to_do, passing=True)
    if by_words := next((finding for words, finding in BY_WORDS.items() if words in said), None):
        return by_words
    name = type(error).__name__
    return Finding("redis", f"out of reach ({name})", "correct REDIS_URL, or start Redis", passing=True)


def _takes_no_writes(error: redis.ResponseError) -> Finding:
    if isinstance(error, redis.exceptions.ReadOnlyError):
        code = "READONLY"
    else:  # redis-py takes the code away from what it knows a class for
        code = getattr(error, "status_code", "") or str(error).partition(" ")[0]
    why, to_do = REFUSALS.get(code, ("it is cut off from its primary, or fails over", "bring its primary back"))
    return Finding("redis", f"{TAKES_NO_WRITES}: {why}", to_do, passing=True)
