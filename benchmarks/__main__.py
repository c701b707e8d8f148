"""``make bench``: measures, and says beside each figure what is wanted of it."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain

from benchmarks import reading, refresh
from benchmarks.reading import Figure


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Every module's, one after another."""
    return chain.from_iterable(module.figures(tell) for module in (reading, refresh))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON list instead of a table, for scripts")
    arguments = parser.parse_args()
    measured: list[Figure] = []
    for figure in figures(lambda what: print(f"… {what}", file=sys.stderr, flush=True)):
        measured.append(figure)
        if not arguments.json:
            verdict = "met" if figure.met else "MISSED"
            print(
                f"{figure.name:<72} {figure.measured:>8.2f}   {figure.wanted} {figure.target:g}: {verdict}", flush=True
            )
    if arguments.json:
        print(json.dumps([{**asdict(figure), "met": figure.met} for figure in measured]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
