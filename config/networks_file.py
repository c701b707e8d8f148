"""NETWORKS_FILE: further networks, and other values for known ones, in TOML. A table for each, by the network's name:

    [xyz]
    family = "evm"
    chain_id = 424242
    usdt_contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
    usdt_decimals = 8
    native_symbol = "XYZ"

The keys are the fields of ``config.families.Network``. A new network needs those above; what else is left out is as in
``config.families.FAMILIES``. Of a known one whatever is left out stays as it is. What is wrong is told all at once, in
sentences that name the file, the network and the key; values are not shown.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, InstanceOf, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from config.families import Network, NetworkName
from config.network_table import WrongTable, network_of
from config.networks import PRESETS

MAX_BYTES = 1 << 20  # a network has some hundred; what is larger is another file


class WrongFile(ValueError):
    """A networks file cannot be used: a sentence for each thing that is wrong."""

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)
        self.sentences = sentences


def networks_in(text: str) -> dict[NetworkName, Network]:
    """The networks that are known with a file of this text: the presets first, then those that it adds. Pure.

    Raises WrongFile.
    """
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongFile(_not_toml(error)) from None
    networks, wrong = dict(PRESETS), []
    for name, table in tables.items():
        try:
            networks[name] = network_of(name, table, networks.get(name))
        except WrongTable as error:
            wrong += error.sentences
    if wrong:
        raise WrongFile(*wrong)
    return networks


def _not_toml(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply to be TOML of networks"
    hint = "; each network has one table, and each key stands in it once" if "twice" in f"{error}" else ""
    # The parser quotes single characters, names of tables and of keys, each in a form that no terminal obeys.
    return f"is not TOML: {error}{hint}" if isinstance(error, tomllib.TOMLDecodeError) else "has a number too large"


def _read(path: str) -> str:
    """The text of a file. I/O; raises ValueError, without the path: what leads to no file may be anything."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot be read ({type(error).__name__}): correct the path, or the file's rights") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES} bytes: it is not a file of networks")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError("is not text in UTF-8, as TOML is") from None


def _networks_of(value: Any) -> Any:
    """The networks that are known with the file of a path."""
    if not isinstance(value, str):
        return value
    text = _read(value)
    try:
        return networks_in(text)
    except WrongFile as wrong:
        # One error for each sentence, so that each is told on a line of its own.
        raise ValidationError.from_exception_data("networks", list(_errors(value, wrong))) from None


def _errors(path: str, wrong: WrongFile) -> Iterator[InitErrorDetails]:
    for sentence in wrong.sentences:
        said = {"file": repr(Path(path).name)[1:-1], "sentence": sentence}
        yield InitErrorDetails(type=PydanticCustomError("networks_file", "{file}: {sentence}", said), input=None)


NetworksFile = Annotated[Mapping[NetworkName, InstanceOf[Network]], BeforeValidator(_networks_of)]
"""A setting whose text is the path of a networks file, and whose value is what is known with it."""
