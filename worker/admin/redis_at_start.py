"""What a worker and beat say of their Redis at a start: they wait for it, and end where waiting is no use."""

import structlog

from worker.admin.check_redis import broker
from worker.admin.finding import Finding

log = structlog.get_logger(__name__)

SECONDS = 3.0
"""For which a start waits for each answer."""


def look_at_redis(url: str) -> None:
    """Log what is wrong with it, once. Raises SystemExit with a sentence for what no waiting mends.

    Celery itself waits for Redis as long as it takes.
    """
    for finding in broker(url, SECONDS):
        if finding.warning:
            log.warning("redis_unfit", reason=_sentence(finding))
        elif finding.passing:
            log.warning("redis_awaited", reason=_sentence(finding))
        elif not finding.ok:
            raise SystemExit(_sentence(finding))


def _sentence(finding: Finding) -> str:
    begins = "" if finding.detail.startswith("REDIS_URL") else "REDIS_URL: Redis: "
    return f"{begins}{finding.detail}: {finding.to_do}"
