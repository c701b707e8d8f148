"""Whether a client's copy is still good: ``ETag`` and ``If-None-Match`` (RFC 9110).

The tag is over the versions of the rows (``db.user_balances``) and the form in which they are shown. It is weak: two
replies with one tag may differ in ``synced_at``, ``is_cached`` and ages, which say nothing of the balances.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

FORM: Final = 1
"""The form of the reply. A release that shows the same rows differently raises it, and every copy is outdated."""

MAX_HEADER = 4096  # bytes of If-None-Match; what is longer is not looked at

_ITEM = re.compile(r'\s*(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)|\s*,')
_DIGITS = 16
_ONE = 1 << 64


class Copies(NamedTuple):
    """The copies that a client has, by their tags. None: it has one, and it does not matter which."""

    tags: frozenset[int] | None

    def include(self, tag: int) -> bool:
        """Whether one of them is what would be shown."""
        return self.tags is None or tag in self.tags


class Tagger:
    """Tags of one form of reply: the same rows with other decimals, or in detail, are another copy."""

    def __init__(self, *form: int, detail: bool) -> None:
        self._prefix = "-".join(str(part) for part in (FORM, *form)) + ("-full-" if detail else "-")
        self._only = re.compile(rf'W/"{re.escape(self._prefix)}([0-9a-f]{{{_DIGITS}}})"'.encode())
        """What most clients send: the tag that they were given, and nothing else."""
        self._ours = re.compile(re.escape(self._prefix) + rf"([0-9a-f]{{{_DIGITS}}})")

    def header(self, tag: int) -> str:
        """The ETag."""
        return f'W/"{self._prefix}{tag % _ONE:0{_DIGITS}x}"'

    def copies(self, headers: Sequence[bytes]) -> Copies | None:
        """What the If-None-Match headers of a request name. None: nothing that could be one of these tags."""
        if not headers:
            return None
        only = self._only.fullmatch(headers[0]) if len(headers) == 1 else None
        return Copies(frozenset((_signed(int(only[1], 16)),))) if only else self._listed(headers)

    def _listed(self, headers: Sequence[bytes]) -> Copies | None:
        text = b",".join(headers).decode("latin-1").strip()
        if text == "*":
            return Copies(None)
        tags = frozenset(self._tags(text)) if len(text) <= MAX_HEADER else None
        return Copies(tags) if tags else None

    def _tags(self, text: str) -> list[int]:
        found, at = [], 0
        while at < len(text):
            item = _ITEM.match(text, at)
            if item is None:
                return []  # not a list of tags: the header says nothing
            ours = self._ours.fullmatch(item[1] or "")
            if ours:
                found.append(_signed(int(ours[1], 16)))
            at = item.end()
        return found


def _signed(number: int) -> int:
    """As Postgres has it."""
    return number - _ONE if number >= _ONE // 2 else number
