"""A setting's value as people give it: in the environment, or in a file that a variable of the environment names.

In come the variables; out goes the text that was meant, without what shells, editors and files put around it.
"""

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import EnvSettingsSource

LARGEST = 1 << 20  # bytes of a file
QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019"}
MARKS = "\ufeff\u200b\u200e\u2060"
"""What is seen nowhere: a byte order mark, and what comes along with a text that was copied."""
_BLANK_FOR_A_VALUE = re.compile(
    r"\$\{.*\}|\$\(.*\)|\{\{.*\}\}|<[^<>]*>|(?:op|secret)://\S*|vault:\S+|arn:aws:\S*|@Microsoft\.KeyVault\(.*\)",
    re.DOTALL,
)


def clean(text: str) -> str:
    """A text without blanks, line ends, a byte order mark and one pair of quotes around it."""
    text = _bare(text.replace("\r\n", "\n"))
    inner = text[1:-1]
    # Quotes that also stand within are of a list's items, or meant.
    if len(text) > 1 and QUOTES.get(text[0]) == text[-1] and not {text[0], text[-1]} & set(inner):
        return _bare(inner)
    return text


def _bare(text: str) -> str:
    before = ""
    while text != before:
        before, text = text, text.strip().strip(MARKS)
    return text


class Environment(EnvSettingsSource):
    """Reads `NAME`, or the file that the variable `NAME_FILE` names."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """The value of a field. Raises SystemExit with a sentence."""
        return given(self.env_vars, field_name.lower()), field_name, False


def given(variables: Mapping[str, str | None], name: str) -> str | None:
    """The value of a setting; None: it is not set. Names are in small letters. Raises SystemExit with a sentence."""
    value, path = clean(variables.get(name) or ""), clean(variables.get(f"{name}_file") or "")
    if path:
        held = from_file(name, path)
        if value and held and held != value:
            raise SystemExit(f"{name.upper()} and {name.upper()}_FILE are both set, to different values: unset one")
        value = value or held
    if _BLANK_FOR_A_VALUE.fullmatch(value):
        raise SystemExit(f"{name.upper()}: has the place of a value that nobody has filled in")
    return value or None


def from_file(name: str, path: str) -> str:
    """The value that the file of a setting holds; empty where it holds none. Raises SystemExit with a sentence."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(LARGEST + 1)
        wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        held = clean(raw.decode("utf-16" if wide else "utf-8"))
    except (OSError, ValueError) as error:
        wrong = type(error).__name__
        raise SystemExit(f"{name.upper()}_FILE: cannot read the file it names ({wrong}){_advice(error)}") from None
    if len(raw) > LARGEST:
        raise SystemExit(f"{name.upper()}_FILE: the file it names is too large for a setting")
    return held


def _advice(error: Exception) -> str:
    match error:
        case IsADirectoryError():
            return ": it is a directory. Name the file in it; Docker makes one where a file to mount is missing"
        case FileNotFoundError():
            return ": there is none. Mount it, or correct the path"
        case PermissionError():
            return ": this process's user may not read it. Give the file that user, or mode 0444"
        case UnicodeDecodeError():
            return ": write it as text in UTF-8"
    return ""
