"""Switches off one guard of the product at a time, in a copy of the tree, and sees whether a test fails.

    .venv/bin/python tests/guards.py [--only WORD …] [--all] [--json]

First the tests that are named beside a guard are run, then, if those stay green, all of the unit ring, and with --all
the whole suite. Ends with 1 when some guard can be switched off unnoticed, or is no longer where the table says.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import NamedTuple

from ending import end_in_order, run_pytest
from guard_table import GUARDS, Guard

ROOT = Path(__file__).parent.parent
LEFT_OUT = (".git", ".venv", "node_modules", ".devstack", "__pycache__", ".*_cache", ".hypothesis", "mutants")
LINKED = (".venv", "node_modules")

UNIT = re.compile(r"tests/unit/.+\.py")
OF_THIS_TABLE = "tests/unit/test_guards.py"  # it sees each guard that is switched off, whatever that guards
FEW = 4  # files


class Run(NamedTuple):
    """How pytest ended: its exit code, the first test that failed, and its last lines."""

    code: int
    failed: str | None
    tail: str


class Result(NamedTuple):
    """Whether a guard is caught when it is switched off, and by which test, or else what is to be said."""

    caught: bool
    told: str


def run(tree: Path, tests: Sequence[str]) -> Run:
    """Run these tests in a copy of the tree, up to the first that fails."""
    # A few files of the unit ring are over before a second process has begun.
    processes = "0" if len(tests) <= FEW and all(map(UNIT.match, tests)) else "2"
    options = ["-x", "-q", "-n", processes, "-rfE", "-p", "no:cacheprovider", f"--ignore={OF_THIS_TABLE}"]
    # What has changed within a second, to the same length, would be taken from a cache of compiled code.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with TemporaryFile("w+") as said:
        code = run_pytest([*options, *tests], tree, env=env, into=said)
        said.seek(0)
        output = said.read()
    failed = re.search(r"^FAILED (\S+::.*?)(?:@\w+)?(?: - .*)?$", output, re.MULTILINE)  # with @ and its group
    return Run(code, failed and failed[1], "\n".join(output.splitlines()[-30:]))


def is_there(tree: Path, guard: Guard) -> bool:
    """Whether the text that does it stands in its file, and only there."""
    path = tree / guard.file
    return path.exists() and path.read_text().count(guard.text) == 1


def without(tree: Path, guard: Guard, *, whole: bool) -> Result:
    """What becomes of the tests without a guard."""
    if not is_there(tree, guard):
        return Result(caught=False, told=f"STALE: {guard.file} does not have {guard.text!r} once")
    path = tree / guard.file
    before = path.read_text()
    for tests in (guard.tests, ["tests/unit"], *([["tests"]] if whole else [])):
        path.write_text(before.replace(guard.text, guard.without))
        ended = run(tree, tests)
        path.write_text(before)
        if ended.failed:
            sound = run(tree, [ended.failed])
            if sound.code != 0:  # it says nothing of the guard
                return Result(caught=False, told=f"FAILS WITH THE GUARD TOO: {ended.failed}\n{sound.tail}")
            return Result(caught=True, told=ended.failed)
        if ended.code != 0:
            return Result(caught=False, told=f"TESTS COULD NOT BE RUN:\n{ended.tail}")
    return Result(caught=False, told="NOT CAUGHT")


def copy_to(folder: str) -> Path:
    """A copy of the tree, with what is installed beside it."""
    tree = Path(folder, "tree")
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    for name in LINKED:
        if (ROOT / name).exists():
            (tree / name).symlink_to((ROOT / name).resolve())
    # PostgreSQL runs as another user where the tests run as root.
    Path(folder).chmod(0o755)
    return tree


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Switch off one guard at a time, and see which test fails.")
    parser.add_argument("--only", nargs="+", metavar="WORD", default=[""], help="guards with such a word in their name")
    parser.add_argument("--tests", nargs="+", metavar="FILE", help="run these in place of the tests that are named")
    parser.add_argument("--all", action="store_true", help="run the whole suite where the unit ring stays green")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    return parser.parse_args()


def main() -> int:
    end_in_order()
    given = arguments()
    chosen = [guard for guard in GUARDS if any(word in guard.name for word in given.only)]
    if given.tests:
        chosen = [guard._replace(tests=given.tests) for guard in chosen]
    results: dict[str, Result] = {}
    with TemporaryDirectory(prefix="balance-sync-guards-") as folder:
        tree = copy_to(folder)
        for at, guard in enumerate(chosen, 1):
            print(f"[{at}/{len(chosen)}] without {guard.name} …", file=sys.stderr, flush=True)
            results[guard.name] = without(tree, guard, whole=given.all)
            print(f"        {results[guard.name].told}", file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps({name: result._asdict() for name, result in results.items()}, indent=2))
    else:
        width = max(map(len, results), default=0)
        for name, result in results.items():
            print(f"{name:{width}}  {result.told.splitlines()[0]}")
    return int(not all(result.caught for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
