"""The OpenAPI document against the live endpoint: requests made from it, and a client generated from it."""

import subprocess
import sys
from pathlib import Path

from endpoint import Endpoint


def test_requests_made_from_the_document_get_what_it_says(shared: Endpoint, tmp_path: Path) -> None:
    """schemathesis makes good and bad ones; no answer may be a 5xx, or other than the document says."""
    program = Path(sys.executable).with_name("schemathesis")
    command: list[str | Path] = [program, "run", f"{shared.server.url}/openapi.json", "--max-examples", "60"]
    command += ["--seed", "977", "--generation-database", "none", "--no-color", "--header"]
    command += [f"Authorization: {shared.authorization['Authorization']}", "--request-timeout", "20"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout
