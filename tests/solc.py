"""The Solidity compiler, from npm."""

import subprocess
from pathlib import Path


def compiled(source: Path, language: str, name: str) -> bytes:
    """The creation code of one contract of a source, compiled as the project's bytes were made."""
    command = ["node", str(Path(__file__).parent / "compile.js"), language, name]
    done = subprocess.run(command, input=source.read_text(), capture_output=True, text=True, check=True)
    return bytes.fromhex(done.stdout.strip())
