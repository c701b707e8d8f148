"""``celery -A worker plan`` on the command line. A shell over ``worker.admin.plan``."""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from config.networks import NetworkName
    from config.settings import WorkerSettings

NUMBER = re.compile(r"(?:(?P<name>.+)=)?(?P<number>0*[1-9][0-9]{0,11})", re.ASCII | re.DOTALL)

PLAN_HELP = """Tell what so many wallets will cost: requests, share of a plan, processes, disk.

Asks no node and no database. Counted are reads by the cadence of SYNC_INTERVAL_ACTIVE and _IDLE, for wallets that each
change or are looked at a few times a day (--touches). Where FEED is on, what its policy takes is told too: all wallets
are read once a block, or blocks are followed. Refreshes, second reads and failures come on top. Networks are those that
have a node, or all that are known where none has; --wallets NAME=NUMBER names them.

\b
Examples:
  celery -A worker plan --wallets 50000
  celery -A worker plan --wallets 50000 --network NAME
  celery -A worker plan --wallets NAME=50000 --wallets OTHER=2000 --touches 10
  celery -A worker plan --wallets 50000 --json

\b
Exit codes:
  0  it was told
  1  the settings cannot be used
  2  wrong options
"""


@click.command(help=PLAN_HELP)
@click.option(
    "--wallets",
    "numbers",
    multiple=True,
    required=True,
    metavar="[NAME=]NUMBER",
    help="How many each network has; NAME=NUMBER may be repeated.",
)
@click.option("--network", "names", multiple=True, metavar="NAME", help="Of this network; may be repeated.")
@click.option(
    "--touches",
    type=click.IntRange(0, 1000),
    default=2,
    show_default=True,
    metavar="N",
    help="How often in a day a wallet changes or is looked at.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines, for scripts.")
def plan(*, numbers: tuple[str, ...], names: tuple[str, ...], touches: int, as_json: bool, **_: Any) -> None:
    from worker.admin.plan import lines
    from worker.admin.plan import plan as planned

    settings = _settings()
    made = planned(settings, wanted(numbers, names, settings.networks, settings.known_networks), touches=touches)
    if as_json:
        click.echo(json.dumps(made))
        return
    for network in made["networks"]:
        heading, *others = lines(network)
        click.echo("\n".join([click.style(heading, bold=True), *others]))
    total = f"{made['wallets']:,} wallets, {made['processes']} worker processes, {made['disk_bytes'] / 1e6:,.0f} MB"
    of = f"All {len(made['networks'])} networks together" if len(made["networks"]) > 1 else "In all"
    click.echo(f"{of}: about {total}, where each wallet changes or is looked at {touches} times a day.")
    click.echo("Plans are as they were known once, partly from others than the provider: --json has the sources.")


def _settings() -> "WorkerSettings":
    """Those of the environment. A plan needs neither a database nor Redis, so that these may be missing."""
    from pydantic import ValidationError

    from config.settings import WorkerSettings, problems

    try:
        return WorkerSettings()
    except ValidationError as error:
        nobodys: Any = {"database_url": "postgresql://nobody/", "redis_url": "redis://nobody"}
        missing = {each["loc"][0] for each in error.errors() if each["type"] == "missing"}
        try:
            return WorkerSettings(**{name: url for name, url in nobodys.items() if name in missing})
        except ValidationError:
            click.echo("\n".join(["The settings are not usable:", *problems(WorkerSettings)]), err=True)
            sys.exit(1)


def wanted(
    numbers: Iterable[str], names: Iterable[str], synced: Iterable[str], known: Mapping[str, Any]
) -> "dict[NetworkName, int]":
    """How many wallets of which networks. Raises click.UsageError. Pure."""
    alone, of_networks = _parsed(numbers)
    chosen = tuple(names) or tuple(of_networks) or tuple(synced) or tuple(known)
    if unknown := [name for name in (*chosen, *of_networks) if name not in known]:
        raise click.UsageError(f"{unknown[0]!r:.40} is not one of {', '.join(map(repr, known))}.")
    if lacking := [name for name in chosen if alone is None and name not in of_networks]:
        raise click.UsageError(f"--wallets: say how many {lacking[0]} has.")
    if left_out := [name for name in of_networks if name not in chosen]:
        raise click.UsageError(f"--network leaves out {left_out[0]}, whose wallets are given.")
    return {name: of_networks[name] if alone is None else alone for name in chosen}


def _parsed(numbers: Iterable[str]) -> tuple[int | None, dict[str, int]]:
    """One number for each network, or those of some by their names. Raises click.UsageError."""
    alone: list[int] = []
    of_networks: dict[str, int] = {}
    for each in numbers:
        found = NUMBER.fullmatch(each)
        if found is None:
            raise click.UsageError(f"--wallets: {each!r:.40} is not a number above 0, or NAME=NUMBER.")
        if found["name"] in of_networks:
            raise click.UsageError(f"--wallets: {found['name']!r:.40} is given twice.")
        if found["name"]:
            of_networks[found["name"]] = int(found["number"])
        else:
            alone.append(int(found["number"]))
    if len(alone) > 1 or (alone and of_networks):
        raise click.UsageError("--wallets: say one number for each network, or NAME=NUMBER for every one.")
    return (alone[0] if alone else None), of_networks
