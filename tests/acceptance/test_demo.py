"""``make demo``, as a stranger sees it."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from scene import LONG_LEASE, NEVER

from devstack import demo
from devstack.servers import CAP


@pytest.fixture(scope="module")
def transcript(servers: Path) -> str:
    """What the demonstration says, from its beginning to its end."""
    said = StringIO()
    with redirect_stdout(said):
        demo.demo(servers / "demo", NEVER | LONG_LEASE | {"FEED": "on", "REFRESH_DEADLINE": f"{CAP:g}"})
    return said.getvalue()


def test_the_demo_runs_to_its_end(transcript: str) -> None:
    out = transcript
    assert "all 9,102 balances are those that the chains have" in out
    assert '"usdt_balance": "1234.56789012"' in out, "of a token of 18 decimals"
    assert "equal to the contract's example, but for the times" in out
    for policy in ("bsc +every_block", "ethereum +feed", "tron +feed"):
        assert re.search(rf"^  {policy} ", out, re.MULTILINE), policy
    table = {line.split()[0]: line.split()[1:] for line in out.splitlines() if re.match(r"  (ethereum|tron) +\d", line)}
    for network, wallets, batches in (("ethereum", "7,401", 4), ("tron", "1,601", 4)):
        count, reads = table[network]
        assert count == wallets
        # All wallets are read twice, and two pool's processes make their first contact; the rest is for the transfer
        # and for the refresh, and for what is due as soon as a batch of a few. Never one per wallet.
        assert batches <= int(reads) <= 10 * batches
    assert re.search(r"All \d+ checks passed\.", out)


def test_transfers_arrive_in_the_cache_without_anybody_asking(transcript: str) -> None:
    """Nothing makes a wallet due while the demonstration runs, so that only the blocks can have told of it."""
    told = transcript.split("▸ ")
    for network, methods, place in (
        ("Tron", {"getblockbynum", "gettransactioninfobyblocknum", "triggerconstantcontract"}, '"1000.00000000"'),
        ("Ethereum", {"eth_getBlockByNumber", "eth_getLogs", "eth_call"}, '"23.00000000"'),
    ):
        (arrival,) = (
            part for part in told if re.match(rf"Moving 23 USDT to \w+ on {network}, and asking nobody", part)
        )
        block = re.search(r"block ([\d,]+) could be read at [\d:.]+", arrival)
        row = re.search(r"the row shows it since [\d:.]+, as of block ([\d,]+)", arrival)
        assert block
        assert row
        assert int(row[1].replace(",", "")) >= int(block[1].replace(",", ""))
        requests = re.search(r"requests to the node for the \d+ blocks since the transfer was sent: (.+)", arrival)
        assert requests
        assert {each.split()[1] for each in requests[1].split(", ")} >= methods
        assert f'"usdt_balance": {place}' in arrival
