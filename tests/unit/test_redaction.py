"""No secret of the settings is in a log line, in no form; and a line without one stays as it is."""

import json
import logging
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote, quote_plus, unquote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from config.logging import configure_logging
from config.redaction import MASK, mask_for, secrets

TOKEN = "a1B2c3D4e5F6g7H8"
PASSWORD = 'p@ss/w0rd%&é"x'
SECRETS = {
    "DATABASE_URL": f"postgresql://worker:{quote(PASSWORD, safe='')}@database/balances",
    "REDIS_URL": "redis://:short@cache:6379/0",
    "ETHEREUM_RPC_URLS": f"mine=https://{TOKEN}.node.example/v3/{TOKEN[::-1]}?apikey=hunter22, http://127.0.0.1:8545",
    "TRON_API_KEYS": "1d5b6a40-9c6f-4d3e-8f55-2d0b7a1f9e11",
    "JWT_SECRET": "x" * 40,
}
SHOWN = ("mine", "postgres", "worker", "balances", "database", "ethereum", "cache", "node.example", "v3", "0", "short")


def in_either_case(form: Callable[[str], str]) -> list[Callable[[str], str]]:
    return [form, lambda text: form(text).lower(), lambda text: form(text).upper(), lambda text: form(text.upper())]


FORMS = [
    form
    for plain in (
        str,
        quote,
        quote_plus,
        unquote,
        lambda text: quote(text, safe=""),
        lambda text: quote(quote(text, safe=""), safe=""),
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
        lambda text: repr(text)[1:-1],
        lambda text: repr(json.dumps(text))[1:-1],
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    )
    for form in in_either_case(plain)
]


@given(
    st.text(st.sampled_from([chr(code) for code in range(32, 127)] + list("äéñœŽ€漢")), min_size=9, max_size=60),
    st.sampled_from(FORMS),
    st.text(max_size=20),
    st.text(max_size=20),
)
def test_a_secret_is_masked_in_every_form(secret: str, form: Callable[[str], str], before: str, after: str) -> None:
    masked = mask_for([secret])(before + form(secret) + after)
    assert MASK in masked
    assert form(secret) not in masked


@given(st.lists(st.text(max_size=40)), st.text(max_size=200))
def test_it_masks_nothing_else_and_raises_nothing(secrets: list[str], text: str) -> None:
    masked = mask_for(secrets)(text)
    assert masked == text or MASK in masked


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    level = root.level
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    yield
    root.setLevel(level)
    structlog.reset_defaults()


def fail(words: str) -> None:
    raise ValueError(words)


FORMATS = pytest.mark.parametrize("form", ["console", "json"])
PARTS = {
    "a database's password": PASSWORD,
    "the same, as it stands in the URL": quote(PASSWORD, safe=""),
    "a short one, in its URL": "redis://:short@cache",
    "the key in a host": TOKEN,
    "the key in a path": TOKEN[::-1],
    "the key in a query": "hunter22",
    "an API key": SECRETS["TRON_API_KEYS"],
    "the secret of tokens": SECRETS["JWT_SECRET"],
    "basic authentication": b64encode(f"worker:{PASSWORD}".encode()).decode(),
}


@FORMATS
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_no_logger_shows_it(form: Literal["console", "json"], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In its message, an argument, a field, a traceback: of ours, of a library, of one with a handler of its own."""
    theirs = logging.getLogger("a.library")
    theirs.propagate, theirs.handlers = False, [logging.StreamHandler()]
    configure_logging("INFO", form)
    theirs.warning("Failed to parse headers (url=%s)", f"https://x.example/{part}?a=b")
    theirs.error(f"about {part}")
    structlog.get_logger("ours").warning("failed", detail=part, nested={"a": [part]})
    try:
        try:
            fail(part)
        except ValueError as error:
            raise RuntimeError("in turn") from error
    except RuntimeError:
        theirs.exception("it failed")
        structlog.get_logger("ours").exception("it failed")
    told = capsys.readouterr().err
    for secret in {part, json.dumps(part)[1:-1], repr(part)[1:-1]} - {"redis://:short@cache"}:
        assert secret.lower() not in told.lower()
    assert ":short@" not in told
    assert told.count("it failed") == 2
    assert "in turn" in told
    if form == "json":
        assert len([json.loads(line) for line in told.splitlines()]) == 5


@FORMATS
def test_what_everybody_writes_is_shown(form: Literal["console", "json"], capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", form)
    structlog.get_logger("ours").warning("failed", words=" ".join(SHOWN))
    assert " ".join(SHOWN) in capsys.readouterr().err


@FORMATS
def test_an_error_of_the_database_shows_no_row(
    form: Literal["console", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", form)
    said = 'new row violates check constraint "c"\nDETAIL:  Failing row contains (7700123456789, "a").\nHINT:  none'
    try:
        fail(said)
    except ValueError:
        logging.getLogger("celery").exception("Task raised unexpected: %s", f"{said!r}")
    told = capsys.readouterr().err
    assert "violates check constraint" in told
    assert "7700123456789" not in told
    assert told.count("HINT") == 2


CANARY = "c4nary-0f-the-env"
WITHOUT = "postgresql://worker@database/balances"
ELSEWHERE: dict[str, dict[str, str]] = {
    "the operators' token": {"OPS_TOKEN": CANARY},
    "a proxy's password": {"HTTPS_PROXY": f"http://me:{CANARY}@proxy:3128"},
    "a proxy's in small letters, without a scheme": {"http_proxy": f"me:{CANARY}@proxy:3128"},
    "everybody's proxy's": {"ALL_PROXY": f"socks5h://me:{CANARY}@proxy:1080"},
    "libpq's own variable": {"PGPASSWORD": CANARY},
    "libpq's, for a URL without a password": {"DATABASE_URL": WITHOUT, "PGPASSWORD": CANARY},
    "a service file's": {"DATABASE_URL": "postgresql://?service=mine", "PGSERVICEFILE": "{file}"},
    "a service file's by a variable": {"DATABASE_URL": WITHOUT, "PGSERVICE": "mine", "PGSERVICEFILE": "{file}"},
}


@pytest.mark.parametrize("variables", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_other_variables_hold_is_masked_too(
    variables: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "services"
    file.write_text(f"[mine]\nhost=database\ndbname=balances\nuser=worker\npassword={CANARY}\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(file=file))
    basic = b64encode(f"me:{CANARY}".encode()).decode()
    masked = mask_for(secrets())(f"refused: {CANARY}, at proxy" + (f" {basic}" if "me:" in str(variables) else ""))
    assert CANARY not in masked
    assert basic not in masked
    assert "at proxy" in masked


def test_a_proxy_without_a_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert mask_for(secrets())("by http://proxy.example:3128") == "by http://proxy.example:3128"
