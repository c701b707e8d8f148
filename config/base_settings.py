"""What every process is set by, and every process that sends tasks: the ground on which ``config.settings`` stands."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from config.families import Network, NetworkName
from config.files import Environment, given
from config.network_settings import NodeSettings, Source, TokenSettings, prefix, variables
from config.networks import PRESETS
from config.networks_file import NetworksFile
from config.values import DatabaseUrl, LogFormat, LogLevel, RedisUrl, Seconds


class Settings(BaseSettings):
    """What every process needs."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, enable_decoding=False, extra="ignore")

    database_url: DatabaseUrl
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "console"
    max_wallets_per_user: int = Field(default=10_000, ge=1, le=1_000_000)
    networks_file: NetworksFile = Field(default_factory=lambda: PRESETS, repr=False)
    """What stands in it: the environment has its path."""

    @property
    def known_networks(self) -> Mapping[NetworkName, Network]:
        """All networks that are known, by name: the presets, and what NETWORKS_FILE has."""
        return self.networks_file

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, Environment(settings_cls), NetworkVariables(settings_cls)


MOST_STRETCHED = 4.0
"""How many times as long the intervals may be that a small quota stretches (``worker.feed.policy``)."""
SWEEP = 6 * 3600.0  # seconds; a longer SYNC_INTERVAL_IDLE takes its place

OF_NETWORKS = tuple(f"_{name}" for name in NodeSettings.model_fields if name != "network")
"""What a variable ends in that says something of a network, in small letters: ``_chain_id``, ``_finality``, …"""
NODES = "_rpc_urls"
"""The ending of the one that gives a network its nodes. A network without it is not synced."""


class NetworkVariables(EnvSettingsSource):
    """Every variable that may say something of a network, as it is: whose it is follows from the networks file."""

    def __call__(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.env_vars.items() if name.removesuffix("_file").endswith(OF_NETWORKS)
        }


class QueueSettings(Settings):
    """What a process needs that sends tasks."""

    redis_url: RedisUrl
    network_settings: Mapping[NetworkName, TokenSettings] = Field(default_factory=dict)
    """What each known network's own variables say: ``<NAME>_USDT_DECIMALS``, …"""
    of_a_network: ClassVar[type[TokenSettings]] = TokenSettings
    """Which of those variables this process looks at: it is not given what it does not need."""
    sync_interval_active: Seconds = 60
    sync_interval_idle: Seconds = 900
    sync_interval_sweep: Seconds = Field(default=SWEEP, validate_default=True)
    """Seconds between reads of a wallet whose every change the feed shows."""
    feed: bool = True
    """Whether the blocks of a network are followed, where that is the cheapest way to be fresh."""
    refresh_cooldown: Seconds = 5
    refresh_deadline: Seconds = 5

    @model_validator(mode="before")
    @classmethod
    def _variables_of_networks(cls, found: dict[str, Any]) -> dict[str, Any]:
        """Gather them for the validator below, which knows the networks."""
        return {**found, "network_settings": {name: value for name, value in found.items() if "_" in name}}

    @field_validator("network_settings", mode="before")
    @classmethod
    def _by_network(cls, found: Mapping[str, Any], info: ValidationInfo) -> dict[NetworkName, dict[str, Any]]:
        known = info.data.get("networks_file", PRESETS)
        return {
            name: {"network": network, **_values(variables(cls.of_a_network, network), found)}
            for name, network in known.items()
        }

    def usdt_decimals(self, network: NetworkName) -> int | None:
        """The decimals of a network's token; None where no token is named, or only the chain can tell them."""
        return self.network_settings[network].decimals

    def native_decimals(self, network: NetworkName) -> int:
        """The decimals of a network's native coin."""
        return self.known_networks[network].native_decimals

    def source(self, network: NetworkName) -> Source | None:
        """What balances of a network have to be of to be shown; None where no token is named."""
        return self.network_settings[network].source

    @property
    def longest_interval(self) -> float:
        """Seconds from one read of a wallet to the next, at the most: by a sweep, or by a cadence that is stretched."""
        idle = self.sync_interval_idle
        return max(self.sync_interval_sweep, idle * MOST_STRETCHED) if self.feed else idle

    @model_validator(mode="after")
    def _intervals_are_ordered(self) -> Self:
        if self.sync_interval_idle < self.sync_interval_active:
            raise ValueError("SYNC_INTERVAL_IDLE must not be shorter than SYNC_INTERVAL_ACTIVE")
        return self

    @field_validator("sync_interval_sweep")
    @classmethod
    def _a_sweep_is_the_rarest_read(cls, sweep: float, info: ValidationInfo) -> float:
        idle: float = info.data.get("sync_interval_idle", 0.0)
        if sweep < idle and sweep != SWEEP:
            raise ValueError("must not be shorter than SYNC_INTERVAL_IDLE")
        return max(sweep, idle)


def _values(variables: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of variables by their fields, each given as it is or as the path of a file."""
    values = {}
    for variable, name in variables.items():
        value = given(found, variable) if f"{variable}_file" in found else found.get(variable)
        if isinstance(value, str):
            value = given({variable: value}, variable)
        if value is not None:
            values[name] = value
    return values


def setting_names(kind: type[Settings], networks: Mapping[NetworkName, Network] = PRESETS) -> tuple[str, ...]:
    """The environment's names of all settings of a kind, those of these networks among them."""
    own = [name.upper() for name in kind.model_fields if name != "network_settings"]
    if not issubclass(kind, QueueSettings):
        return tuple(own)
    return (*own, *(name.upper() for each in networks.values() for name in variables(kind.of_a_network, each)))


def unknown_networks(settings: Settings) -> tuple[str, ...]:
    """Variables that give nodes to a network that is not known: mistyped, or another program's."""
    known = {f"{prefix(name)}rpc_urls".lower() for name in settings.known_networks}
    found = {name.removesuffix("_file") for name in NetworkVariables(type(settings))()}
    return tuple(sorted(name.upper() for name in found - known if name.endswith(NODES)))


ALIKE = 0.85
"""How near a name has to be to a setting's: FINALTY is, and URL, which other programs' variables end with, is not."""


def misnamed(settings: Settings) -> tuple[str, ...]:
    """Variables that are nearly those of a known network, or are of other networks alone: mistyped, and without effect.

    What other programs have for themselves may begin in the same way, so that nothing else is told of.
    """
    networks = settings.known_networks.values()
    own = {variable for network in networks for variable in variables(NodeSettings, network)}
    begins = tuple(prefix(network.name).lower() for network in networks)
    found = {name.removesuffix("_file") for name in NetworkVariables(type(settings)).env_vars} - own
    ends = [name.removeprefix("_") for name in OF_NETWORKS]
    return tuple(
        name.upper()
        for name in sorted(found)
        if any(
            name.startswith(begin) and get_close_matches(name.removeprefix(begin), ends, n=1, cutoff=ALIKE)
            for begin in begins
        )
    )
