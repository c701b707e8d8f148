"""The page's templates, and the two files that they need. Every value is escaped, unless a filter says otherwise."""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from ops.page_verdict import Level
from ops.page_words import FILTERS

_STATIC = Path(__file__).parent / "static"


class Asset(NamedTuple):
    """A file that the page needs."""

    body: bytes
    media_type: str
    version: str
    """Of its content: a new one has a new address, so that no browser keeps an old one."""


@cache
def assets() -> dict[str, Asset]:
    """The files by their names."""
    types = {"ops.css": "text/css; charset=utf-8", "ops.js": "text/javascript; charset=utf-8"}
    bodies = {name: (_STATIC / name).read_bytes() for name in types}
    return {name: Asset(body, types[name], sha256(body).hexdigest()[:12]) for name, body in bodies.items()}


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("ops"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.globals.update(Level=Level, versions={name: asset.version for name, asset in assets().items()})
    return made


def rendered(template: str, **values: Any) -> bytes:
    """A page as HTML."""
    return _environment().get_template(template).render(**values).encode()
