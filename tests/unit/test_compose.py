"""docker-compose.yml and its scripts: what each container may do, and who can read the secrets."""

import hashlib
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.networks import PRESETS
from config.networks_file import networks_in
from devstack.servers import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
FILES = {".jinja", ".css", ".js", ".svg", ".html"}
MONITORING = [name for name, service in SERVICES.items() if service.get("profiles") == ["monitoring"]]


def secrets_of(service: str) -> set[str]:
    return set(SERVICES[service].get("secrets", ()))


def test_what_listens_on_a_port_does_so_for_this_machine_alone() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "api": ["127.0.0.1:${API_PORT:-8000}:8000"],
        "ops": ["127.0.0.1:${OPS_PORT:-8001}:8001"],
        "prometheus": ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"],
        "alertmanager": ["127.0.0.1:${ALERTMANAGER_PORT:-9093}:9093"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }
    assert COMPOSE["networks"]["data"]["internal"] is True
    assert [name for name in ("postgres", "redis") if SERVICES[name]["networks"] != ["data"]] == []
    assert not set(SERVICES["ops"]["networks"]) & {"front", "nodes"}, "users do not reach the metrics"
    assert not [name for name in MONITORING if "data" in SERVICES[name]["networks"]]


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_more_than_it_needs(service: str) -> None:
    made = SERVICES[service]
    assert made["read_only"] is True
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges:true"]
    assert made["mem_limit"]
    assert made["cpus"]
    assert made["pids_limit"]
    assert ("cap_add" in made) is (service == "postgres"), "its image sets up its own folders as root"


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_named_exactly(service: str) -> None:
    name, _, tag = SERVICES[service]["image"].partition(":")
    if service in OURS:
        assert (name, tag) == ("balance-sync", "${BALANCE_SYNC_TAG:-local}")
    else:
        assert re.fullmatch(r"v?\d+(\.\d+)+", tag)


def test_the_image_has_no_more_than_its_packages_and_runs_as_a_fixed_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    final = lines[[number for number, line in enumerate(lines) if line.startswith("FROM ")][-1] :]
    assert [line.split()[1:] for line in final if line.startswith("COPY")] == [
        ["--from=build", "/venv", "/venv"],
        ["pyproject.toml", "./"],
    ]
    assert "USER 10001:10001" in final
    assert re.search(r"^ARG BASE=python:\d+\.\d+\.\d+-slim", "\n".join(lines), re.MULTILINE)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in lines if line.startswith("COPY") and "--from" not in line for word in line.split()[1:-1]}
    assert allowed == copied


def test_every_module_and_file_that_a_package_needs_is_in_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {name.replace(".", "/") for name in settings["packages"]}
    tops = {name for name in packages if "/" not in name}
    found = {str(each.parent.relative_to(ROOT)) for top in tops for each in (ROOT / top).rglob("*.py")}
    data = {f"{name}/{Path(each).parent}" for name, listed in settings["package-data"].items() for each in listed}
    assert found <= packages | data
    templates = {str(each.parent.relative_to(ROOT)) for each in (ROOT / "ops").rglob("*") if each.suffix in FILES}
    assert templates <= data


@pytest.mark.parametrize(
    ("service", "role"),
    [
        ("migrate", "owner"),
        ("worker", "worker"),
        ("worker-refresh", "worker"),
        ("beat", "worker"),
        ("api", "api"),
        ("ops", "ops"),
    ],
)
def test_each_process_has_a_role_of_its_own_and_no_other_ones_secrets(service: str, role: str) -> None:
    assert SERVICES[service]["environment"]["DATABASE_URL_FILE"] == f"/run/secrets/{role}_database_url"
    passwords = {name for name in COMPOSE["secrets"] if "password" in name or name.endswith(("_url", ".acl"))}
    assert secrets_of(service) & passwords <= {f"{role}_database_url", f"{role}_redis_url"}
    assert ("jwt_secret" in secrets_of(service)) is (service == "api")
    assert ("ops_token" in secrets_of(service)) is (service == "ops")


def test_redis_asks_for_passwords() -> None:
    assert SERVICES["redis"]["command"][-2:] == ["--aclfile", "/run/secrets/redis.acl"]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder in which the script has run."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "redis.acl").write_text((ROOT / "config" / "redis.acl").read_text())
    subprocess.run(["sh", ROOT / "compose" / "secrets.sh"], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path / "secrets"


def test_the_script_makes_every_secret_that_compose_takes_in_a_folder_of_its_owners_alone(made: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    for name, secret in COMPOSE["secrets"].items():
        file = made.parent / secret["file"]
        assert file.exists(), name
        assert file.stat().st_mode & stat.S_IROTH, "a container's process is another user"
    assert len((made / "jwt_secret").read_text()) == 64
    url = (made / "worker_database_url").read_text()
    assert url == f"postgresql://bal_worker:{(made / 'bal_worker_password').read_text()}@postgres/balances"
    passwords = [each.read_text() for each in made.glob("*_password")]
    assert len(passwords) == len(set(passwords)) == 11


def test_redis_is_given_digests_of_the_passwords_that_the_urls_have(made: Path) -> None:
    acl = (made / "redis.acl").read_text()
    assert "PASSWORD" not in acl
    for user in ("worker", "api", "ops", "registrar"):
        password = (made / f"redis_{user}_password").read_text()
        assert f"user {user} on #{hashlib.sha256(password.encode()).hexdigest()} " in acl
        assert (made / f"{user}_redis_url").read_text() == f"redis://{user}:{password}@redis:6379/0"
        assert password not in acl


def test_run_again_after_an_update_it_adds_what_is_missing(made: Path) -> None:
    (made / "ops_token").unlink()
    before = {file.name: file.read_text() for file in made.iterdir()}
    subprocess.run(["sh", ROOT / "compose" / "secrets.sh"], cwd=made.parent, check=True, capture_output=True)
    after = {file.name: file.read_text() for file in made.iterdir()}
    assert len(after.pop("ops_token")) == 64
    assert after == before


def test_what_is_there_stays(made: Path) -> None:
    (made / "jwt_secret").write_text("ours")
    before = {file.name: file.read_text() for file in made.iterdir()}
    subprocess.run(["sh", ROOT / "compose" / "secrets.sh"], cwd=made.parent, check=True, capture_output=True)
    assert {file.name: file.read_text() for file in made.iterdir()} == before


def test_another_network_is_a_line_in_a_file_and_its_table_reaches_all_who_read_it(made: Path) -> None:
    for name in ("worker", "worker-refresh", "beat", "ops"):
        assert [(made.parent / each).resolve() for each in SERVICES[name]["env_file"]] == [made / "networks.env"]
    for name in ("migrate", "worker", "worker-refresh", "beat", "api", "ops"):
        assert SERVICES[name]["environment"]["NETWORKS_FILE"] == "/run/secrets/networks.toml"
        assert "networks.toml" in secrets_of(name)
    assert networks_in((made / "networks.toml").read_text()) == PRESETS
