"""NETWORKS_FILE: further networks, and other values for known ones (placeholder until the next commit)."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, InstanceOf

from config.families import Network, NetworkName


def networks_of(value: Any) -> Any:
    """The networks that are known with the file of this path."""
    if isinstance(value, Mapping):
        return value
    raise ValueError("is not read yet")


NetworksFile = Annotated[Mapping[NetworkName, InstanceOf[Network]], BeforeValidator(networks_of)]
