"""What ``celery -A worker resync`` says, asks, prints and ends with. The work itself is in ``worker.admin.resync``."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click
import structlog
from sqlalchemy.exc import SQLAlchemyError

from config.logging import configure_logging
from config.network_settings import prefix
from config.settings import WorkerSettings
from db.resync_queries import Scope
from worker.admin.progress import Progress
from worker.admin.resync import Result, Resync, ResyncRefused, Send, forget_newest, mark_all, plan, send_for, wait
from worker.wording import counted, in_words

log = structlog.get_logger(__name__)

ASK_ABOVE = 10_000
"""Wallets above which a person is asked, since a mistyped scope may cost a day's quota."""

INTERRUPTED = 130  # as a shell says it of a command that Ctrl-C ended


@dataclass(frozen=True, slots=True)
class Options:
    """How a resync is to be made, and told of."""

    dry_run: bool
    forget: bool
    wait: bool
    yes: bool
    as_json: bool


def run(scope: Scope, options: Options, settings: WorkerSettings, send: Send) -> int:
    """Make a resync, from what is found to what is said at the end. Returns the exit code. Raises ResyncRefused."""
    progress = Progress(sys.stderr, quiet=options.as_json)
    with progress.during("looking for the wallets"):
        resync = plan(scope, settings)
    resync.report |= {"dry_run": options.dry_run, "forget": options.forget}
    say(options, *plan_lines(resync, settings))
    code = 0
    if resync.report["wallets"] and not options.dry_run:
        if not _agreed(resync, options):
            click.echo("Nothing was marked.", err=True)
            return 1
        try:
            code = _carry_out(resync, options, settings, send, progress)
        except (KeyboardInterrupt, SQLAlchemyError) as ended:
            progress.clear()
            click.echo(_farewell(resync), err=True)
            if isinstance(ended, SQLAlchemyError):
                raise
            resync.report["interrupted"], code = True, INTERRUPTED
    if options.as_json:
        click.echo(json.dumps(resync.as_json()))
    return code


def say(options: Options, *lines: str) -> None:
    """What a person reads, and a script that asked for JSON does not."""
    if not options.as_json:
        for line in lines:
            click.echo(line)


def _agreed(resync: Resync, options: Options) -> bool:
    wallets = resync.report["wallets"]
    if options.yes or wallets <= ASK_ABOVE:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ResyncRefused(
            f"Nothing was marked: {wallets:,} wallets are more than {ASK_ABOVE:,}, and there is no terminal "
            "to ask on. Say --yes if they are meant, or narrow the scope."
        )
    return click.confirm(f"Read {wallets:,} wallets anew?", err=True)


def _carry_out(resync: Resync, options: Options, settings: WorkerSettings, send: Send, progress: Progress) -> int:
    mark_all(resync, progress, forget=options.forget, all_named=options.wait)
    if options.forget:
        forget_newest(resync, settings)
        configure_logging("WARNING", settings.log_format)
        log.warning("forgotten", wallets=resync.due.total(), networks=list(resync.report["networks"]))
    resync.report["queued"] = send_for(resync, send)
    if not resync.report["queued"]:
        click.echo("Redis is out of reach: the wallets are due all the same, and beat's next tick has them.", err=True)
    if not options.wait:
        due = counted(resync.due.total(), "wallet")
        say(options, f"Due now: {due}. `celery -A worker freshness` shows how that goes.")
        return 0
    resync.result = Result(resync.due.total())
    wait(resync.marked, resync.result, progress)
    say(options, *result_lines(resync.result))
    return 1 if resync.result.failed else 0


def _farewell(resync: Resync) -> str:
    """What is said where the command ends before its time."""
    total = counted(resync.report["wallets"], "wallet")
    if result := resync.result:
        done = f"{result.done:,} of {counted(result.total, 'wallet')} done so far"
        return f"The resync goes on: {done}. `celery -A worker freshness` shows how that goes."
    if resync.due.total() < resync.report["wallets"]:
        return f"Due, and to be read: {resync.due.total():,} of {total}. For the others run it again."
    return f"The resync goes on: {total} due."


def plan_lines(resync: Resync, settings: WorkerSettings) -> Iterator[str]:
    """What a resync comes to, for a person. Pure."""
    report = resync.report
    for network, cost in report["networks"].items():
        yield f"{network}: {', '.join(_cost(network, cost, resync.sizes[network], settings))}"
    if wallets := report["left_out"]["bad_address"]:
        yield f"Left out: {counted(wallets, 'wallet')} without a valid address. Corrected, it is due by itself."
    for network, wallets in report["left_out"]["not_synced"].items():
        yield f"Left out: {counted(wallets, 'wallet')} of {network}, which has no node. Set {prefix(network)}RPC_URLS."
    if not report["wallets"]:
        yield "No wallet to be read."
    elif report.get("forget"):
        yield "What was read of them until now may be overwritten by an older block, once. Until then it is shown."


def _cost(network: str, cost: Mapping[str, Any], size: int, settings: WorkerSettings) -> Iterator[str]:
    yield counted(cost["wallets"], "wallet")
    yield f"{counted(cost['requests'], 'request')} of up to {size:,}"
    if cost["seconds"] is None:
        yield "and no bound on requests a second"
    else:
        least = f"at least {in_words(cost['seconds'])}" if cost["seconds"] >= 1 else "about 1 s"
        yield f"{least} at {settings.chain(network).per_second:g} requests a second ({prefix(network)}RPS)"


def result_lines(result: Result) -> Iterator[str]:
    """What became of a resync, for a person. Pure."""
    gone = f" Deleted meanwhile: {result.gone:,}." if result.gone else ""
    yield f"Read: {result.read:,} of {counted(result.total, 'wallet')}, in {in_words(result.seconds)}.{gone}"
    if result.failed:
        yield f"Failed: {result.failed.total():,}. They keep their balances and are tried again:"
        for code, wallets in sorted(result.failed.items(), key=lambda item: (-item[1], item[0])):
            yield f"  {code}: {wallets:,}"
        yield "docs/operations.md says what each code means and what to do."
