"""Runs passes in the background, one at a time, and keeps what came of the last one for whoever asks."""

from collections.abc import Callable
from threading import Event, Thread
from time import monotonic, time

import structlog

from config.ops_settings import OpsSettings
from ops.collect import Passes
from ops.exposition import Known, rendered
from ops.history import History
from ops.metrics import SETTINGS
from ops.picture import Picture

log = structlog.get_logger(__name__)

HOLDS_INTERVALS = 3
"""Intervals from the begin of a pass after which what it found is too old to be shown as what is."""
IN_VAIN = 20.0
"""Seconds more for which it is told that Postgres does not answer: the next pass waits for it in vain as well before it
can say so again, and an alert whose series is not there for a moment counts its time anew.
"""
ENDS_WITHIN = 2.0  # seconds that the end of the process waits for a pass in hand


class Collector:
    """One per process. `picture` and `metrics` cost whoever asks nothing: they were made at the end of a pass."""

    def __init__(self, settings: OpsSettings, one_pass: Callable[[], Picture] | None = None) -> None:
        self._interval = settings.collect_interval
        self._one_pass = one_pass or Passes(settings).run
        chains = {network: settings.chain(network) for network in settings.networks}
        self._settings = {name: float(getattr(settings, name)) for name in SETTINGS}
        self._head_ages = {network: chain.max_head_age for network, chain in chains.items()}
        self._quotas = {network: chain.daily_quota for network, chain in chains.items() if chain.daily_quota}
        self.history = History()
        """The ages of the last hours, for the page."""
        self._last: Picture | None = None
        self._good: Picture | None = None
        """The last one in which Postgres told what it knows."""
        self._failures = 0
        self._rendered = b""
        self._broken = ""
        self._ends = Event()
        self._thread = Thread(target=self._run, name="collect", daemon=True)

    def start(self) -> None:
        """Begin the first pass. Postgres and Redis may be away."""
        self._thread.start()

    def close(self) -> None:
        """Begin no further pass."""
        self._ends.set()
        if self._thread.ident:
            self._thread.join(ENDS_WITHIN)

    @property
    def picture(self) -> Picture | None:
        """What the last pass found. None: there was none, or too long ago to be told as what is."""
        last = self._last
        return last if last and self._holds(last) else None

    @property
    def last(self) -> Picture | None:
        """What the last pass found, however long ago: its `at` is to be said with it."""
        return self._last

    @property
    def metrics(self) -> bytes:
        """All metrics in Prometheus' text form."""
        return self._rendered if self.picture else rendered(None, self._known())

    def wrong(self) -> str | None:
        """Why this process has nothing to tell, in a sentence; None: it has."""
        if self._good and self._holds(self._good):
            return None
        since = "yet" if self._good is None else f"for {time() - self._good.at:.0f} s"
        return f"No pass over Postgres has succeeded {since}."

    def run_pass(self) -> None:
        """One pass. Raises nothing: what goes wrong in it is a fault of ours, and told once as long as it lasts."""
        try:
            found = self._one_pass()
        except Exception as error:  # the next pass may do better, and metrics vanish until then
            self._failures += 1
            if type(error).__name__ != self._broken:
                self._broken = type(error).__name__
                log.exception("collection_broken")
            return
        self._broken = ""
        self._failures += not (found.counted and found.redis)
        self._good = found if found.counted else self._good
        # In this order: whoever asks in between is given the older picture, with the older metrics.
        self._rendered = rendered(found, self._known())
        self._last = found
        self.history.add(found)

    def _known(self) -> Known:
        good = self._good
        return Known(
            settings=self._settings,
            head_ages=self._head_ages,
            quotas=self._quotas,
            collected=good.at if good else None,
            seconds=good.seconds if good else None,
            failures=self._failures,
        )

    def _holds(self, picture: Picture) -> bool:
        longest = HOLDS_INTERVALS * self._interval + (0.0 if picture.counted else IN_VAIN)
        return -self._interval <= time() - picture.at <= longest

    def _run(self) -> None:
        while not self._ends.is_set():
            began = monotonic()
            self.run_pass()
            # The next multiple of the interval: a pass that takes longer leaves some out, and is never run twice.
            took = monotonic() - began
            self._ends.wait(self._interval - took % self._interval)
