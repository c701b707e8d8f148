"""Switches off one guard of the product at a time, in a copy of the tree, and sees whether a test fails.

    .venv/bin/python tests/guards.py [--only WORD …] [--all] [--json]

First the tests that are named beside a guard are run, then, if those stay green, all of the unit ring, and with --all
the whole suite. Ends with 1 when some guard can be switched off unnoticed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
LEFT_OUT = (".git", ".venv", "node_modules", ".devstack", "__pycache__", ".*_cache", ".hypothesis", "mutants")
LINKED = (".venv", "node_modules")

UNIT = re.compile(r"tests/unit/.+\.py")
AUTH = ("tests/unit/test_api_auth.py", "tests/unit/test_api_providers.py")
SNAPSHOT = ("tests/unit/test_snapshot.py",)
ROWS = ("tests/integration/test_claims.py", "tests/integration/test_any_state.py")


class Guard(NamedTuple):
    """What is guarded, the text that does it, what stands there without it, and the tests that should notice."""

    name: str
    file: str
    text: str
    without: str
    tests: Sequence[str]


REQUIRED = '"require": ["exp", "sub"],'
KEPT = '"verify_exp": True, "verify_nbf": True, "verify_iat": True, "verify_iss": True,'

GUARDS = (
    Guard("signature", "api/auth.py", REQUIRED, f'{REQUIRED} "verify_signature": False, {KEPT}', AUTH),
    Guard("expiry", "api/auth.py", REQUIRED, f'{REQUIRED} "verify_exp": False,', AUTH),
    Guard("expiry of a token that is remembered", "api/auth.py", " and time() < expires:", ":", AUTH),
    Guard(
        "audience",
        "api/auth.py",
        '"verify_aud": self._settings.jwt_audience is not None',
        '"verify_aud": False',
        AUTH,
    ),
    Guard("issuer", "api/auth.py", "issuer=self._settings.jwt_issuer,", "issuer=None,", AUTH),
    Guard(
        "subject: whom a token may read",
        "api/auth.py",
        "return self.admin or self.subject.lower() == str(user_id)",
        "return True",
        AUTH,
    ),
    Guard(
        "subject: that the route asks",
        "api/app.py",
        "check_may_read(caller, user_id)\n        parameters",
        "parameters",
        ("tests/integration/test_api.py",),
    ),
    Guard(
        "echo of the reader",
        "worker/chains/snapshot.py",
        "if echo != int.from_bytes(keccak(request)):",
        "if False:",
        SNAPSHOT,
    ),
    Guard(
        "echo of Multicall3",
        "worker/chains/multicall.py",
        "if echo is None or echo != int.from_bytes(calls[HEADERS - 1][2]):",
        "if echo is None:",
        ("tests/unit/test_multicall.py",),
    ),
    Guard(
        "id of a JSON-RPC reply",
        "worker/chains/ethereum.py",
        'if reply.get("id") != self._id and reply.get("error") is None:',
        "if False:",
        ("tests/unit/test_ethereum.py",),
    ),
    Guard(
        "account of a Tron reply",
        "worker/chains/tron.py",
        'if reply.get("address") != asked:',
        "if False:",
        ("tests/unit/test_tron.py",),
    ),
    Guard(
        "chain id",
        "worker/chains/snapshot.py",
        "if snapshot.chain_id != expected.chain_id:",
        "if False:",
        SNAPSHOT,
    ),
    Guard(
        "block guard of the upsert",
        "db/balances.py",
        "WHERE (b.block_number, b.last_synced) <= (EXCLUDED.block_number, EXCLUDED.last_synced)",
        "WHERE true",
        ROWS,
    ),
    Guard(
        "block guard of the decision",
        "worker/outcomes.py",
        "if _older(wallet, found):\n        return",
        "if False:\n        return",
        ("tests/unit/test_outcomes.py",),
    ),
    Guard("lease token of the write", "db/balances.py", " AND s.lease_token = %(token)s", "", ROWS),
    Guard(
        "a claim takes nothing that is held",
        "db/wallets.py",
        '"(lease_until IS NULL OR lease_until <= now())"',
        '"true"',
        ROWS,
    ),
    Guard(
        "a claim begins with the longest overdue",
        "db/wallets.py",
        "AND {first} <= now() ORDER BY next_sync_at",
        "AND {first} <= now()",
        ROWS,
    ),
    Guard(
        "a claim passes over locked rows", "db/wallets.py", "FOR NO KEY UPDATE SKIP LOCKED", "FOR NO KEY UPDATE", ROWS
    ),
    Guard(
        "zero confirmation",
        "worker/sync.py",
        "suspects = fallen_to_zero(claim, found)",
        "suspects: list[int] = []",
        ("tests/unit/test_second_reads.py",),
    ),
    Guard(
        "supply bound",
        "worker/chains/turn.py",
        "if most > self._supply:\n            raise",
        "if False:\n            raise",
        ("tests/unit/test_belief.py",),
    ),
    Guard(
        "redaction of what nodes say",
        "worker/chains/http.py",
        'short = short.replace(secret, "…")',
        "pass",
        ("tests/unit/test_ethereum.py", "tests/unit/test_tron.py"),
    ),
    Guard(
        "redaction of what libraries log",
        "config/logging.py",
        'for name in ("urllib3", "web3", "requests"):',
        "for name in ():",
        ("tests/unit/test_logging_edges.py",),
    ),
    Guard(
        "budget: that each request waits for it",
        "worker/chains/turn.py",
        "self._await_budget()\n        left",
        "pass\n        left",
        ("tests/unit/test_endpoints.py",),
    ),
    Guard(
        "budget: over all processes together",
        "worker/chains/known.py",
        'shared = RedisStateStore(client, self._key("budget:" + name))',
        "return 0.0",
        ("tests/unit/test_known.py",),
    ),
)


class Run(NamedTuple):
    """How pytest ended: its exit code, the first test that failed, and its last lines."""

    code: int
    failed: str | None
    tail: str


def run(tree: Path, tests: Sequence[str]) -> Run:
    """Run these tests in a copy of the tree, up to the first that fails."""
    # A file or two of the unit ring are over before a second process has begun.
    processes = "0" if len(tests) <= len(AUTH) and all(map(UNIT.match, tests)) else "2"
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-n", processes, "-rfE", "-p", "no:cacheprovider", *tests],
        cwd=tree,
        # What has changed within a second, to the same length, would be taken from a cache of compiled code.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    failed = re.search(r"^FAILED (\S+::.*?)(?:@\w+)?(?: - .*)?$", ended.stdout, re.MULTILINE)  # with @ and its group
    return Run(ended.returncode, failed and failed[1], "\n".join((ended.stdout + ended.stderr).splitlines()[-30:]))


def first_failure(tree: Path, guard: Guard, *, whole: bool) -> str | None:
    """The first test that fails without a guard; None: none does. Raises SystemExit when the guard is not there."""
    path = tree / guard.file
    before = path.read_text()
    if before.count(guard.text) != 1:
        raise SystemExit(f"{guard.name}: {guard.file} has {guard.text!r} {before.count(guard.text)} times, not once.")
    for tests in (guard.tests, ["tests/unit"], *([["tests"]] if whole else [])):
        path.write_text(before.replace(guard.text, guard.without))
        ended = run(tree, tests)
        path.write_text(before)
        if ended.failed:
            must_pass(tree, guard, ended.failed)
            return ended.failed
        if ended.code != 0:
            raise SystemExit(f"{guard.name}: pytest could not run the tests:\n{ended.tail}")
    return None


def must_pass(tree: Path, guard: Guard, test: str) -> None:
    """Raise SystemExit unless a test passes with the guard in its place: else it says nothing of the guard."""
    sound = run(tree, [test])
    if sound.code != 0:
        raise SystemExit(f"{guard.name}: its test fails with the guard in its place too:\n{sound.tail}")


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
    given = arguments()
    chosen = [guard for guard in GUARDS if any(word in guard.name for word in given.only)]
    if given.tests:
        chosen = [guard._replace(tests=given.tests) for guard in chosen]
    caught: dict[str, str | None] = {}
    with TemporaryDirectory(prefix="balance-sync-guards-") as folder:
        tree = copy_to(folder)
        for at, guard in enumerate(chosen, 1):
            print(f"[{at}/{len(chosen)}] without {guard.name} …", file=sys.stderr, flush=True)
            caught[guard.name] = first_failure(tree, guard, whole=given.all)
            print(f"        {caught[guard.name] or 'NOT CAUGHT'}", file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps(caught, indent=2))
    else:
        width = max(map(len, caught), default=0)
        for name, test in caught.items():
            print(f"{name:{width}}  {test or 'NOT CAUGHT'}")
    return int(None in caught.values())


if __name__ == "__main__":
    sys.exit(main())
