"""Signs of life: in a folder of our own, nowhere that a stranger's link leads, and good until a moment ahead."""

import subprocess
from pathlib import Path
from time import time

import pytest
import yaml
from environment import forget_settings
from structlog.testing import capture_logs

from devstack.servers import ROOT
from worker.liveness import READY, Life, Sign, make_life_sign_folder, probe, show, withdraw

AHEAD = 10_000.0
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "signs"
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody/x")
    monkeypatch.setenv("REDIS_URL", "redis://nobody")
    monkeypatch.setenv("LIFE_SIGN_DIR", str(made))
    forget_settings()
    return made


def probed(sign: Sign, folder: Path) -> bool:
    """Whether a probe finds a process well."""
    return subprocess.run(["sh", "-c", probe(sign, folder)], check=False).returncode == 0


def test_each_process_has_a_sign_of_its_own_in_a_folder_that_nobody_else_can_enter(folder: Path) -> None:
    make_life_sign_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    show("worker", AHEAD)
    show("beat", AHEAD)
    assert sorted(path.name for path in folder.iterdir()) == ["beat", "worker"]
    make_life_sign_folder()


def test_what_a_process_of_before_has_left_says_nothing_of_the_next_one(folder: Path) -> None:
    """A container that is started anew may find the folder as it was, with a sign that lies minutes ahead."""
    make_life_sign_folder()
    signs: tuple[Sign, ...] = ("worker", READY, "beat")
    for sign in signs:
        show(sign, time() + AHEAD)
    make_life_sign_folder("worker", READY)
    assert not probed("worker", folder)
    assert not probed(READY, folder)
    assert probed("beat", folder), "that is another process's"


def test_a_probe_fails_without_a_sign_and_when_its_moment_has_passed(folder: Path) -> None:
    make_life_sign_folder()
    assert not probed("worker", folder)
    show("worker", time() + AHEAD)
    assert probed("worker", folder)
    show("worker", time() - 1)
    assert not probed("worker", folder)
    show(READY, time() + AHEAD)
    assert probed(READY, folder)
    withdraw(READY)
    withdraw(READY)
    assert not probed(READY, folder)


def test_the_compose_file_has_these_probes() -> None:
    for service, sign in (("worker", "worker"), ("worker-refresh", "worker"), ("beat", "beat")):
        assert COMPOSE[service]["healthcheck"]["test"] == ["CMD-SHELL", probe(sign, "/tmp/balance-sync")]  # type: ignore[arg-type]


def until(folder: Path, sign: Sign) -> float:
    return (folder / sign).stat().st_mtime - time()


def test_who_waits_for_redis_is_left_alone_for_longer_and_that_from_the_beginning_of_the_wait(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_life_sign_folder()
    now = time()
    monkeypatch.setattr("worker.liveness.time", lambda: now)
    life = Life("worker")
    life.comes_round()
    assert until(folder, "worker") == pytest.approx(60, abs=40)
    life.waits_for_redis()
    first = (folder / "worker").stat().st_mtime
    assert first == pytest.approx(now + 600, abs=1)
    now += 100
    life.waits_for_redis()
    assert (folder / "worker").stat().st_mtime == first
    life.comes_round()
    life.waits_for_redis()
    assert (folder / "worker").stat().st_mtime == pytest.approx(now + 600, abs=1)


def test_a_sign_that_cannot_be_shown_is_told_of_once_and_ends_nothing(folder: Path) -> None:
    life = Life("worker")
    with capture_logs() as logs:
        life.comes_round()
        life.comes_round()
        make_life_sign_folder()
        life.comes_round()
    assert [(each["event"], each["sign"]) for each in logs] == [("life_sign_not_shown", "worker")]
    assert probed("worker", folder)


@pytest.mark.parametrize("trouble", ["a link", "a file", "open to all", "another's"])
def test_a_folder_that_is_not_ours_alone_stops_the_start(
    folder: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    match trouble:
        case "a link":
            folder.symlink_to(elsewhere)
        case "a file":
            folder.write_text("")
        case "open to all":
            folder.mkdir()
            folder.chmod(0o777)
        case _:
            folder.mkdir(mode=0o700)
            monkeypatch.setattr("os.geteuid", lambda: 12_345)
    with pytest.raises(SystemExit, match=r"LIFE_SIGN_DIR: is not a folder of this user's alone"):
        make_life_sign_folder()
    with pytest.raises(OSError):
        show("worker", AHEAD)
    assert list(elsewhere.iterdir()) == []


def test_no_link_is_followed_to_what_a_stranger_wants_touched(folder: Path) -> None:
    make_life_sign_folder()
    victim = folder.parent / "victim"
    (folder / "worker").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        show("worker", AHEAD)
    assert not victim.exists()
