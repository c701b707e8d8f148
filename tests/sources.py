"""What a network is read from, changed as a worker's start with other settings does."""

from config.families import on_another_chain
from config.network_settings import Chain
from config.networks import PRESETS, NetworkName
from db.networks import Registered, make_due, register
from db.session import transaction


def chain(network: NetworkName, chain_id: int, token: str | None = None) -> Chain:
    """A network on a chain of this id, with its own token or another one."""
    preset = on_another_chain(PRESETS[network], chain_id)
    return Chain(
        network=preset,
        chain_id=chain_id,
        contract=token or str(preset.usdt_contract),
        decimals=6,
        finality=preset.default_finality,
        per_second=0,
        max_head_age=0,
    )


def read_from(network: NetworkName, chain_id: int, token: str | None = None) -> Registered:
    """A worker starts that reads this of a network."""
    with transaction() as connection:
        return register(connection, chain(network, chain_id, token))


def all_made_due(network: NetworkName) -> int:
    """Ticks of beat, until every wallet that has to be read from another source is due. Says how many they made so."""
    made = 0
    while True:
        with transaction() as connection:
            piece = make_due(connection, network)
        if piece is None:
            return made
        made += piece
