"""The statement that gives one transaction its settings, for whoever cannot have them for a whole session. Pure."""

from collections.abc import Mapping


def set_for_a_transaction(settings: Mapping[str, str]) -> str:
    """One statement, without parameters: a driver then sends it in one message, and prepares nothing."""
    each = (f"set_config({_quoted(name)}, {_quoted(value)}, true)" for name, value in settings.items())
    return f"SELECT {', '.join(each)}"


def _quoted(word: str) -> str:
    """As a literal of SQL's, whatever the server's settings are."""
    escaped = word.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"
