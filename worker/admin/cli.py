"""The admin commands under ``celery -A worker``. Shells: what they do is in other modules, loaded when called."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

import click

from worker.admin.option_types import Duration, NetworkOption, NetworkParam, Seconds

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from config.networks import NetworkName
    from worker.admin.finding import Finding
    from worker.admin.resync import Send

MESSAGE_HOLDS = 60  # seconds; by then a tick of beat's has found what is due


RESYNC_HELP = """Have wallets read from their chains anew, now.

The wallets are those for which all of the given scopes hold. They become due at once in the database, and the
workers take them up: up to one request's worth of a network before other work, more than that as work like any
other, which does not hold up users. It goes on whatever becomes of this command.

Wallets without a valid address are left out and told of, unless --wallet names them; so are networks without a
node. Above 10,000 wallets the command asks first.

With --forget what was read of them until now may be overwritten by an older block, once: for balances by a node
that has lied. Take that node out of the settings and restart the workers before. The balances are shown until they
are overwritten.

\b
Examples:
  celery -A worker resync --user 5c81c005-1c52-4e0d-85e2-862ee1cdd4d0 --wait
  celery -A worker resync --network NAME --older-than 10m
  celery -A worker resync --failed --dry-run
  celery -A worker resync --network NAME --forget --wait
  celery -A worker resync --all --yes --json

\b
Exit codes:
  0    done, or nothing to do; without --wait: the wallets are due
  1    some wallets failed (--wait), or the database cannot be used, or the answer was no
  2    wrong options: no scope, a malformed value, an unknown id, --yes missing
  130  Ctrl-C; what was marked is read all the same
"""

FRESHNESS_HELP = """Show how fresh the balances are, and how the endpoints do. Asks no node.

A wallet is fresh when its last read was good and its next one is not overdue, which it is when it has been due for
longer than a lease (SYNC_LEASE). Ages are those of the balances. Requests an hour are those that the workers
counted in the past hour; where nothing was counted, what the wallets' cadence comes to at the least.

With --max-overdue it is a check for cron: it ends with 3 where a wallet of any network has been overdue for longer, or
been owed a read since a block touched it, or no wallet of a network has got a balance for so long, and says so on
stderr.

\b
Examples:
  celery -A worker freshness
  celery -A worker freshness --daily-quota 100000
  celery -A worker freshness --max-overdue 300 >/dev/null
  celery -A worker freshness --json

\b
Exit codes:
  0  it was told, however fresh or stale; Redis may be out of reach
  1  the database cannot be used
  2  wrong options
  3  with --max-overdue: a network is late
"""


@click.command(help="Verify the whole configuration against reality, before anything is started.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines, for scripts.")
@click.option("--without-endpoint", is_flag=True, help="Leave out the settings that only the HTTP endpoint needs.")
def check(*, as_json: bool, without_endpoint: bool, **_: Any) -> None:
    from config.logging import configure_logging, escaped
    from config.settings import worker_settings
    from worker.admin.check import findings

    configure_logging("CRITICAL", "console")  # what a reader logs of its endpoints is what is found
    found = []
    for finding in findings(worker_settings(), with_endpoint=not without_endpoint):
        found.append(finding)
        if not as_json:
            click.echo(f"{_mark(finding)}  {finding.subject}: {escaped(finding.detail)}")
            if finding.to_do:
                click.echo(f"      → {finding.to_do}")
    failed = sum(not finding.ok for finding in found)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [_as_json(each) for each in found]}))
    else:
        click.echo(f"{failed} of {len(found)} checks failed." if failed else f"All {len(found)} checks passed.")
    sys.exit(1 if failed else 0)


def _as_json(finding: "Finding") -> dict[str, object]:
    told = {name: value for name, value in asdict(finding).items() if name != "passing"}  # for a start, not for scripts
    return {"ok": finding.ok, **told}


def _mark(finding: "Finding") -> str:
    if finding.warning:
        return click.style("warn", fg="yellow")
    return click.style("ok  ", fg="green") if finding.ok else click.style("FAIL", fg="red", bold=True)


@click.command(help=RESYNC_HELP)
@click.option("--wallet", "wallets", type=click.UUID, multiple=True, metavar="ID", help="This wallet; may be repeated.")
@click.option(
    "--user", "users", type=click.UUID, multiple=True, metavar="ID", help="This user's wallets; may be repeated."
)
@click.option("--network", type=NetworkParam(), cls=NetworkOption, metavar="NAME")
@click.option(
    "--older-than",
    type=Duration(),
    metavar="AGE",
    help="Wallets read longer ago than this (90s, 10m, 2h, 1d), or never.",
)
@click.option("--failed", is_flag=True, help="Wallets whose last attempt failed.")
@click.option("--all", "everything", is_flag=True, help="Every wallet: needed where no other scope is given.")
@click.option("--forget", is_flag=True, help="Let older blocks overwrite what was read until now, once.")
@click.option("--dry-run", is_flag=True, help="Only tell how many wallets, how many requests and how long.")
@click.option(
    "--wait", is_flag=True, help="Wait until they were read, and show progress. Ctrl-C ends only the waiting."
)
@click.option("--yes", is_flag=True, help="Do not ask, however many there are.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines, for scripts.")
@click.pass_context
def resync(
    ctx: click.Context,
    /,
    *,
    wallets: "tuple[UUID, ...]",
    users: "tuple[UUID, ...]",
    network: "NetworkName | None",
    older_than: "timedelta | None",
    failed: bool,
    everything: bool,
    forget: bool,
    dry_run: bool,
    wait: bool,
    yes: bool,
    as_json: bool,
    **_: Any,
) -> None:
    from config.settings import worker_settings
    from db.resync_queries import Scope
    from worker.admin.resync_command import Options, run

    scope = Scope(wallets, users, network, older_than, failed)
    if scope.empty and not everything:
        raise click.UsageError(
            "Say which wallets: --wallet, --user, --network, --older-than or --failed; or --all for every one."
        )
    if forget and scope.empty:
        raise click.UsageError(
            "--forget is not for every wallet at once: say which, by --network, --wallet, --user or another scope."
        )
    if dry_run and wait:
        raise click.UsageError("--dry-run marks nothing, so there is nothing to --wait for: leave one of them out.")
    with plain_words():
        sys.exit(
            run(
                scope,
                Options(dry_run=dry_run, forget=forget, wait=wait, yes=yes, as_json=as_json),
                worker_settings(),
                sender(ctx.obj.app),
            )
        )


def sender(app: Any) -> "Send":
    """Sends tasks through the queues that workers serve first."""

    def send(name: str, args: Sequence[Any]) -> bool:
        from kombu.exceptions import OperationalError

        from config.broker import REFRESH_QUEUE, TICKS_QUEUE

        queue = TICKS_QUEUE if name == "worker.tasks.dispatch_due_wallets" else REFRESH_QUEUE
        try:
            app.send_task(name, args=args, queue=queue, expires=MESSAGE_HOLDS)
        except OperationalError:
            return False
        return True

    return send


@click.command(help=FRESHNESS_HELP)
@click.option(
    "--daily-quota", type=click.IntRange(min=1), metavar="N", help="Requests a day, in place of <NETWORK>_DAILY_QUOTA."
)
@click.option(
    "--max-overdue", type=Seconds(), metavar="SECONDS", help="End with 3 where a wallet is overdue for longer."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines, for scripts.")
def freshness(*, daily_quota: int | None, max_overdue: float | None, as_json: bool, **_: Any) -> None:
    from config.settings import worker_settings
    from worker.admin.freshness import late_lines, lines, look
    from worker.admin.progress import Progress

    with plain_words():
        if max_overdue is not None and max_overdue < (lease := worker_settings().sync_lease):
            raise click.UsageError(f"--max-overdue is {lease:g} or more: only then is a wallet overdue (SYNC_LEASE).")
        with Progress(sys.stderr, quiet=as_json).during("counting the wallets"):
            seen = look(worker_settings(), daily_quota=daily_quota, max_overdue=max_overdue)
        if not seen["redis"]:
            click.echo(
                "Redis is out of reach: how the endpoints do is not known. Correct REDIS_URL, or start it.", err=True
            )
        if as_json:
            click.echo(json.dumps(seen))
        elif not seen["networks"]:
            click.echo("There is no wallet, and no network has a node.")
        for report in () if as_json else seen["networks"]:
            heading, *others = lines(report)
            click.echo(click.style(heading, bold=True))
            click.echo("".join(f"{line}\n" for line in others), nl=False)
        for line in late_lines(seen):
            click.echo(line, err=True)
        sys.exit(3 if seen["late"] else 0)


@contextmanager
def plain_words() -> Iterator[None]:
    """What a command cannot go on with is told in a sentence that says what to do. No values: they may be secret."""
    from sqlalchemy.exc import SQLAlchemyError

    from config.logging import configure_logging
    from db.rights import OPS
    from worker.admin.check import database
    from worker.admin.resync import ResyncRefused
    from worker.admin.resync_command import INTERRUPTED

    configure_logging("ERROR", "console")  # to stderr; what matters of warnings is told by the commands themselves
    try:
        for found in database(OPS):
            if not found.ok:
                end(f"The database is {found.detail}: {found.to_do}.")
        yield
    except ResyncRefused as refused:
        raise click.UsageError(str(refused)) from None
    except SQLAlchemyError as error:
        # The driver's message may name host and user.
        name = type(getattr(error, "orig", None) or error).__name__
        end(f"The database did not do what it was asked ({name}): see its log, then try again.")
    except KeyboardInterrupt:
        click.echo("Interrupted; nothing was changed.", err=True)
        sys.exit(INTERRUPTED)


def end(sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(1)
