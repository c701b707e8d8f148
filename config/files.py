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
        try:
            return Path(path).read_text().strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            name = field_name.upper()
            raise SystemExit(f"{name}_FILE: cannot read the file it names ({type(error).__name__})") from error
