"""What options of the admin commands may be: lengths of time, networks. What they need is loaded when they are used."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from datetime import timedelta

    from config.networks import NetworkName


class Duration(click.ParamType["timedelta"]):
    """A length of time: 90s, 10m, 2h, 1d, 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "timedelta":
        from worker.wording import parsed

        try:
            return parsed(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Seconds(click.ParamType["float"]):
    """A length of time as a number of seconds, or with its units: 300, 5m."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from worker.wording import parsed

        try:
            return parsed(f"{value}s" if str(value).isdigit() else str(value)).total_seconds()
        except ValueError as error:
            self.fail(str(error), param, ctx)


def known_networks() -> tuple[str, ...]:
    """The names of all known networks; where no settings are, for the help alone, those that need none."""
    from config.networks import PRESETS
    from config.settings import worker_settings

    try:
        return tuple(worker_settings().known_networks)
    except SystemExit:
        return tuple(PRESETS)


class NetworkParam(click.ParamType["NetworkName"]):
    """A network by its name."""

    name = "network"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "NetworkName":
        if value not in (known := known_networks()):
            self.fail(f"{value!r:.40} is not one of {', '.join(map(repr, known))}.", param, ctx)
        return str(value)


class NetworkOption(click.Option):
    """An option whose help names the networks, which are data: they are loaded when they are looked at."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        self.help = f"Wallets of this network: {', '.join(known_networks())}."
        return super().get_help_record(ctx)
