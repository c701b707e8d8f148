"""What a day's requests come to. Pure."""

from collections.abc import Mapping, Sequence

from worker.admin.freshness import requests_made

DAY = 86_400


def predicted(used: int, spans: Sequence[Mapping[float, int]], now: float) -> float:
    """Requests of the whole day (UTC): those since midnight, and for what is left of it the pace of the past hour.

    `spans` are each node's counts by the starts of spans, in unix seconds.
    """
    made = requests_made(spans, now, None, None)
    per_hour = made["per_hour"] if made else 0.0
    return float(used + per_hour * (DAY - now % DAY) / 3600)
