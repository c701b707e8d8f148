"""What people put into the other settings, and around any: how it is read, or in what words it is refused.

`hunter2` stands in what must never be shown.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from environments import DATABASE, QUEUE, SECRET, loaded, refusal

from config.settings import ApiSettings, Settings, WorkerSettings

KEYS = {"JWT_JWKS_URL": "https://them.example/keys", "JWT_ALGORITHMS": "RS256", "JWT_AUDIENCE": "us"}
BOM = "\ufeff"
NODE = "https://node.example/v3/hunter2"
NODES = tuple[str, ...]
LISTS: dict[str, NODES] = {
    f"{NODE},https://b": (NODE, "https://b"),
    f"{NODE} https://b": (NODE, "https://b"),
    f"{NODE}\nhttps://b\n": (NODE, "https://b"),
    f"{NODE}\r\nhttps://b\r\n": (NODE, "https://b"),
    f" {NODE} ,\t https://b , ": (NODE, "https://b"),
    f'"{NODE}","https://b"': (NODE, "https://b"),
    f'"{NODE},https://b"': (NODE, "https://b"),
    f'["{NODE}", "https://b"]': (NODE, "https://b"),
    f"- {NODE}\n- https://b\n": (NODE, "https://b"),
    f"{BOM}{NODE}": (NODE,),
    f"'{NODE}'": (NODE,),
    f"main={NODE}": (f"main={NODE}",),
    "https://u:hunter2@node.example:8545/x": ("https://u:hunter2@node.example:8545/x",),
    "http://[::1]:8545": ("http://[::1]:8545",),
    "https://[2001:db8::1]/x": ("https://[2001:db8::1]/x",),
    f"{NODE}?key=hunter2": (f"{NODE}?key=hunter2",),
}


@pytest.mark.parametrize("written", LISTS)
def test_nodes_are_listed_in_each_form(written: str) -> None:
    settings = loaded(WorkerSettings, {**QUEUE, "ETHEREUM_RPC_URLS": written})
    assert tuple(url.get_secret_value() for url in settings.chain("ethereum").urls) == LISTS[written]


@pytest.mark.parametrize("written", [*LISTS])
def test_they_may_stand_so_in_a_file_too(written: str, tmp_path: Path) -> None:
    (tmp_path / "urls").write_text(written, newline="")
    settings = loaded(WorkerSettings, {**QUEUE, "ETHEREUM_RPC_URLS_FILE": str(tmp_path / "urls")})
    assert tuple(url.get_secret_value() for url in settings.chain("ethereum").urls) == LISTS[written]


def secret_of(settings: ApiSettings) -> str:
    assert settings.jwt_secret
    return settings.jwt_secret.get_secret_value()


AROUND = {
    "a line end": "{}\n",
    "Windows' line end": "{}\r\n",
    "blanks": "  {}\t ",
    "double quotes": '"{}"',
    "single quotes": "'{}'",
    "typographic quotes": "\u201c{}\u201d",
    "quotes and a line end": '"{}"\n',
    "a byte order mark": BOM + "{}",
    "a byte order mark and quotes": BOM + '"{}"',
    "no-break spaces": "\u00a0{}\u00a0",
    "a zero-width space": "{}\u200b",
}


@pytest.mark.parametrize("form", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("in_a_file", [False, True])
def test_what_shells_editors_and_files_put_around_a_value_is_taken_off(
    form: str, tmp_path: Path, *, in_a_file: bool
) -> None:
    values = {
        **QUEUE,
        "JWT_SECRET": SECRET,
        "JWT_ISSUER": "https://them.example/",
        "JWT_AUDIENCE": "us",
        "JWT_MAX_AGE": "60",
        "LOG_LEVEL": "DEBUG",
    }
    written = {name: form.format(value) for name, value in values.items()}
    if in_a_file:
        for name, value in written.items():
            (tmp_path / name).write_text(value, newline="")
        written = {f"{name}_FILE": str(tmp_path / name) for name in values}
    settings: ApiSettings = loaded(ApiSettings, written)
    assert settings.database_url.get_secret_value() == DATABASE
    assert secret_of(settings) == SECRET
    assert (settings.jwt_issuer, settings.jwt_audience) == ("https://them.example/", ("us",))
    assert (settings.jwt_max_age, settings.log_level) == (60, "DEBUG")


@pytest.mark.parametrize(
    "value", [f'a"b{SECRET}', f'"{SECRET}" x', f'"{SECRET}', f"it's {SECRET}", f'"a" {SECRET} "b"']
)
def test_quotes_that_are_not_around_a_value_belong_to_it(value: str) -> None:
    assert secret_of(loaded(ApiSettings, {**QUEUE, "JWT_SECRET": value})) == value


@pytest.mark.parametrize(
    ("name", "written", "field", "read_as"),
    [
        ("LOG_LEVEL", "info", "log_level", "INFO"),
        ("LOG_LEVEL", "warn", "log_level", "WARNING"),
        ("LOG_FORMAT", "JSON", "log_format", "json"),
        ("JWT_ALGORITHMS", "HS256 HS384", "jwt_algorithms", ("HS256", "HS384")),
        ("JWT_AUDIENCE", "web, mobile", "jwt_audience", ("web", "mobile")),
        ("TRUSTED_PROXIES", "10.0.0.0/8 192.0.2.7", "trusted_proxies", 2),
        ("REFRESH_MAX", " 7 ", "refresh_max", 7),
        ("REFRESH_MAX", "", "refresh_max", 50_000),
        ("REFRESH_MAX", "  ", "refresh_max", 50_000),
        ("REFRESH_MAX", '""', "refresh_max", 50_000),
    ],
)
def test_a_value_is_read_as_it_was_meant(name: str, written: str, field: str, read_as: object) -> None:
    found = getattr(loaded(ApiSettings, {**QUEUE, "JWT_SECRET": SECRET, name: written}), field)
    assert (len(found) if name == "TRUSTED_PROXIES" else found) == read_as


PLACES = ["${DATABASE_URL}", "$(DATABASE_URL)", "{{ database_url }}", "<your database's URL>", "op://vault/item/field"]
PLACES += ["arn:aws:secretsmanager:eu-1:1:secret:x", "@Microsoft.KeyVault(SecretUri=https://x)", "vault:secret/x"]


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "JWT_SECRET"])
@pytest.mark.parametrize("place", PLACES)
def test_the_place_of_a_value_that_nobody_filled_in_is_none(name: str, place: str) -> None:
    said = refusal(ApiSettings, {**QUEUE, "JWT_SECRET": SECRET, name: place})
    assert said == f"{name}: has the place of a value that nobody has filled in"


def test_a_variable_and_its_file_may_both_be_set_where_they_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{DATABASE}\n")
    both = {"DATABASE_URL": DATABASE, "DATABASE_URL_FILE": str(tmp_path / "url")}
    assert loaded(Settings, both).database_url.get_secret_value() == DATABASE
    said = refusal(Settings, {**both, "DATABASE_URL": f"{DATABASE}x"})
    assert said == "DATABASE_URL and DATABASE_URL_FILE are both set, to different values: unset one"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("absent", "(FileNotFoundError): there is none. Mount it, or correct the path"),
        ("folder", "(IsADirectoryError): it is a directory. Name the file in it"),
        ("latin1", "(UnicodeDecodeError): write it as text in UTF-8"),
        ("large", "the file it names is too large for a setting"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_of_with_what_to_do(path: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin1").write_bytes(b"hunter2\xe9")
    (tmp_path / "large").write_bytes(b"x" * (2 << 20))
    found = refusal(Settings, {"DATABASE_URL_FILE": str(tmp_path / path)})
    assert found.startswith("DATABASE_URL_FILE: ")
    assert said in found


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file: run the tests as another user")
def test_a_file_of_another_users_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "url").touch(0o000)
    assert "this process's user may not read it" in refusal(Settings, {"DATABASE_URL_FILE": str(tmp_path / "url")})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_may_be_of_an_editor_that_marks_it(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(DATABASE, encoding=encoding)
    assert loaded(Settings, {"DATABASE_URL_FILE": str(tmp_path / "url")}).database_url.get_secret_value() == DATABASE


def test_an_empty_file_is_as_if_it_were_not_set(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    settings = loaded(WorkerSettings, {**QUEUE, "TRON_RPC_URLS_FILE": str(tmp_path / "empty")})
    assert settings.networks == ()
    assert "DATABASE_URL: is required" in refusal(Settings, {"DATABASE_URL_FILE": str(tmp_path / "empty")})


REFUSED_VALUES: list[tuple[type[Any], dict[str, str], str]] = [
    (WorkerSettings, {"ETHEREUM_RPC_URLS": "node.example/hunter2"}, "ETHEREUM_RPC_URLS: must be a URL that begins"),
    (WorkerSettings, {"ETHEREUM_RPC_URLS": "https://u:hunter2@"}, "ETHEREUM_RPC_URLS: must be a URL that begins"),
    (WorkerSettings, {"ETHEREUM_RPC_URLS": "wss://node/hunter2"}, "ETHEREUM_RPC_URLS: must be a URL that begins"),
    (WorkerSettings, {"ETHEREUM_RPC_URLS": "main = https://hunter2"}, "ETHEREUM_RPC_URLS: must be a URL that begins"),
    (WorkerSettings, {"ETHEREUM_RPC_URLS": NODE, "HTTPS_PROXY": "http://:8080"}, "HTTPS_PROXY names no host"),
    (WorkerSettings, {"ETHEREUM_RPC_URLS": NODE, "ALL_PROXY": "socks5://hunter2:1"}, "ALL_PROXY names a SOCKS proxy"),
    (WorkerSettings, {"ETHEREUM_RPC_URLS": NODE, "https_proxy": "socks5h://hunter2:1"}, "HTTPS_PROXY names a SOCKS"),
    (WorkerSettings, {"ETHEREUM_RPC_URLS": NODE, "HTTPS_PROXY": "ftp://hunter2"}, "HTTPS_PROXY must be a URL"),
    (WorkerSettings, {"ETHEREUM_RPC_URLS": NODE, "REQUESTS_CA_BUNDLE": "/hunter2"}, "REQUESTS_CA_BUNDLE names a file"),
    (WorkerSettings, {"ETHEREUM_RPC_URLS": NODE, "SSL_CERT_FILE": "/hunter2"}, "SSL_CERT_FILE names a file"),
    (ApiSettings, {**KEYS, "HTTPS_PROXY": "socks5://hunter2:1"}, "HTTPS_PROXY names a SOCKS proxy"),
    (ApiSettings, {**KEYS, "JWT_JWKS_URL": "http://keycloak:8080/hunter2"}, "JWT_JWKS_URL: must be a URL that begins"),
    (ApiSettings, {**KEYS, "JWT_AUDIENCE": " , "}, "JWT_AUDIENCE must be set with JWT_JWKS_URL"),
    (ApiSettings, {"JWT_SECRET": "hunter2"}, "JWT_SECRET must have at least 32 bytes"),
    (ApiSettings, {"JWT_SECRET": SECRET, "JWT_USER_CLAIM": ","}, "JWT_USER_CLAIM: "),
    (ApiSettings, {"JWT_SECRET": SECRET, "LOG_LEVEL": "hunter2"}, "LOG_LEVEL: Input should be 'DEBUG'"),
]


@pytest.mark.parametrize(("kind", "variables", "sentence"), REFUSED_VALUES)
def test_what_cannot_be_used_is_refused_in_words(kind: type[Any], variables: dict[str, str], sentence: str) -> None:
    assert sentence in refusal(kind, {**QUEUE, **variables})


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTPS_PROXY": "http://proxy:3128"},
        {"HTTPS_PROXY": "proxy:3128"},
        {"HTTPS_PROXY": "http://u:hunter2@[2001:db8::1]:3128"},
        {"ALL_PROXY": "socks5://hunter2:1", "NO_PROXY": "node.example"},
        {"ALL_PROXY": "socks5://hunter2:1", "NO_PROXY": "*"},
        {"HTTP_PROXY": "http://:8080"},
    ],
)
def test_a_proxy_that_can_be_used_or_is_not_is_no_matter(variables: dict[str, str]) -> None:
    assert loaded(WorkerSettings, {**QUEUE, "ETHEREUM_RPC_URLS": NODE, **variables}).networks == ("ethereum",)
