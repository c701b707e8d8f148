"""What a worker and beat say of their Redis at a start: they wait for it, and end where waiting is no use."""

import structlog

from worker.admin.check_connections import broker

log = structlog.get_logger(__name__)

SECONDS = 3.0
"""For which a start waits for each answer."""
PASSING = ("out of reach", "a replica", "no Sentinel", "version", "maxmemory-policy")
"""How a finding begins that a process may begin to work with: Celery waits for Redis as long as it takes."""


def look_at_redis(url: str) -> None:
    """Log what is wrong with it, once. Raises SystemExit with a sentence for what no waiting mends."""
    for finding in broker(url, SECONDS):
        if finding.ok:
            continue
        begins = "" if finding.detail.startswith("REDIS_URL") else "REDIS_URL: Redis: "
        sentence = f"{begins}{finding.detail}: {finding.to_do}"
        if not finding.detail.startswith(PASSING):
            raise SystemExit(sentence)
        log.warning("redis_awaited", reason=sentence)
