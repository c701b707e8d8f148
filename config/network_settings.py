"""What the environment says of each network (``<NAME>_RPC_URLS``, ``<NAME>_FINALITY``, …), joined with what is known.

In come a network (``config.networks``) and the values of its variables as text; out goes a `Chain`, in which everything
that a reader needs is decided. Pure: ``config.settings`` reads the environment, and tells of what is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from config.addresses import Family, account_bytes, canonical
from config.families import Network, NetworkName, on_another_chain
from config.values import NodeUrls, PerSecond, Secrets, Words

ONLY_OF: Mapping[str, Family] = {"api_keys": "tron", "api_key_hosts": "tron"}
"""Variables that networks of one family alone have. A key of an EVM node stands in its URL."""


def prefix(network: NetworkName) -> str:
    """What the names of a network's variables begin with."""
    return f"{network.upper().replace('-', '_')}_"


class Source(NamedTuple):
    """What a balance is of: blocks and amounts are compared within one source only."""

    chain_id: int
    contract: str
    """In the one spelling that is compared: an EVM address in small letters."""

    def __str__(self) -> str:
        return f"{self.chain_id}:{self.contract}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One network as the settings have it. Seconds; 0 requests a second and 0 seconds of age are no bounds.

    `network` has this chain's id and pace, and otherwise what is known of the network. `decimals` are None where only
    the chain can tell those of the token. `confirm_rises` is in whole tokens; None: no rise is confirmed. `daily_quota`
    is how many requests a day the plan of its nodes allows them together; None: nobody has said.
    """

    network: Network
    chain_id: int
    contract: str
    decimals: int | None
    finality: str
    per_second: float
    max_head_age: float
    confirm_rises: int | None = None
    urls: tuple[SecretStr, ...] = ()
    api_keys: tuple[SecretStr, ...] = ()
    api_key_hosts: tuple[str, ...] = ()
    daily_quota: int | None = None


def source(chain: Chain) -> Source:
    """What the balances are of that are read from a chain."""
    return Source(chain.chain_id, canonical(chain.network.family, chain.contract))


class TokenSettings(BaseModel):
    """What a process is told of a network that shows its balances. What is None is as the network has it."""

    model_config = ConfigDict(frozen=True)

    network: InstanceOf[Network] = Field(repr=False)
    chain_id: int | None = Field(default=None, gt=0, lt=2**63)
    usdt_contract: str | None = None
    usdt_decimals: int | None = Field(default=None, ge=0, le=77)

    @field_validator("usdt_contract")
    @classmethod
    def _is_an_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            account_bytes(info.data["network"].family, value)
        return value

    @property
    def contract(self) -> str | None:
        """The token; None: nobody has named one."""
        return self.usdt_contract or self.network.usdt_contract

    @property
    def decimals(self) -> int | None:
        """The token's decimals. None: nobody has named a token, or one that is not known here.

        They are never taken to be those of another token: most have 6, some have 18. A worker asks the chain, and what
        it finds is a row of ``networks`` before there is any balance.
        """
        if self.usdt_decimals is not None or self.contract is None:
            return self.usdt_decimals
        return _decimals_of_tokens(self.network).get(canonical(self.network.family, self.contract))

    @property
    def source(self) -> Source | None:
        """What a balance is of; None: nobody has named a token."""
        if self.contract is None:
            return None
        return Source(self.chain_id or self.network.chain_id, canonical(self.network.family, self.contract))


class NodeSettings(TokenSettings):
    """What a process is told of a network that reads it."""

    rpc_urls: NodeUrls = ()
    finality: str | None = None
    rps: PerSecond = 10
    max_head_age: float | None = Field(default=None, ge=0)
    daily_quota: int | None = Field(default=None, ge=1, le=10**12)
    api_keys: Secrets = ()
    api_key_hosts: Words = ("trongrid.io",)

    @field_validator("finality")
    @classmethod
    def _is_one_of_the_networks(cls, value: str | None, info: ValidationInfo) -> str | None:
        allowed = info.data["network"].finality
        if value is not None and value not in allowed:
            *most, last = (repr(each) for each in allowed)
            raise ValueError(f"Input should be {' or '.join([', '.join(most), last]) if most else last}")
        return value

    @model_validator(mode="after")
    def _what_is_read_has_a_token(self) -> Self:
        if self.rpc_urls and self.contract is None:
            name = f"{prefix(self.network.name)}USDT_CONTRACT"
            raise ValueError(f"{name} must be set: {self.network.warning or 'no token of this network is known'}")
        return self

    def chain(self, confirm_rises: int | None) -> Chain:
        """All of it decided. Raises ValueError where nobody has named a token."""
        network, contract = self.network, self.contract
        if contract is None:
            raise ValueError(f"{prefix(network.name)}USDT_CONTRACT is not set, and {network.name} has no token without")
        if self.chain_id not in (None, network.chain_id):
            network = on_another_chain(network, self.chain_id)
        finality = self.finality or network.default_finality
        return Chain(
            network=network,
            chain_id=network.chain_id,
            contract=contract,
            decimals=self.decimals,
            finality=finality,
            per_second=self.rps,
            max_head_age=network.finality[finality] if self.max_head_age is None else self.max_head_age,
            confirm_rises=confirm_rises,
            urls=self.rpc_urls,
            api_keys=self.api_keys,
            api_key_hosts=self.api_key_hosts,
            daily_quota=self.daily_quota,
        )


def _decimals_of_tokens(network: Network) -> dict[str, int]:
    """The decimals of the tokens that are known on a network, by their contracts."""
    known = dict(network.other_tokens)
    if network.usdt_contract is not None and network.usdt_decimals is not None:
        known[network.usdt_contract] = network.usdt_decimals
    return {canonical(network.family, contract): decimals for contract, decimals in known.items()}


def variables(kind: type[TokenSettings], network: Network) -> dict[str, str]:
    """The variables that say something of a network, in small letters, each with the field that it is the value of."""
    fields = [name for name in kind.model_fields if name != "network"]
    return {
        f"{prefix(network.name)}{name}".lower(): name
        for name in fields
        if ONLY_OF.get(name, network.family) == network.family
    }
