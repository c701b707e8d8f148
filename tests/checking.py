"""What the tests of ``celery -A worker check`` share."""

from collections.abc import Callable

from worker.admin.finding import Finding

Env = dict[str, str]
Look = Callable[..., list[Finding]]

BY_KEY = {"JWT_SECRET": "", "JWT_ALGORITHMS": "ES256", "JWT_AUDIENCE": "us"}  # what a test adds the key to


def failed(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(each.subject.partition(" ")[0], each.detail, each.to_do) for each in found if not each.ok]
