"""What accounts had after each block of a chain, and of each chain that a reorganisation has put another one for."""

from dataclasses import dataclass, field

Balances = tuple[int, int]
"""USDT and native coin, in base units."""


@dataclass(slots=True)
class Ledger:
    """What accounts had after each block, on each chain that there was. A fork begins another chain."""

    forks: list[tuple[int, float, float]] = field(default_factory=lambda: [(0, 0.0, 0.0)])
    """Of each chain, the last block that it shares with the one before, and when it came to be: between these times."""
    entries: dict[bytes, list[tuple[int, int, Balances]]] = field(default_factory=dict)
    """Of each account, what it had from a block of a chain on: the chain, the block and the balances."""

    def note(self, account: bytes, block: int, balances: Balances) -> None:
        self.entries.setdefault(account, []).append((len(self.forks) - 1, block, balances))

    def held(self, account: bytes, block: int, chain: int = -1) -> Balances:
        """What an account had at a block of a chain, or of the newest one."""
        chain %= len(self.forks)
        seen = [entry for entry in self.entries[account] if entry[1] <= block and self._is_of(entry, chain)]
        return max(seen, key=lambda entry: (entry[1], entry[0]))[2]

    def could_be_read(self, account: bytes, block: int, begin: float, end: float) -> set[Balances]:
        """What a read could have shown that was made between two moments, in unix seconds, and told of this block.

        Or of the next one: when it makes one in the middle of a call, anvil gives the number of the one before.
        """
        ends = [fork[2] for fork in self.forks[1:]] + [end]
        chains = [
            at
            for at, (fork, ended) in enumerate(zip(self.forks, ends, strict=True))
            if fork[1] <= end and ended >= begin
        ]
        return {self.held(account, number, chain) for chain in chains for number in (block, block + 1)}

    def touched_since(self, block: int) -> set[bytes]:
        """Whose balances were changed after a block of the newest chain."""
        newest = len(self.forks) - 1
        return {
            account
            for account, entries in self.entries.items()
            if any(entry[1] > block and self._is_of(entry, newest) for entry in entries)
        }

    def _is_of(self, entry: tuple[int, int, Balances], chain: int) -> bool:
        return entry[0] <= chain and all(entry[1] <= fork for fork, _, _ in self.forks[entry[0] + 1 : chain + 1])
