"""One network's table in NETWORKS_FILE, read and checked. Pure.

In come a network's name, the table, and what is known of the network already; out comes the network.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.addresses import BadAddress, Family, account_bytes
from config.families import FAMILIES, FINALITIES, BlockNumberSource, Network, NetworkName, Strategy, on_another_chain

NAME = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
"""No underscore: it stands for the dash in the names of variables, and two networks must not share those."""
REQUIRED: Mapping[Family, tuple[str, ...]] = {
    "evm": ("chain_id", "usdt_contract", "usdt_decimals", "native_symbol"),
    "tron": ("chain_id", "usdt_contract", "usdt_decimals"),
}
"""What a new network of a family has to be told of: the rest has values that hold for most of its family."""
SHOWN = 40  # characters of a name or a key that is wrong

Age = Annotated[float, Field(ge=0, le=30 * 24 * 3600)]
Between = Annotated[float, Field(gt=0, le=24 * 3600)]
Decimals = Annotated[int, Field(ge=0, le=77)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Number = Annotated[int, Field(ge=0, lt=2**63)]
Moment = Annotated[int, Field(ge=0, lt=2**32)]
"""In unix seconds: what is larger are milliseconds."""


class Table(BaseModel):
    """The keys of a table, each with what its value may be. Whether they fit each other is seen in `_misfits`."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

    family: Family = "evm"
    chain_id: int = Field(default=0, gt=0, lt=2**63)
    usdt_contract: str = ""
    usdt_decimals: Decimals = 0
    native_symbol: str = Field(default="", pattern=r"^[A-Za-z][A-Za-z0-9.]{0,15}$")
    native_decimals: Decimals = 0
    finality: dict[str, Age] = Field(default_factory=dict, min_length=1)
    default_finality: str = ""
    block_seconds: Between = 0
    fastest_block_seconds: Between = 0
    first_block: Annotated[tuple[Number, Moment], Field(strict=False)] = 0, 0
    lag_seconds: Age = 0
    block_number: BlockNumberSource = "opcode"
    code_bytes: int = Field(default=0, ge=1_024, le=1 << 24)
    init_code_bytes: int = Field(default=0, ge=1_024, le=1 << 24)
    most_wallets: dict[Strategy, Count] = Field(default_factory=dict)
    strategies: Annotated[tuple[Strategy, ...], Field(strict=False, min_length=1)] = ()
    multicall3: str = ""
    other_tokens: dict[str, Decimals] = Field(default_factory=dict)
    warning: str = Field(default="", max_length=500)
    testnet: bool = False


class WrongTable(ValueError):
    """A table does not describe a network: a sentence for each thing that is wrong."""

    def __init__(self, name: str, *wrong: tuple[str, str]) -> None:
        self.sentences = [f"[{_shown(name)}]{' ' if key else ''}{key}: {what}" for key, what in wrong]
        super().__init__(*self.sentences)


def network_of(name: NetworkName, table: Any, known: Network | None) -> Network:
    """The network that a table describes, or what is known of it with the table's changes. Raises WrongTable."""
    if not NAME.fullmatch(name):
        what = "is no network's name: those are up to 32 of a to z, 0 to 9 and -, and begin with a letter"
        raise WrongTable(name, ("", what))
    if not isinstance(table, dict):
        raise WrongTable(name, ("", f"must be a table: write [{name}], and its keys below"))
    try:
        given = Table.model_validate(table).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise WrongTable(name, *((_key(each["loc"]), _words(each)) for each in error.errors())) from None
    if wrong := [*(_unchangeable(known, given) if known else _missing(given))]:
        raise WrongTable(name, *wrong)
    network = _with(known or replace(FAMILIES[given["family"]], name=name), given)
    if wrong := [*_misfits(network)]:
        raise WrongTable(name, *wrong)
    return network


def _with(base: Network, given: Mapping[str, Any]) -> Network:
    """The network with what a table says of it, and with what follows from that."""
    values = dict(given)
    if given.get("chain_id", base.chain_id) != base.chain_id:
        base = on_another_chain(base, given["chain_id"])
    if "usdt_contract" in given and not _same(base, given["usdt_contract"], base.usdt_contract):
        # `_unchangeable` has seen that they are said, or known.
        values.setdefault("usdt_decimals", _known_decimals(base, given["usdt_contract"]))
        if base.usdt_contract is not None:
            values.setdefault("warning", "")  # that is about the token that it had
    if "most_wallets" in given:
        values["most_wallets"] = {**base.most_wallets, **given["most_wallets"]}
    if "finality" in given and base.default_finality not in given["finality"]:
        values.setdefault("default_finality", next(iter(given["finality"])))
    if "multicall3" in given:
        values["multicall3"] = given["multicall3"] or None  # there is no null in TOML
    if "strategies" not in given:
        usual = FAMILIES[base.family].strategies if "multicall3" in given else base.strategies
        there = values.get("multicall3", base.multicall3) is not None
        values["strategies"] = tuple(each for each in usual if there or each != "multicall3")
    return replace(base, **values)


def _missing(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "family" not in given:
        yield "family", "is missing: a new network is of the family evm or tron"
        return
    for key in REQUIRED[given["family"]]:
        if key not in given:
            yield key, "is missing: it has to be said of a new network"


def _unchangeable(known: Network, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if given.get("family", known.family) != known.family:
        yield "family", f"is {known.family} and cannot be changed: give the new network another name"
    elif (
        "usdt_contract" in given
        and "usdt_decimals" not in given
        and _known_decimals(known, given["usdt_contract"]) is None
    ):
        yield "usdt_decimals", "is missing: another token may have other decimals"


def _known_decimals(network: Network, contract: str) -> int | None:
    """The decimals of one of the tokens that are known on a network; None: it is another one."""
    if _same(network, contract, network.usdt_contract):
        return network.usdt_decimals
    return next((decimals for each, decimals in network.other_tokens.items() if _same(network, contract, each)), None)


def _same(network: Network, contract: str, other: str | None) -> bool:
    """Whether two are one contract, in any spelling."""
    try:
        return other is not None and account_bytes(network.family, contract) == account_bytes(network.family, other)
    except BadAddress:
        return False


def _misfits(network: Network) -> Iterator[tuple[str, str]]:
    """What does not fit the network's family, or another key."""
    usual = FAMILIES[network.family]
    yield from _bad_addresses(network)
    for tag in network.finality:
        if tag not in FINALITIES[network.family]:
            yield f"finality.{_shown(tag)}", f"must be out of {', '.join(FINALITIES[network.family])}"
    if network.default_finality not in network.finality:
        yield "default_finality", f"must be out of those of finality: {', '.join(map(_shown, network.finality))}"
    if not set(network.strategies) <= set(usual.strategies) or len(set(network.strategies)) < len(network.strategies):
        yield "strategies", f"must be out of {', '.join(usual.strategies)}, each once"
    if network.fastest_block_seconds > network.block_seconds:
        yield "fastest_block_seconds", "must not be above block_seconds, the usual ones"
    if "multicall3" in network.strategies and network.multicall3 is None:
        yield "multicall3", "is missing: name the contract, or leave multicall3 out of the strategies"
    if network.block_number == "arbsys" and network.family != "evm":
        yield "block_number", "must be opcode for this family"


def _bad_addresses(network: Network) -> Iterator[tuple[str, str]]:
    addresses = {"usdt_contract": network.usdt_contract, "multicall3": network.multicall3}
    addresses |= {f"other_tokens.{_shown(each)}": each for each in network.other_tokens}
    for key, address in addresses.items():
        try:
            _ = address is None or account_bytes(network.family, address)
        except BadAddress as error:
            yield key, f"{error}"


def _shown(text: str) -> str:
    """What somebody wrote, in a form that no terminal obeys, and not at any length."""
    return repr(text[:SHOWN])[1:-1]


def _key(place: tuple[Any, ...]) -> str:
    return ".".join(_shown(str(part)) for part in place if part != "[key]")


def _words(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return f"is no key of a network; those are {', '.join(Table.model_fields)}"
    return str(error["msg"])
