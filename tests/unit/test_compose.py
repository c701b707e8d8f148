"""docker-compose.yml and its scripts: what each container may do, and who can read the secrets."""

import hashlib
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.networks import PRESETS
from config.networks_file import networks_in
from devstack.servers import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name in SERVICES if name != "postgres"]  # whose image sets up its own folders as root


def secrets_of(service: str) -> set[str]:
    return set(SERVICES[service].get("secrets", ()))


def test_nothing_but_the_endpoint_can_be_reached_and_that_from_this_machine_alone() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "api": ["127.0.0.1:8000:8000"]
    }
    assert COMPOSE["networks"]["data"]["internal"] is True
    assert [name for name in ("postgres", "redis") if SERVICES[name]["networks"] != ["data"]] == []


@pytest.mark.parametrize("service", OURS)
def test_a_container_has_no_more_than_it_needs(service: str) -> None:
    made = SERVICES[service]
    assert made["read_only"] is True
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize(
    ("service", "role"),
    [("migrate", "owner"), ("worker", "worker"), ("worker-refresh", "worker"), ("beat", "worker"), ("api", "api")],
)
def test_each_process_has_a_role_of_its_own_and_no_other_ones_secrets(service: str, role: str) -> None:
    assert SERVICES[service]["environment"]["DATABASE_URL_FILE"] == f"/run/secrets/{role}_database_url"
    passwords = {name for name in COMPOSE["secrets"] if "password" in name or name.endswith(("_url", ".acl"))}
    assert secrets_of(service) & passwords <= {f"{role}_database_url", f"{role}_redis_url"}
    assert ("jwt_secret" in secrets_of(service)) is (service == "api")


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
    assert len(passwords) == len(set(passwords)) == 10


def test_redis_is_given_digests_of_the_passwords_that_the_urls_have(made: Path) -> None:
    acl = (made / "redis.acl").read_text()
    assert "PASSWORD" not in acl
    for user in ("worker", "api", "ops", "registrar"):
        password = (made / f"redis_{user}_password").read_text()
        assert f"user {user} on #{hashlib.sha256(password.encode()).hexdigest()} " in acl
        assert (made / f"{user}_redis_url").read_text() == f"redis://{user}:{password}@redis:6379/0"
        assert password not in acl


def test_what_is_there_stays(made: Path) -> None:
    (made / "jwt_secret").write_text("ours")
    before = {file.name: file.read_text() for file in made.iterdir()}
    subprocess.run(["sh", ROOT / "compose" / "secrets.sh"], cwd=made.parent, check=True, capture_output=True)
    assert {file.name: file.read_text() for file in made.iterdir()} == before


def test_another_network_is_a_line_in_a_file_and_its_table_reaches_all_who_read_it(made: Path) -> None:
    for name in ("worker", "worker-refresh", "beat"):
        assert [(made.parent / each).resolve() for each in SERVICES[name]["env_file"]] == [made / "networks.env"]
    for name in ("migrate", "worker", "worker-refresh", "beat", "api"):
        assert SERVICES[name]["environment"]["NETWORKS_FILE"] == "/run/secrets/networks.toml"
        assert "networks.toml" in secrets_of(name)
    assert networks_in((made / "networks.toml").read_text()) == PRESETS
