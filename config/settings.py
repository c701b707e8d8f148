"""Every setting of every process, read from the environment once, validated, frozen.

Nothing else reads the environment. Each name may also be given as ``NAME_FILE``, the path of a file that holds the
value (Docker and Kubernetes secrets). A process builds only the settings that it needs: migrations need no token key,
the endpoint no node. A wrong setting stops the start with a sentence; values are never shown, they may be secret.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from os import geteuid
from pathlib import Path
from tempfile import gettempdir
from typing import Any, ClassVar, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from config.base_settings import QueueSettings, Settings
from config.families import NetworkName
from config.files import Environment
from config.keys import secrets_of
from config.network_settings import Chain, NodeSettings, Source, TokenSettings, prefix
from config.proxies import wrong as wrong_of
from config.values import (
    KeysUrl,
    Seconds,
    Secret,
    Subnets,
    Words,
    named_url,
    overheard,
)

__all__ = [
    "ApiSettings",
    "Chain",
    "QueueSettings",
    "Settings",
    "WorkerSettings",
    "api_settings",
    "database_settings",
    "load",
    "problems",
    "worker_settings",
]

LEAST_REQUESTS = (
    2  # of a read: the balances, and at first one of those by which a node is verified (worker.reading.contact)
)

# With the bytes that a secret must have at least: those of the hash (RFC 7518 §3.2).
HMAC_ALGORITHMS = {"HS256": 32, "HS384": 48, "HS512": 64}
KEY_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})


def _private_folder() -> Path:
    """A folder of this user's, by a name that a health check can know."""
    with suppress(FileNotFoundError):
        return Path(gettempdir(), f"balance-sync-{geteuid()}")
    # Nothing here takes writes. A worker and beat say so at their start; the commands need no such folder.
    return Path("/tmp", f"balance-sync-{geteuid()}")  # noqa: S108  by the same name


class WorkerSettings(QueueSettings):
    """What the worker and beat need."""

    network_settings: Mapping[NetworkName, NodeSettings] = Field(default_factory=dict)
    of_a_network: ClassVar[type[TokenSettings]] = NodeSettings
    sync_lease: float = Field(default=60, ge=3, le=3600)
    confirm_rises: int | None = Field(default=None, ge=0)
    allow_plain_http: bool = False
    dispatch_interval: Seconds = 1
    life_sign_dir: Path = Field(default_factory=_private_folder)
    liveness_grace: float = Field(default=60, ge=5, le=3600)
    liveness_patience: float = Field(default=600, ge=5, le=24 * 3600)

    def chain(self, network: NetworkName) -> Chain:
        """What the settings say of a network. Raises ValueError where nobody has named its token."""
        return self.network_settings[network].chain(self.confirm_rises)

    @model_validator(mode="after")
    def _nodes_are_not_overheard(self) -> Self:
        for name, each in self.network_settings.items():
            if not self.allow_plain_http and any(overheard(url.get_secret_value()) for url in each.rpc_urls):
                raise ValueError(
                    f"{prefix(name)}RPC_URLS names a node on another machine by http://, where balances can be changed"
                    " on their way: use https://, or set ALLOW_PLAIN_HTTP=true if nobody is on that way"
                )
        return self

    @model_validator(mode="after")
    def _nodes_can_be_asked(self) -> Self:
        urls = [
            named_url(url.get_secret_value())[1] for each in self.network_settings.values() for url in each.rpc_urls
        ]
        if urls and (wrong := next(wrong_of(urls, Environment(type(self)).env_vars), "")):
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _a_read_fits_into_its_budget(self) -> Self:
        for name in self.networks:
            each = self.network_settings[name]
            if 0 < each.rps * self.read_limit < LEAST_REQUESTS:
                few = f"{prefix(name)}RPS leaves a read no {LEAST_REQUESTS} requests in its {self.read_limit:g} s"
                raise ValueError(f"{few}: raise it, or SYNC_LEASE")
        return self

    @model_validator(mode="after")
    def _no_balance_is_read_as_two(self) -> Self:
        sources: dict[Source | None, NetworkName] = {}
        for name in self.networks:
            other = sources.setdefault(self.source(name), name)
            if other != name:
                both = f"{prefix(other)}RPC_URLS and {prefix(name)}RPC_URLS"
                raise ValueError(f"{both} are of one chain id and one token: set only one of the two")
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
        """The networks that have a node, in the order of `known_networks`; the others are not synced."""
        return tuple(name for name, each in self.network_settings.items() if each.rpc_urls)


class ApiSettings(QueueSettings):
    """What the endpoint needs."""

    jwt_algorithms: Words = ("HS256",)
    jwt_secret: Secret | None = None
    jwt_public_key: Secret | None = None
    jwt_jwks_url: KeysUrl | None = None
    jwt_issuer: str | None = None
    jwt_audience: Words = ()
    jwt_max_age: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    jwt_jwks_max_age: float = Field(default=3600, ge=60, le=30 * 24 * 3600)
    jwt_user_claim: Words = Field(default=("sub",), min_length=1)
    jwt_admin_claim: Words = ("scope", "scp")
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
            try:
                shortest = min(map(len, secrets_of(self.jwt_secret.get_secret_value())))
            except ValueError as error:
                raise ValueError(f"JWT_SECRET {error}") from None
            if shortest < least:
                raise ValueError(f"JWT_SECRET must have at least {least} bytes: openssl rand -hex {least}")
        return self

    @model_validator(mode="after")
    def _the_provider_can_be_asked(self) -> Self:
        urls = [] if self.jwt_jwks_url is None else [self.jwt_jwks_url.get_secret_value()]
        if urls and (wrong := next(wrong_of(urls, Environment(type(self)).env_vars, socks=False), "")):
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _a_providers_tokens_are_for_us(self) -> Self:
        if self.jwt_jwks_url is not None and not self.jwt_audience:
            wanted = "the aud of tokens for this API, or any, to believe the provider's tokens for other programs too"
            raise ValueError(f"JWT_AUDIENCE must be set with JWT_JWKS_URL: {wanted}")
        return self

    @property
    def audience(self) -> tuple[str, ...] | None:
        """The `aud` of which a token must have one; None: whatever it has."""
        return None if self.jwt_audience in {(), ("any",)} else self.jwt_audience

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
    except SystemExit as error:
        return [str(error.code)]
    return []


def _sentence(error: Any) -> str:
    name = _variable(error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        message = "is required; see docs/configuration.md"
    return f"  {name}: {message}" if name else f"  {message}"


def _variable(place: tuple[Any, ...]) -> str:
    """The variable that an error is about; empty where its message names what it is about."""
    if place[:1] != ("network_settings",):
        return str(place[0]).upper() if place else ""
    return f"{prefix(place[1])}{place[2].upper()}" if len(place) > 2 else ""  # noqa: PLR2004  network and field


@cache
def database_settings() -> Settings:
    return load(Settings)


@cache
def worker_settings() -> WorkerSettings:
    return load(WorkerSettings)


@cache
def api_settings() -> ApiSettings:
    return load(ApiSettings)
