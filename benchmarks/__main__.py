"""``make bench``: measures, and says beside each figure what is wanted of it."""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict

from benchmarks import budget, endpoint, feed, migration, ops, reading, refresh, scale, sick
from benchmarks.reading import Figure

SUBJECTS = {
    "reading": reading.figures,
    "refresh": refresh.figures,
    "sick": sick.figures,
    "endpoint": endpoint.figures,
    "budget": budget.figures,
    "feed": feed.figures,
    "scale": scale.figures,
    "migration": migration.figures,
    "ops": ops.figures,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table, for scripts")
    parser.add_argument("subject", nargs="?", choices=SUBJECTS, help="measure this alone")
    arguments = parser.parse_args()
    if arguments.subject is None:
        # Each in a process of its own: a process reads its settings once.
        options = ["--json"] if arguments.json else []
        codes = [subprocess.run([sys.executable, "-m", "benchmarks", *options, each], check=False) for each in SUBJECTS]
        return max(done.returncode for done in codes)
    for figure in SUBJECTS[arguments.subject](lambda what: print(f"… {what}", file=sys.stderr, flush=True)):
        if arguments.json:
            print(json.dumps({**asdict(figure), "met": figure.met}), flush=True)
        else:
            print(f"{figure.name:<72} {figure.measured:>8.2f}   {wanted(figure)}", flush=True)
    return 0


def wanted(figure: Figure) -> str:
    """What was wanted of a figure, if anything was."""
    if figure.target is None:
        return "told"
    return f"{figure.wanted} {figure.target:g}: {'met' if figure.met else 'MISSED'}"


if __name__ == "__main__":
    sys.exit(main())
