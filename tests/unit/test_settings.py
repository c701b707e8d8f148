"""A wrong setting stops the start with a sentence, and no value is ever shown."""

from pathlib import Path

import pytest

from config.base_settings import setting_names
from config.settings import ApiSettings, Settings, WorkerSettings, load

DATABASE = {"DATABASE_URL": "postgresql://u:hunter2@db/x"}
QUEUE = {**DATABASE, "REDIS_URL": "redis://:hunter2@cache/0"}
API = {**QUEUE, "JWT_SECRET": "s" * 32}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (WorkerSettings, ApiSettings):
        for name in setting_names(kind):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(f"{name}_FILE", raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("kind", "variables", "sentence"),
    [
        (Settings, {}, "DATABASE_URL: is required"),
        (
            Settings,
            {"DATABASE_URL": "mysql://u:hunter2@db/x"},
            "DATABASE_URL: must be a URL that begins with postgresql://",
        ),
        (WorkerSettings, DATABASE, "REDIS_URL: is required"),
        (
            WorkerSettings,
            {**QUEUE, "DATABASE_URL": "postgresql://app:hunter2%et@host/name"},
            "DATABASE_URL: cannot be read: write what is special in the user's name and the password as %XX",
        ),
        (
            Settings,
            {"DATABASE_URL": "postgresql://app:hunter2@cret@host/name"},
            "DATABASE_URL: has more than one @",
        ),
        (
            Settings,
            {"DATABASE_URL": "postgresql://app:12/hunter2@host/name"},
            "DATABASE_URL: has more than one @",
        ),
        (
            Settings,
            {"DATABASE_URL": "postgresql://app:secret@host/name?hunter2=true"},
            "DATABASE_URL: cannot be read",
        ),
        (
            WorkerSettings,
            {**QUEUE, "REDIS_URL": "http://hunter2"},
            "REDIS_URL: must be a URL that begins with redis://",
        ),
        (
            WorkerSettings,
            {**QUEUE, "REDIS_URL": "unix://hunter2/redis.sock"},
            "REDIS_URL: must name the socket's whole path after three slashes",
        ),
        (
            WorkerSettings,
            {**QUEUE, "REDIS_URL": "redis://cache/0?password=hunter2"},
            "REDIS_URL: takes no password: write redis://user:password@host",
        ),
        (
            WorkerSettings,
            {**QUEUE, "REDIS_URL": "rediss://cache/0?ssl_cert_reqs=hunter2"},
            "REDIS_URL: takes ssl_cert_reqs=required",
        ),
        (
            WorkerSettings,
            {**QUEUE, "REDIS_URL": "redis://cache/hunter2"},
            "REDIS_URL: must end with the number of a database",
        ),
        (WorkerSettings, {**QUEUE, "ETHEREUM_RPC_URLS": "node/hunter2"}, "ETHEREUM_RPC_URLS: must be a URL"),
        (WorkerSettings, {**QUEUE, "TRON_RPC_URLS": "http://ok,ftp://hunter2"}, "TRON_RPC_URLS: must be a URL"),
        (
            WorkerSettings,
            {**QUEUE, "ETHEREUM_CHAIN_ID": "hunter2"},
            "ETHEREUM_CHAIN_ID: Input should be a valid integer",
        ),
        (WorkerSettings, {**QUEUE, "ETHEREUM_CHAIN_ID": "0"}, "ETHEREUM_CHAIN_ID: Input should be greater than 0"),
        (
            WorkerSettings,
            {**QUEUE, "ETHEREUM_USDT_CONTRACT": "TR7"},
            "ETHEREUM_USDT_CONTRACT: an EVM address is 0x and",
        ),
        (WorkerSettings, {**QUEUE, "TRON_FINALITY": "finalized"}, "TRON_FINALITY: Input should be 'latest' or 'solid'"),
        (
            WorkerSettings,
            {**QUEUE, "SYNC_LEASE": "3", "TRON_RPS": "1", "TRON_RPC_URLS": "https://node"},
            "TRON_RPS leaves a read no 2 requests",
        ),
        (WorkerSettings, {**QUEUE, "SYNC_LEASE": "1"}, "SYNC_LEASE: Input should be greater than or equal to 3"),
        (WorkerSettings, {**QUEUE, "SYNC_INTERVAL_IDLE": "30"}, "SYNC_INTERVAL_IDLE must not be shorter than"),
        (WorkerSettings, {**QUEUE, "SYNC_INTERVAL_SWEEP": "899"}, "SYNC_INTERVAL_SWEEP: must not be shorter than"),
        (WorkerSettings, {**QUEUE, "SYNC_INTERVAL_SWEEP": "0"}, "SYNC_INTERVAL_SWEEP: Input should be greater than 0"),
        (WorkerSettings, {**QUEUE, "FEED": "hunter2"}, "FEED: Input should be a valid boolean"),
        (
            WorkerSettings,
            {**QUEUE, "SYNC_INTERVAL_ACTIVE": "0"},
            "SYNC_INTERVAL_ACTIVE: Input should be greater than 0",
        ),
        (WorkerSettings, {**QUEUE, "SYNC_INTERVAL_ACTIVE": "nan"}, "SYNC_INTERVAL_ACTIVE: Input should be"),
        (ApiSettings, QUEUE, "JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL must be set"),
        (ApiSettings, {**API, "JWT_PUBLIC_KEY": "hunter2"}, "and only one of them"),
        (ApiSettings, {**API, "JWT_SECRET": "hunter2"}, "JWT_SECRET must have at least 32 bytes"),
        (ApiSettings, {**API, "JWT_ALGORITHMS": "none"}, "JWT_ALGORITHMS must be out of HS256"),
        (ApiSettings, {**API, "JWT_ALGORITHMS": "HS256,RS256"}, "JWT_ALGORITHMS must be out of HS256"),
        (ApiSettings, {**API, "JWT_JWKS_URL": "https://them/hunter2"}, "and only one of them"),
        (
            ApiSettings,
            {**QUEUE, "JWT_JWKS_URL": "https://them/hunter2", "JWT_ALGORITHMS": "RS256"},
            "JWT_AUDIENCE must be set with JWT_JWKS_URL: the aud of tokens for this API, or any",
        ),
        (ApiSettings, {**API, "JWT_MAX_AGE": "0"}, "JWT_MAX_AGE: Input should be greater than 0"),
        (ApiSettings, {**API, "JWT_JWKS_MAX_AGE": "5"}, "JWT_JWKS_MAX_AGE: Input should be greater than or equal to"),
        (ApiSettings, {**API, "REFRESH_MAX": "-1"}, "REFRESH_MAX: Input should be greater than or equal to 0"),
        (ApiSettings, {**API, "TRUSTED_PROXIES": "10.0.0.0/8,hunter2"}, "TRUSTED_PROXIES: value is not a valid IPv4"),
        (ApiSettings, {**API, "JWT_ALGORITHMS": "HS256,HS512"}, "JWT_SECRET must have at least 64 bytes"),
        (ApiSettings, {**API, "JWT_ALGORITHMS": "HS384"}, "JWT_SECRET must have at least 48 bytes"),
        (ApiSettings, {**QUEUE, "JWT_PUBLIC_KEY": "k"}, "JWT_ALGORITHMS must be out of ES256, ES384, ES512, EdDSA"),
        (
            ApiSettings,
            {**QUEUE, "JWT_JWKS_URL": "file:///hunter2"},
            "JWT_JWKS_URL: must be a URL that begins with http",
        ),
        (
            ApiSettings,
            {**QUEUE, "JWT_JWKS_URL": "http://them/hunter2"},
            "JWT_JWKS_URL: must be a URL that begins with https",
        ),
        (ApiSettings, {**API, "API_POOL_MAX": "0"}, "API_POOL_MAX: Input should be greater than or equal to 1"),
        (ApiSettings, {**API, "API_POOL_MIN": "9", "API_POOL_MAX": "8"}, "API_POOL_MAX must not be smaller"),
        (ApiSettings, {**API, "LOG_FORMAT": "xml"}, "LOG_FORMAT: Input should be 'console' or 'json'"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_a_sentence(
    kind: type[Settings], variables: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)
    with pytest.raises(SystemExit) as stop:
        load(kind)
    assert sentence in str(stop.value)
    assert "hunter2" not in str(stop.value)


@pytest.mark.parametrize(
    ("idle", "sweep", "expected"),
    [("", "", 21_600), ("36000", "", 36_000), ("36000", "36001", 36_001), ("", "900", 900)],
)
def test_a_sweep_is_six_hours_unless_the_idle_interval_is_longer_or_it_is_set(
    idle: str, sweep: str, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, {**QUEUE, "SYNC_INTERVAL_IDLE": idle, "SYNC_INTERVAL_SWEEP": sweep})
    assert load(WorkerSettings).sync_interval_sweep == expected


@pytest.mark.parametrize(
    ("feed", "idle", "longest"), [("off", "900", 900), ("on", "900", 21_600), ("on", "7200", 28_800)]
)
def test_a_balance_is_fresh_for_as_long_as_nobody_has_to_read_it(
    feed: str, idle: str, longest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, {**API, "FEED": feed, "SYNC_INTERVAL_IDLE": idle})
    assert load(ApiSettings).longest_interval == longest


@pytest.mark.parametrize(("given", "on"), [("", True), ("on", True), ("ON", True), ("off", False), ("false", False)])
def test_blocks_are_followed_unless_the_feed_is_off(given: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**QUEUE, "FEED": given})
    assert load(WorkerSettings).feed is on


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {"TRON_CHAIN_ID": "x", "SYNC_LEASE": "x"})
    with pytest.raises(SystemExit) as stop:
        load(WorkerSettings)
    assert [line.split(":")[0].strip() for line in str(stop.value).splitlines()[1:]] == [
        "DATABASE_URL",
        "REDIS_URL",
        "TRON_CHAIN_ID",
        "SYNC_LEASE",
    ]


def test_lists_are_split_at_commas_and_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**QUEUE, "TRON_RPC_URLS": "http://localhost, https://b/key,", "ETHEREUM_RPC_URLS": ""})
    settings = load(WorkerSettings)
    assert [url.get_secret_value() for url in settings.chain("tron").urls] == ["http://localhost", "https://b/key"]
    assert settings.networks == ("tron",)


def test_a_secret_comes_from_the_file_that_its_variable_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://from-file/x\n")
    set_all(monkeypatch, {"DATABASE_URL_FILE": str(tmp_path / "url")})
    assert load(Settings).database_url.get_secret_value() == "postgresql://from-file/x"


def test_a_secret_file_that_cannot_be_read_stops_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_all(monkeypatch, {"DATABASE_URL_FILE": str(tmp_path / "absent")})
    with pytest.raises(SystemExit, match="DATABASE_URL_FILE: cannot read the file it names"):
        load(Settings)


def test_settings_show_no_secret_when_they_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**QUEUE, "TRON_API_KEYS": "hunter2,hunter3", "ETHEREUM_RPC_URLS": "https://node/v3/hunter2"})
    assert "hunter" not in repr(load(WorkerSettings))


def test_the_time_outs_of_a_batch_are_in_order_whatever_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    for lease in ("3", "60", "3600"):
        set_all(monkeypatch, {**QUEUE, "SYNC_LEASE": lease})
        settings = load(WorkerSettings)
        assert settings.request_limit * 2 < settings.read_limit < settings.task_soft_limit
        assert settings.task_soft_limit < settings.task_hard_limit < settings.sync_lease


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 120),
        ({"ETHEREUM_FINALITY": "finalized"}, 2700),
        ({"ETHEREUM_FINALITY": "finalized", "ETHEREUM_MAX_HEAD_AGE": "7"}, 7),
        ({"ETHEREUM_MAX_HEAD_AGE": "0"}, 0),
    ],
)
def test_how_old_a_block_may_be_depends_on_how_settled_it_is(
    given: dict[str, str], expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, {**QUEUE, **given})
    assert load(WorkerSettings).chain("ethereum").max_head_age == expected


@pytest.mark.parametrize("name", ["ETHEREUM_RPS", "TRON_RPS", "ETHEREUM_MAX_HEAD_AGE", "TRON_MAX_HEAD_AGE"])
def test_a_bound_below_zero_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**QUEUE, name: "-1"})
    with pytest.raises(SystemExit, match=name):
        load(WorkerSettings)


@pytest.mark.parametrize("name", ["ETHEREUM_RPC_URLS", "TRON_RPC_URLS"])
def test_a_node_on_another_machine_is_asked_in_the_clear_only_where_that_is_allowed_in_words(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, {**QUEUE, name: "https://ok.example,http://node.example/hunter2"})
    with pytest.raises(SystemExit, match=f"{name} names a node on another machine") as stop:
        load(WorkerSettings)
    assert "hunter2" not in str(stop.value)
    monkeypatch.setenv("ALLOW_PLAIN_HTTP", "true")
    assert load(WorkerSettings).networks
    monkeypatch.setenv("ALLOW_PLAIN_HTTP", "false")
    for here in ("http://localhost:8545", "http://127.0.0.1", "http://[::1]:8090/x"):
        monkeypatch.setenv(name, here)
        assert load(WorkerSettings).networks


def test_rises_are_given_in_whole_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**QUEUE, "CONFIRM_RISES": "1000", "ETHEREUM_USDT_DECIMALS": "18"})
    settings = load(WorkerSettings)
    assert settings.chain("tron").confirm_rises == 1000
    assert settings.chain("ethereum").confirm_rises == 1000
    monkeypatch.delenv("CONFIRM_RISES")
    assert load(WorkerSettings).chain("tron").confirm_rises is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:8080"])
def test_keys_may_come_from_this_machine_without_tls(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of_provider = {"JWT_JWKS_URL": f"http://{host}/keys", "JWT_ALGORITHMS": "RS256", "JWT_AUDIENCE": "us"}
    set_all(monkeypatch, {**QUEUE, **of_provider})
    assert load(ApiSettings).jwt_jwks_url is not None
