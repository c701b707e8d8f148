"""The networks: what each one is, as data (being made)."""

from typing import TypeAlias

NetworkName: TypeAlias = str
"""A network by the name that ``wallets.network`` has, such as ``ethereum``."""
