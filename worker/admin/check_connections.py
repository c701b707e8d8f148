"""Whether the servers that DATABASE_URL and REDIS_URL name are what a process can work with. I/O.

Each connects as the process does that needs it, by the same code, and tries what that process does.
"""

import asyncio
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Connection

from config import redis_address
from config.redis_address import CLUSTER
from db.reasons import reason
from db.server_facts import facts, troubles
from worker.admin.finding import Finding

OLDEST_REDIS = (6, 2)
ENDPOINT_SECONDS = 10.0
RIGHTS = "give it the rights of config/redis.acl"


def postgres(connection: Connection) -> Iterator[Finding]:
    """What of a database that answers is not as it must be, or not as it should be."""
    for trouble in troubles(facts(connection)):
        yield Finding("database", trouble.detail, trouble.to_do, warning=trouble.warning)


def endpoints_way(url: str) -> Iterator[Finding]:
    """Whether the endpoint's driver reaches the database too: it is another than the worker's."""
    import asyncpg  # a worker looks at Redis by this module, and does without this driver

    from db.endpoint_connections import Connector

    async def connect() -> None:
        async with asyncio.timeout(ENDPOINT_SECONDS):
            connection = await Connector(url, {}, "balance-sync-check").connect()
        connection.terminate()

    try:
        asyncio.run(connect())
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        yield Finding("database", f"out of the endpoint's reach: {reason(error)}", "correct DATABASE_URL")


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
    if about.get("redis_mode") == "cluster" or _is_cluster(client):
        yield Finding("redis", f"REDIS_URL {CLUSTER.partition(':')[0]}", CLUSTER.partition(": ")[2])
        return
    if about.get("role") == "slave":
        yield Finding("redis", "a replica, which takes no writes", "name the primary in REDIS_URL, or Sentinels")
        return
    if refused := _refused(client):
        yield Finding("redis", f"its user may not do what a worker does: {', '.join(refused)}", RIGHTS)
        return
    if not about:
        yield Finding(
            "redis", "its user may not ask INFO, so its version and policy are not known", RIGHTS, warning=True
        )
        return
    version, policy = str(about.get("redis_version", "0")), about.get("maxmemory_policy", "noeviction")
    if tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
        yield Finding("redis", f"version {version}", "use 6.2 or later")
    elif policy != "noeviction":
        to_do = "set its maxmemory-policy to noeviction: a full Redis would throw messages away"
        yield Finding("redis", f"maxmemory-policy {policy}", to_do)
    else:
        yield Finding("redis", f"version {version}, {policy}")


def _is_cluster(client: Any) -> bool:
    """Whether two keys may be out of one command's reach."""
    try:
        client.mget("bal:check:1", "bal:check:2")
    except (redis.exceptions.ClusterError, redis.exceptions.ClusterCrossSlotError, redis.exceptions.MovedError):
        return True
    except redis.ResponseError:
        return False
    return False


def _refused(client: Any) -> list[str]:
    """Which of a worker's commands are refused to this user. They are done to keys that nothing else uses."""
    own, field = f"bal:check:{token_hex(8)}", f"check:{token_hex(8)}"
    commands: list[tuple[Any, ...]] = [
        ("SET", own, "1", "PX", "60000"),
        *(("MGET", own), ("GET", own), ("EXISTS", own), ("TYPE", own), ("INCRBY", own, "1")),
        *(("PTTL", own), ("PEXPIRE", own, "60000"), ("EXPIRE", own, "60"), ("DEL", own)),
        *(("LPUSH", own, "1"), ("RPUSH", own, "1"), ("LLEN", own), ("BRPOP", own, "0.1"), ("DEL", own)),
        *(("HSET", "bal:unacked", field, "1"), ("HGET", "bal:unacked", field), ("HMGET", "bal:unacked", field)),
        *(("HDEL", "bal:unacked", field), ("ZADD", "bal:unacked_index", "9e15", field)),
        *(("ZRANGE", "bal:unacked_index", "0", "0"), ("ZREM", "bal:unacked_index", field)),
        ("ZREMRANGEBYSCORE", "bal:unacked_index", "9e15", "9e15"),
        *(("EVAL", "return redis.call('TIME')", "0"), ("WATCH", own), ("UNWATCH",), ("MULTI",), ("EXEC",)),
    ]
    refused = []
    for command in commands:
        try:
            client.execute_command(*command)
        except redis.exceptions.NoPermissionError:
            refused.append(command[0])
        except redis.ResponseError:  # of what lies there, or since one before was refused
            continue
    return list(dict.fromkeys(refused))


def _out_of_reach(error: redis.RedisError) -> Finding:
    said = str(error)
    if isinstance(error, redis.exceptions.AuthenticationError) or "WRONGPASS" in said or "NOAUTH" in said:
        return Finding("redis", "its user or password is refused", "correct them in REDIS_URL")
    if isinstance(error, redis.exceptions.NoPermissionError):
        return Finding("redis", "its user may do next to nothing", RIGHTS)
    if isinstance(error, redis.sentinel.MasterNotFoundError):
        return Finding(
            "redis", "no Sentinel tells of that master", "correct REDIS_URL: redis+sentinel://host:26379/its-name/0"
        )
    if "CERTIFICATE_VERIFY_FAILED" in said:
        to_do = "name who does in REDIS_URL, by ssl_ca_certs, or its own name if it has another"
        return Finding("redis", "nobody whom we trust vouches for its certificate", to_do)
    if "DB index" in said:
        return Finding("redis", "it has no database of that number", "correct the number at the end of REDIS_URL")
    return Finding("redis", f"out of reach ({type(error).__name__})", "correct REDIS_URL, or start Redis")
