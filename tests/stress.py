"""The whole suite beside busy loops, several times in a row: ``make stress``. What is red here is red somewhere.

A machine that does other things must not make a test red: nothing here may depend on how fast it is.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ending import end_in_order, run_pytest

ROOT = Path(__file__).parent.parent
BUSY = "while True: pass"


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that want a whole core each, until the end of the block."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        running.extend(subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(loops))
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main(arguments: Sequence[str]) -> int:
    """Run pytest again and again; the number of runs that were not green."""
    end_in_order()
    parser = argparse.ArgumentParser(prog="stress", description=__doc__)
    parser.add_argument("--loops", type=int, default=4, help="busy loops beside the tests (%(default)s)")
    parser.add_argument("--times", type=int, default=3, help="runs in a row (%(default)s)")
    parser.add_argument("pytest", nargs="*", help="what to pass on to pytest, after --")
    given = parser.parse_args(arguments)
    red = 0
    for number in range(1, given.times + 1):
        print(f"Run {number} of {given.times} beside {given.loops} busy loops …", flush=True)
        began = time.monotonic()
        with busy(given.loops):
            code = run_pytest(["-q", *given.pytest], ROOT)
        red += code != 0
        print(f"Run {number}: {'green' if code == 0 else 'RED'}, {time.monotonic() - began:.0f} s", flush=True)
    return red


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
