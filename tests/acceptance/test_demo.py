"""``make demo``, as a stranger sees it."""

import re
from pathlib import Path

import pytest
from scene import LONG_LEASE, NEVER

from devstack import demo
from devstack.servers import CAP


def test_the_demo_runs_to_its_end(servers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.demo(servers / "demo", NEVER | LONG_LEASE | {"REFRESH_DEADLINE": f"{CAP:g}"})
    out = capsys.readouterr().out
    assert "all 2,102 balances are those that the chains have" in out
    assert '"usdt_balance": "1234.56789012"' in out, "of a token of 18 decimals"
    assert "equal to the contract's example, but for the times" in out
    table = {
        line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(("  ethereum", "  tron"))
    }
    for network, batches in (("ethereum", 1), ("tron", 3)):
        count, requests_made = table[network]
        assert count == "1,001"
        # The batches, the first contact of both of the pool's processes, and the refresh: never one per wallet.
        assert batches <= int(requests_made) <= batches + 7
    assert re.search(r"All \d+ checks passed\.", out)
