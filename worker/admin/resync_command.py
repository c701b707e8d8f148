"""What ``celery -A worker resync`` says, asks, prints and ends with. The work itself is in ``worker.admin.resync``."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import click
import structlog
from sqlalchemy.exc import SQLAlchemyError

from config.logging import configure_logging
from config.network_settings import prefix
from config.settings import WorkerSettings
from db.resync_queries import Bundle, Scope
from worker.admin.progress import Progress
from worker.admin.resync import (
    ASK_ABOVE,
    Outcome,
    Plan,
    ResyncRefused,
    Send,
    forget_newest,
    mark_all,
    plan,
    send_for,
    wait,
)
from worker.wording import counted, told

log = structlog.get_logger(__name__)

INTERRUPTED = 130  # as a shell says it of a command that Ctrl-C ended


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a resync is to be made, and told of."""

    dry_run: bool
    wait: bool
    yes: bool
    as_json: bool
    forget: bool = False


@dataclass(slots=True)
class Resync:
    """One run of the command. `marked` are the wallets that are due; `queued` says whether the workers were told."""

    plan: Plan
    wishes: Wishes
    progress: Progress
    marked: list[Bundle] = field(default_factory=list)
    queued: bool | None = None
    outcome: Outcome | None = None
    interrupted: bool = False

    @property
    def due(self) -> int:
        return sum(bundle.wallets for bundle in self.marked)

    def tell(self, *lines: str) -> None:
        """What a person reads, and a script that asked for JSON does not."""
        if not self.wishes.as_json:
            for line in lines:
                click.echo(line)


def run(scope: Scope, wishes: Wishes, settings: WorkerSettings, send: Send) -> int:
    """Make a resync, from what is found to what is said at the end. Returns the exit code. Raises ResyncRefused."""
    progress = Progress(sys.stderr, quiet=wishes.as_json)
    with progress.during("looking for the wallets"):
        made = Resync(plan(scope, settings), wishes, progress)
    made.tell(*plan_lines(made.plan, settings))
    if wishes.forget and made.plan.wallets:
        made.tell("What was read of them until now may be overwritten by an older block, once. Until then it is shown.")
    code = 0
    if made.plan.wallets and not wishes.dry_run:
        if not _agreed(made):
            click.echo("Nothing was marked.", err=True)
            return 1
        code = _carry_out(made, settings, send)
    if wishes.as_json:
        click.echo(json.dumps(as_json(made)))
    return code


def _agreed(made: Resync) -> bool:
    if made.wishes.yes or made.plan.wallets <= ASK_ABOVE:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ResyncRefused(
            f"Nothing was marked: {made.plan.wallets:,} wallets are more than {ASK_ABOVE:,}, and there is no terminal "
            "to ask on. Say --yes if they are meant, or narrow the scope."
        )
    return click.confirm(f"Read {made.plan.wallets:,} wallets anew?", err=True)


def _carry_out(made: Resync, settings: WorkerSettings, send: Send) -> int:
    total, forget = made.plan.wallets, made.wishes.forget
    try:
        mark_all(made.plan.bundles, made.marked, made.progress, total=total, forget=forget)
        if forget:
            forget_newest(made.plan.shares, settings)
            configure_logging("WARNING", settings.log_format)
            log.warning("forgotten", wallets=made.due, networks=list(made.plan.shares))
        made.queued = send_for(made.marked, made.plan.sizes, send)
        if not made.queued:
            click.echo(
                "Redis is out of reach: the wallets are due all the same, and beat's next tick has them.", err=True
            )
        if not made.wishes.wait:
            made.tell(f"Due now: {counted(made.due, 'wallet')}. `celery -A worker freshness` shows how that goes.")
            return 0
        made.outcome = Outcome(made.due)
        wait(made.marked, made.outcome, made.progress)
    except KeyboardInterrupt:
        made.interrupted = True
        made.progress.clear()
        click.echo(_farewell(made), err=True)
        return INTERRUPTED
    except SQLAlchemyError:
        made.progress.clear()
        click.echo(_farewell(made), err=True)
        raise
    made.tell(*outcome_lines(made.outcome))
    return 1 if made.outcome.failures else 0


def _farewell(made: Resync) -> str:
    if made.outcome:
        done = f"{made.outcome.done:,} of {counted(made.outcome.total, 'wallet')} done so far"
        return f"The resync goes on: {done}. `celery -A worker freshness` shows how that goes."
    if made.due < made.plan.wallets:
        return (
            f"Due, and to be read: {made.due:,} of {counted(made.plan.wallets, 'wallet')}. For the others run it again."
        )
    return f"The resync goes on: {counted(made.due, 'wallet')} due."


def plan_lines(plan: Plan, settings: WorkerSettings) -> Iterator[str]:
    """What a resync comes to, for a person. Pure."""
    for network, share in plan.shares.items():
        size = plan.sizes[network]
        line = f"{network}: {counted(share.wallets, 'wallet')}, {counted(share.requests, 'request')} of up to {size:,}"
        if share.seconds is None:
            yield f"{line}, and no bound on requests a second"
        else:
            per_second = settings.chain(network).per_second
            least = f"at least {told(share.seconds)}" if share.seconds >= 1 else "about 1 s"
            yield f"{line}, {least} at {per_second:g} requests a second ({prefix(network)}RPS)"
    if plan.hopeless:
        yield f"Left out: {counted(plan.hopeless, 'wallet')} without a valid address. Corrected, it is due by itself."
    for network, wallets in plan.not_synced.items():
        yield f"Left out: {counted(wallets, 'wallet')} of {network}, which has no node. Set {prefix(network)}RPC_URLS."
    if not plan.wallets:
        yield "No wallet to be read."


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """What became of a resync, for a person. Pure."""
    yield f"Read: {outcome.read:,} of {counted(outcome.total, 'wallet')}, in {told(outcome.seconds)}." + (
        f" Deleted meanwhile: {outcome.gone:,}." if outcome.gone else ""
    )
    if outcome.failures:
        yield f"Failed: {outcome.failures:,}. They keep their balances and are tried again:"
        for code, wallets in sorted(outcome.failed.items(), key=lambda item: (-item[1], item[0])):
            yield f"  {code}: {wallets:,}"
        yield "docs/operations.md says what each code means and what to do."


def as_json(made: Resync) -> dict[str, Any]:
    """The object that `--json` prints; docs/operations.md has its keys."""
    outcome = made.outcome
    return {
        "dry_run": made.wishes.dry_run,
        "forget": made.wishes.forget,
        "wallets": made.plan.wallets,
        "seconds_at_least": made.plan.seconds,
        "networks": {network: asdict(share) for network, share in made.plan.shares.items()},
        "left_out": {"bad_address": made.plan.hopeless, "not_synced": made.plan.not_synced},
        "marked": made.due,
        "queued": made.queued,
        "interrupted": made.interrupted,
        "outcome": None
        if outcome is None
        else {
            "read": outcome.read,
            "failed": outcome.failures,
            "errors": dict(outcome.failed),
            "deleted": outcome.gone,
            "open": outcome.total - outcome.done,
            "seconds": round(outcome.seconds, 1),
        },
    }
