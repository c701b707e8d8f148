"""Whatever stands in the environment: it is accepted, or the start stops with a sentence that names the setting."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from api.auth import Verifier
from config.base_settings import setting_names
from config.networks import PRESETS
from config.settings import KEY_ALGORITHMS, ApiSettings, Settings, WorkerSettings, load
from worker.nodes.urls import node_name

SECRET = "hunter2"
QUEUE = {"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://cache/0"}
BESIDE = {
    "JWT_SECRET": {},
    "JWT_PUBLIC_KEY": {"JWT_ALGORITHMS": "RS256"},
    "JWT_JWKS_URL": {"JWT_ALGORITHMS": "RS256"},
}
"""What else is set where not the usual."""

TWO = {name: PRESETS[name] for name in ("ethereum", "tron")}
"""One network of each family: the others' variables are read in the same way."""
KIND: dict[str, type[Settings]] = {
    name: kind for kind in (ApiSettings, WorkerSettings) for name in setting_names(kind, TWO)
}
each_setting = pytest.mark.parametrize("name", KIND)
URLS = {
    "DATABASE_URL": "postgresql",
    "REDIS_URL": "redis",
    "ETHEREUM_RPC_URLS": "https",
    "TRON_RPC_URLS": "https",
    "JWT_JWKS_URL": "https",
}
# Building the settings takes milliseconds.
some = examples(max_examples=examples().max_examples // 4)
few = examples(max_examples=examples().max_examples // 16)
PIECES = [
    *("postgresql://", "redis://", "unix://", "http://", "https://", "//", ":", "@", "/", "?", "#", "%", ",", "."),
    *("user", "host", "localhost", "::1", "v1.", "6379", "99999", "\u0660", " ", "\n", "\\", "0", "1", "-1", "1e999"),
    *("nan", "inf", "0x", "T", "HS256", "RS256", "latest", "json", SECRET),
]
any_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
in_pieces = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
values = any_text | in_pieces
with_secret = st.tuples(values, values).map(SECRET.join)


def said_of(kind: type[Settings], variables: dict[str, str]) -> str | None:
    """The words with which the start stops in an environment of these alone, or None when it goes on."""
    with patch.dict(os.environ, variables, clear=True):
        try:
            load(kind)
        except SystemExit as stop:
            return str(stop.code)
    return None


def around(name: str) -> dict[str, str]:
    """Settings that are good, but for this one."""
    key = {"JWT_SECRET": "s" * 64} if KIND[name] is ApiSettings else {}
    return {**QUEUE, **BESIDE.get(name, key)}


def assert_that_it_says_so(name: str, said: str | None) -> None:
    """If the start stops, it is with sentences that name the setting and show nothing of its value."""
    if said is not None:
        heading, *sentences = said.splitlines()
        assert heading == "The settings are not usable:"
        assert any(name in sentence for sentence in sentences), said
        assert SECRET not in said


@each_setting
def test_the_settings_around_the_one_that_is_tried_are_good(name: str) -> None:
    said = said_of(KIND[name], around(name))
    assert said is None or (name in BESIDE and name in said)


@each_setting
@few
@given(value=values | with_secret)
def test_a_value_is_accepted_or_refused_with_a_sentence_that_names_the_setting_and_never_shows_it(
    name: str, value: str
) -> None:
    assert_that_it_says_so(name, said_of(KIND[name], {**around(name), name: value}))


@pytest.mark.parametrize("name", URLS)
@some
@given(value=with_secret)
def test_so_is_a_url_whatever_comes_after_its_scheme(name: str, value: str) -> None:
    assert_that_it_says_so(name, said_of(KIND[name], {**around(name), name: f"{URLS[name]}://{value}"}))


@pytest.mark.parametrize(
    ("name", "password"),
    [
        *((name, f"[{SECRET}]") for name in URLS if name != "DATABASE_URL"),  # which libpq takes
        *(("REDIS_URL", password) for password in (f"pa[{SECRET}]", f"{SECRET}\u2100", f"\uff03{SECRET}")),
    ],
)
def test_a_password_that_makes_no_url_is_not_shown(name: str, password: str) -> None:
    said = said_of(KIND[name], {**around(name), name: f"{URLS[name]}://user:{password}@host/0"})
    assert said is not None, "a URL with such a password cannot be used"
    assert_that_it_says_so(name, said)


@pytest.mark.parametrize("rest", ["host:99999", "host:port", f"user:{SECRET}/@host"])
def test_a_nodes_url_with_a_port_that_is_none_is_refused_at_the_start(rest: str) -> None:
    with patch.dict(os.environ, {**QUEUE, "TRON_RPC_URLS": f"https://{rest}"}, clear=True):
        try:
            (url,) = load(WorkerSettings).chain("tron").urls
        except SystemExit as stop:
            assert_that_it_says_so("TRON_RPC_URLS", str(stop.code))
        else:
            node_name(url.get_secret_value())


@each_setting
def test_bytes_that_are_no_text_are_refused_with_a_sentence_that_names_the_setting(name: str) -> None:
    value = os.fsdecode(b"\x80" + SECRET.encode())
    said = said_of(KIND[name], {**around(name), name: value})
    assert_that_it_says_so(name, said)


@some
@given(value=values | with_secret, algorithm=st.sampled_from(sorted(KEY_ALGORITHMS)))
def test_a_public_key_that_is_none_stops_the_start_and_is_not_shown(value: str, algorithm: str) -> None:
    variables = {**QUEUE, "JWT_PUBLIC_KEY": f"{SECRET}{value}", "JWT_ALGORITHMS": algorithm}
    with patch.dict(os.environ, variables, clear=True), pytest.raises(SystemExit) as stop:
        Verifier(load(ApiSettings))
    assert_that_it_says_so("JWT_PUBLIC_KEY", str(stop.value))


@pytest.mark.parametrize("name", ["DATABASE_URL", "TRON_API_KEYS", "ETHEREUM_RPC_URLS", "SYNC_LEASE"])
@examples(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=60))
def test_a_file_is_accepted_or_refused_in_the_same_way(name: str, raw: bytes, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(raw + SECRET.encode())
    # Empty is not set.
    said = said_of(WorkerSettings, {**around(name), name: "", f"{name}_FILE": str(file)})
    assert said is None or (name in said and SECRET not in said)


@some
@given(path=values)
def test_a_path_that_leads_to_no_file_is_told_with_the_variables_name(path: str) -> None:
    said = said_of(Settings, {"DATABASE_URL_FILE": f"/nowhere/{path}"})
    assert said is not None
    assert said.startswith("DATABASE_URL_FILE: cannot read the file it names (")
