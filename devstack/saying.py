"""How the demonstration speaks, and how it fails."""

import sys


class DemoFailed(Exception):
    """Something is not as the contract says."""


def step(text: str) -> None:
    """Say what is being done now."""
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"{bold}▸ {text}{plain}", flush=True)
