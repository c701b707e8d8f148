"""Every setting of every process, read from the environment once, validated, frozen.

Nothing else reads the environment. Each name may also be given as ``NAME_FILE``, the path of a file that holds the
value (Docker and Kubernetes secrets). A process builds only the settings that it needs: migrations need no token key,
the endpoint no node. A wrong setting stops the start with a sentence; values are never shown, they may be secret.
"""

from dataclasses import dataclass
from functools import cache
from os import geteuid
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from config.files import SecretFileSource
from config.networks import NetworkName
from config.values import (
    DatabaseUrl,
    KeysUrl,
    NodeUrls,
    PerSecond,
    RedisUrl,
    Seconds,
    Secret,
    Secrets,
    Subnets,
    Words,
    overheard,
)

NETWORKS: tuple[NetworkName, ...] = ("ethereum", "tron")

# Twice as old as the newest block of a sound node is at worst: slots are missed, and finality takes its time.
MAX_HEAD_AGE: dict[tuple[NetworkName, str], float] = {
    ("ethereum", "latest"): 120,
    ("ethereum", "safe"): 1800,
    ("ethereum", "finalized"): 2700,
    ("tron", "latest"): 60,
    ("tron", "solid"): 180,
}

LEAST_REQUESTS = 2  # of a read: the balances, and at first the token's supply

# With the bytes that a secret must have at least: those of the hash (RFC 7518 §3.2).
HMAC_ALGORITHMS = {"HS256": 32, "HS384": 48, "HS512": 64}
KEY_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})


def _private_folder() -> Path:
    """A folder of this user's, by a name that a health check can know."""
    return Path(gettempdir(), f"balance-sync-{geteuid()}")


class Settings(BaseSettings):
    """What every process needs."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, enable_decoding=False, extra="ignore")

    database_url: DatabaseUrl
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "console"
    max_wallets_per_user: int = Field(default=10_000, ge=1, le=1_000_000)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretFileSource(settings_cls)


class QueueSettings(Settings):
    """What a process needs that sends tasks."""

    redis_url: RedisUrl
    ethereum_usdt_decimals: int = Field(default=6, ge=0, le=77)
    tron_usdt_decimals: int = Field(default=6, ge=0, le=77)
    sync_interval_active: Seconds = 60
    sync_interval_idle: Seconds = 900
    refresh_cooldown: Seconds = 5
    refresh_deadline: Seconds = 5

    @model_validator(mode="after")
    def _intervals_are_ordered(self) -> Self:
        if self.sync_interval_idle < self.sync_interval_active:
            raise ValueError("SYNC_INTERVAL_IDLE must not be shorter than SYNC_INTERVAL_ACTIVE")
        return self


class WorkerSettings(QueueSettings):
    """What the worker and beat need."""

    ethereum_rpc_urls: NodeUrls = ()
    ethereum_chain_id: int = Field(default=1, gt=0)
    ethereum_usdt_contract: str = Field(
        default="0xdAC17F958D2ee523a2206206994597C13D831ec7", pattern=r"^0x[0-9a-fA-F]{40}$"
    )
    ethereum_finality: Literal["latest", "safe", "finalized"] = "latest"
    tron_rpc_urls: NodeUrls = ()
    tron_api_keys: Secrets = ()
    tron_api_key_hosts: Words = ("trongrid.io",)
    tron_chain_id: int = Field(default=728126428, gt=0)
    tron_usdt_contract: str = Field(
        default="TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", pattern=r"^T[1-9A-HJ-NP-Za-km-z]{33}$"
    )
    tron_finality: Literal["latest", "solid"] = "solid"
    ethereum_rps: PerSecond = 10
    tron_rps: PerSecond = 10
    ethereum_max_head_age: float | None = Field(default=None, ge=0)
    tron_max_head_age: float | None = Field(default=None, ge=0)
    sync_lease: float = Field(default=60, ge=3, le=3600)
    confirm_rises: int | None = Field(default=None, ge=0)
    allow_plain_http: bool = False
    dispatch_interval: Seconds = 1
    life_sign_dir: Path = Field(default_factory=_private_folder)

    def chain(self, network: NetworkName) -> "ChainSettings":
        """What the settings say of a network."""
        ethereum = network == "ethereum"
        decimals = self.ethereum_usdt_decimals if ethereum else self.tron_usdt_decimals
        finality = self.ethereum_finality if ethereum else self.tron_finality
        max_age = self.ethereum_max_head_age if ethereum else self.tron_max_head_age
        return ChainSettings(
            chain_id=self.ethereum_chain_id if ethereum else self.tron_chain_id,
            contract=self.ethereum_usdt_contract if ethereum else self.tron_usdt_contract,
            decimals=decimals,
            finality=finality,
            per_second=self.ethereum_rps if ethereum else self.tron_rps,
            max_head_age=MAX_HEAD_AGE[network, finality] if max_age is None else max_age,
            confirm_rises=None if self.confirm_rises is None else self.confirm_rises * 10**decimals,
        )

    @model_validator(mode="after")
    def _nodes_are_not_overheard(self) -> Self:
        for name, urls in (("ETHEREUM_RPC_URLS", self.ethereum_rpc_urls), ("TRON_RPC_URLS", self.tron_rpc_urls)):
            if not self.allow_plain_http and any(overheard(url.get_secret_value()) for url in urls):
                raise ValueError(
                    f"{name} names a node on another machine by http://, where balances can be changed on their way:"
                    " use https://, or set ALLOW_PLAIN_HTTP=true if nobody is on that way"
                )
        return self

    @model_validator(mode="after")
    def _a_read_fits_into_its_budget(self) -> Self:
        for name, per_second in (("ETHEREUM_RPS", self.ethereum_rps), ("TRON_RPS", self.tron_rps)):
            if 0 < per_second * self.read_limit < LEAST_REQUESTS:
                few = f"{name} leaves a read no {LEAST_REQUESTS} requests in its {self.read_limit:g} s"
                raise ValueError(f"{few}: raise it, or SYNC_LEASE")
        return self

    # The time-outs of a batch follow from its lease, so that they are in order whatever the lease is: a request gives
    # up before its read, a read before its task is interrupted, the task is killed before its lease ends, and nobody
    # else claims before that.
    @property
    def request_limit(self) -> float:
        """Seconds that one request to a node may take."""
        return self.sync_lease / 6

    @property
    def read_limit(self) -> float:
        """Seconds in which a batch is read, whatever number of requests and endpoints it takes."""
        return self.sync_lease * 5 / 12

    @property
    def task_soft_limit(self) -> float:
        return self.sync_lease / 2

    @property
    def task_hard_limit(self) -> float:
        return self.sync_lease * 3 / 4

    @property
    def networks(self) -> tuple[NetworkName, ...]:
        """The networks that have a node; the others are not synced."""
        urls: dict[NetworkName, NodeUrls] = {"ethereum": self.ethereum_rpc_urls, "tron": self.tron_rpc_urls}
        return tuple(network for network in NETWORKS if urls[network])


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """What a reader of one network needs. Seconds; 0 requests a second and 0 seconds of age are no bounds.

    `confirm_rises` is in base units; None: no rise is confirmed.
    """

    chain_id: int
    contract: str
    decimals: int
    finality: str
    per_second: float
    max_head_age: float
    confirm_rises: int | None = None


class ApiSettings(QueueSettings):
    """What the endpoint needs."""

    jwt_algorithms: Words = ("HS256",)
    jwt_secret: Secret | None = None
    jwt_public_key: Secret | None = None
    jwt_jwks_url: KeysUrl | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_max_age: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    jwt_jwks_max_age: float = Field(default=3600, ge=60, le=30 * 24 * 3600)
    jwt_admin_scope: str = Field(default="balances:admin", min_length=1)
    refresh_max_per_user: int = Field(default=1440, ge=0)
    refresh_max: int = Field(default=50_000, ge=0)
    trusted_proxies: Subnets = ()
    api_pool_min: int = Field(default=1, ge=1, le=100)
    api_pool_max: int = Field(default=10, ge=1, le=100)
    api_database_timeout: float = Field(default=2, ge=0.1, le=60)

    @model_validator(mode="after")
    def _algorithms_fit_the_key(self) -> Self:
        if sum(key is not None for key in (self.jwt_secret, self.jwt_public_key, self.jwt_jwks_url)) != 1:
            raise ValueError("JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL must be set, and only one of them")
        allowed = KEY_ALGORITHMS if self.jwt_secret is None else set(HMAC_ALGORITHMS)
        if not self.jwt_algorithms or not allowed.issuperset(self.jwt_algorithms):
            # An HMAC algorithm beside a public key would let anyone sign with that public key.
            raise ValueError(f"JWT_ALGORITHMS must be out of {', '.join(sorted(allowed))} with this kind of key")
        if self.jwt_secret is not None:
            least = max(HMAC_ALGORITHMS[name] for name in self.jwt_algorithms)
            if len(self.jwt_secret.get_secret_value().encode()) < least:
                raise ValueError(f"JWT_SECRET must have at least {least} bytes: openssl rand -hex {least}")
        return self

    @model_validator(mode="after")
    def _a_providers_tokens_are_for_us(self) -> Self:
        if self.jwt_jwks_url is not None and self.jwt_audience is None:
            wanted = "the aud of tokens for this API, or any, to believe the provider's tokens for other programs too"
            raise ValueError(f"JWT_AUDIENCE must be set with JWT_JWKS_URL: {wanted}")
        return self

    @property
    def audience(self) -> str | None:
        """The `aud` that a token must have; None: whatever it has."""
        return None if self.jwt_audience == "any" else self.jwt_audience

    @model_validator(mode="after")
    def _pool_has_room(self) -> Self:
        if self.api_pool_max < self.api_pool_min:
            raise ValueError("API_POOL_MAX must not be smaller than API_POOL_MIN")
        return self


S = TypeVar("S", bound=Settings)


def load(kind: type[S]) -> S:
    """Build the settings of one kind from the environment.

    Raises SystemExit with a sentence for each setting that is missing or wrong; values are left out.
    """
    try:
        return kind()
    except ValidationError as error:
        raise SystemExit("\n".join(["The settings are not usable:", *map(_sentence, error.errors())])) from None


def problems(kind: type[Settings]) -> list[str]:
    """The sentences with which `load` would end the process."""
    try:
        kind()
    except ValidationError as error:
        return [_sentence(each).strip() for each in error.errors()]
    return []


def _sentence(error: Any) -> str:
    name = str(error["loc"][0]).upper() if error["loc"] else ""
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        message = "is required; see the settings in README.md"
    return f"  {name}: {message}" if name else f"  {message}"


@cache
def database_settings() -> Settings:
    return load(Settings)


@cache
def worker_settings() -> WorkerSettings:
    return load(WorkerSettings)


@cache
def api_settings() -> ApiSettings:
    return load(ApiSettings)
