"""What one pass over Postgres and Redis found: the page and the metrics are made of nothing else. Pure data.

What could not be found out is None: a Redis that is away leaves `queues` None, and never an empty one.
Moments are unix seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from db.freshness_queries import NetworkFreshness
from db.network_state import Condition
from worker.admin.node_states import NodeState


@dataclass(frozen=True, slots=True)
class Quota:
    """A network's plan: requests a day, how many were sent since midnight UTC, and what the day comes to."""

    a_day: int
    used: int | None = None
    predicted: float | None = None
    """Requests of the whole day, by the pace of the past hour."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a network's workers have counted since Redis was emptied last. All grow and never fall."""

    requests: Mapping[str, int] = field(default_factory=dict)
    """By the endpoint's name."""
    failed_reads: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By the endpoint's name and the error's code."""
    batches: Mapping[str, int] = field(default_factory=dict)
    """By outcome (``ops.metrics.BATCH_OUTCOMES``)."""
    batch_sizes: Mapping[int | None, int] = field(default_factory=dict)
    """Batches of at most so many wallets and of more than the bound before; None: of more than the last bound."""
    batch_wallets: int = 0
    """Wallets in all these batches together."""
    budget_wait_seconds: float = 0.0
    lost_batches: int = 0


@dataclass(frozen=True, slots=True)
class NetworkPicture:
    """One network."""

    name: str
    synced: bool
    """Whether the settings give it nodes."""
    wallets: NetworkFreshness | None
    """None: the database is away, or does not tell."""
    condition: Condition | None
    nodes: Sequence[NodeState] | None
    """Best first; None: Redis is away."""
    work: Work | None
    quota: Quota | None
    max_head_age: float | None
    reads_per_hour: float | None = None
    """What the cadence of all wallets comes to."""


@dataclass(frozen=True, slots=True)
class QueuePicture:
    """One queue, when the message that waits longest was sent, and when a worker that serves it was seen last."""

    name: str
    messages: int
    oldest: float | None = None
    worker_seen: float | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """What one pass found."""

    at: float
    """When it began."""
    seconds: float
    """How long it took."""
    database: bool
    """Whether Postgres answered, if only that it will not tell, or did not find it in time."""
    redis: bool
    """Whether Redis answered."""
    networks: Sequence[NetworkPicture]
    queues: Sequence[QueuePicture] | None = None
    dispatched: float | None = None
    """When a worker last carried out a tick of beat's."""
    workers: Mapping[str, float] | None = None
    """Workers by their names, and when each was seen last."""
    counted: bool = True
    """Whether Postgres told what it knows of the wallets."""
    why: str = ""
    """What failed, without any value of a setting: the error's class."""
