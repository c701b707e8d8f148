"""Signs of life: in a folder of our own, and nowhere that a stranger's link leads."""

from pathlib import Path

import pytest
from environment import forget_settings

from worker.liveness import make_life_sign_folder, show_life


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "signs"
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody/x")
    monkeypatch.setenv("REDIS_URL", "redis://nobody")
    monkeypatch.setenv("LIFE_SIGN_DIR", str(made))
    forget_settings()
    return made


def test_each_process_has_a_sign_of_its_own_in_a_folder_that_nobody_else_can_enter(folder: Path) -> None:
    make_life_sign_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    show_life("worker")
    show_life("beat")
    assert sorted(path.name for path in folder.iterdir()) == ["beat", "worker"]
    make_life_sign_folder()


def test_a_sign_is_as_young_as_its_last_showing(folder: Path) -> None:
    import os

    make_life_sign_folder()
    show_life("worker")
    os.utime(folder / "worker", (1, 1))
    show_life("worker")
    assert (folder / "worker").stat().st_mtime > 10**9


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
    with pytest.raises(SystemExit, match=r"LIFE_SIGN_DIR: .* is not a folder of this user's alone"):
        make_life_sign_folder()
    with pytest.raises(OSError):
        show_life("worker")
    assert list(elsewhere.iterdir()) == []


def test_no_link_is_followed_to_what_a_stranger_wants_touched(folder: Path) -> None:
    make_life_sign_folder()
    victim = folder.parent / "victim"
    (folder / "worker").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        show_life("worker")
    assert not victim.exists()
