"""A setting's value from a file (Docker and Kubernetes secrets)."""

from pathlib import Path
from typing import Any

from pydantic_settings import EnvSettingsSource


class SecretFileSource(EnvSettingsSource):
    """Reads ``NAME`` from the file that the variable ``NAME_FILE`` names."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        path = self.env_vars.get(f"{field_name.lower()}_file")
        if path is None:
            return None, field_name, False
        return from_file(field_name, path), field_name, False


def from_file(name: str, path: str) -> str:
    """The value that the file of a setting holds. Raises SystemExit with a sentence."""
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        raise SystemExit(f"{name.upper()}_FILE: cannot read the file it names ({type(error).__name__})") from error
