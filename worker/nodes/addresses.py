"""Addresses by the network's name, for callers that know a network only so. The codec is ``config.addresses``."""

from config import addresses
from config.networks import PRESETS, NetworkName
from worker.errors import BadAddress


def account_bytes(network: NetworkName, address: str) -> bytes:
    """The 20 bytes of an address on its network. Raises BadAddress with the reason."""
    try:
        return addresses.account_bytes(PRESETS[network].family, address)
    except addresses.BadAddress as error:
        raise BadAddress(str(error)) from None


def is_account(network: NetworkName, address: str, account: bytes) -> bool:
    """Whether an address that was found to be good is that of these 20 bytes."""
    return addresses.is_account(PRESETS[network].family, address, account)
