"""What is printed: the OpenAPI document and the README's examples, against the live endpoint."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest
from endpoint import ENV, Endpoint
from printed import EXAMPLES, printed, reading

from devstack.seed import USER
from devstack.servers import CAP

PROGRAMS = Path(sys.executable).parent


def test_requests_made_from_the_document_get_what_it_says(shared: Endpoint, tmp_path: Path) -> None:
    """schemathesis makes good and bad ones; no answer may be a 5xx, or other than the document says."""
    claims = {"sub": "a program", "exp": int(time.time()) + 86_400, "scope": "balances:admin"}
    (tmp_path / "schemathesis.toml").write_text("[cache]\nenabled = false\n")  # of crashes that it has seen
    command: list[str | Path] = [PROGRAMS / "schemathesis", "run", f"{shared.server.url}/openapi.json"]
    command += ["--max-examples", "60", "--request-timeout", f"{CAP:.0f}"]
    command += ["--seed", "977", "--generation-database", "none", "--no-color"]
    command += ["--header", f"Authorization: Bearer {jwt.encode(claims, ENV['JWT_SECRET'], 'HS256')}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout
    tested = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert tested
    assert int(tested[1]) > 100, "it has tested next to nothing"
    assert not (tmp_path / ".schemathesis").exists()


def test_there_are_examples_of_each_kind() -> None:
    for part in ("refresh=true", "networks=tron", "detail=full", "If-None-Match", "networks=doge"):
        assert any(part in command for command, _ in EXAMPLES), part


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_readme_works_as_printed(endpoint: Endpoint, number: int) -> None:
    command, expected = EXAMPLES[number]
    endpoint.read_all()
    token = endpoint.authorization["Authorization"].partition(" ")[2]
    with reading(endpoint):
        done = subprocess.run(
            ["bash", "-euc", command],
            env={"PATH": os.environ["PATH"], "URL": endpoint.server.url, "TOKEN": token},
            capture_output=True,
            text=True,
            check=True,
        )
    assert printed(done.stdout) == printed(expected)
    if done.stdout.startswith("{"):
        assert list(json.loads(done.stdout)) == list(json.loads(expected))


CLIENT = """
import json, sys
from uuid import UUID
from balance_client import AuthenticatedClient
from balance_client.api.default import get_readiness, get_user_balances
from balance_client.models import GetUserBalancesDetail, GetUserBalancesNetworksItem

url, token, user = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True)
tron = [GetUserBalancesNetworksItem.TRON]
for more in ({}, {"networks": tron, "refresh": True}, {"networks": tron, "detail": GetUserBalancesDetail.FULL}):
    print(json.dumps(get_user_balances.sync(UUID(user), client=client, **more).to_dict()))
first = get_user_balances.sync_detailed(UUID(user), client=client)
again = get_user_balances.sync_detailed(UUID(user), client=client, if_none_match=first.headers["ETag"])
print(again.status_code.value)
class Doge: value = "doge"
print(json.dumps(get_user_balances.sync(UUID(user), client=client, networks=[Doge]).to_dict()))
"""


def test_a_client_generated_from_the_document_gets_what_the_readme_prints(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.read_all()
    (tmp_path / "document.json").write_text(endpoint.get(path="/openapi.json", headers={}).text)
    command: list[str | Path] = [PROGRAMS / "openapi-python-client", "generate", "--path", tmp_path / "document.json"]
    command += ["--output-path", tmp_path / "balance_client", "--meta", "none", "--fail-on-warning"]
    environment = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path)}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    token = endpoint.authorization["Authorization"].partition(" ")[2]
    with reading(endpoint):
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, endpoint.server.url, token, str(USER)],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
    assert list(map(printed, done.stdout.splitlines())) == [printed(expected) for _, expected in EXAMPLES]
