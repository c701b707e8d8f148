"""Everything on one machine: real servers from packages, a local Ethereum and a local Tron, seed data, the demo."""
