"""A Docker daemon with compose: the one that is here, if it has its images, or one of our own with stand-ins."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
COMPOSE = "github.com/docker/compose/v2/cmd@v2.29.7"
START_SECONDS = 60.0
END_SECONDS = 60.0


class NoDaemonError(Exception):
    """No daemon is to be had here. The message says what is missing."""


class CommandFailedError(Exception):
    """A command ended with another code than 0. The message has what it said."""


def said(command: Sequence[str], env: Mapping[str, str], cwd: Path | None = None, given: str | None = None) -> str:
    """What a command prints. Raises CommandFailedError."""
    done = subprocess.run(command, env=env, cwd=cwd, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailedError(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Docker:
    """A daemon, by the environment in which its client finds it."""

    env: dict[str, str]
    own: bool
    """It is the test's own: it reaches no registry, and has stand-ins for what would come from one."""

    def __call__(self, *words: str, cwd: Path | None = None) -> str:
        """What `docker …` prints. Raises CommandFailedError."""
        return said(["docker", *words], self.env, cwd)

    def build(self, tree: Path, tag: str, *arguments: str) -> None:
        """Build the Dockerfile of a tree, as compose would."""
        network = ["--network", "host"] if self.own else []
        self("build", "--quiet", *network, *arguments, "--tag", tag, ".", cwd=tree)

    def kill(self, container: str, base: str) -> None:
        """End a container's process as the kernel does when memory is short; `docker kill` would keep it stopped.

        The first process of a container cannot be killed from within: another container does it that sees them all.
        """
        pid = self("inspect", "--format", "{{.State.Pid}}", container).strip()
        self("run", "--rm", "--pid=host", "--user=0", base, "sh", "-c", f"kill -9 {pid}")


def with_compose(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """An environment in which `docker compose` is known: it is built with Go where it is not installed."""
    with suppress(CommandFailedError):
        said(["docker", "compose", "version"], env)
        return dict(env)
    plugin = folder / "config" / "cli-plugins" / "docker-compose"
    if not plugin.exists():
        if not shutil.which("go"):
            raise NoDaemonError("`docker compose` is missing: install the plugin docker-compose-plugin, or Go")
        print("Building the compose plugin with Go: some minutes, once …", flush=True)
        said(["go", "install", COMPOSE], {**env, "GOBIN": str(folder / "go")})
        plugin.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "go" / "cmd", plugin)
    return {**env, "DOCKER_CONFIG": str(folder / "config")}


@contextmanager
def daemon(folder: Path, images: Mapping[str, set[str]]) -> Iterator[Docker]:
    """A daemon that has these images, which are given by what stands in for them. Raises NoDaemonError."""
    if not shutil.which("docker"):
        raise NoDaemonError("`docker` is missing: install Docker")
    folder.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ)
    if _has_all(sorted(set().union(*images.values())), env):
        yield Docker(with_compose(env, folder), own=False)
        return
    print(
        "No daemon here reaches a registry: one of the test's own, with stand-ins for the images of others.", flush=True
    )
    missing = [tool for tool in ("dockerd", "mmdebstrap", "iptables") if not shutil.which(tool)]
    if missing or os.geteuid() != 0:
        raise NoDaemonError(f"for a daemon of the test's own: {', '.join(missing) or 'root'} is missing")
    env = {**env, "DOCKER_HOST": f"unix://{folder}/sock", "DOCKER_BUILDKIT": "0"}
    with _running(folder, env):
        docker = Docker(with_compose(env, folder), own=True)
        for kind, tags in images.items():
            for tag in sorted(tags):
                print(f"Making a stand-in for {tag} …", flush=True)
                said(["sh", str(HERE / "stand_ins.sh"), str(folder), kind, tag], env)
        yield docker


def _has_all(images: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether there is a daemon already that has these images, or gets them."""
    try:
        said(["docker", "info"], env)
        for image in images:
            print(f"Pulling {image} …", flush=True)
            said(["docker", "pull", "--quiet", image], env)
    except CommandFailedError:
        return False
    return True


@contextmanager
def _running(folder: Path, env: Mapping[str, str]) -> Iterator[None]:
    """The daemon, in folders of its own; it ends with the block."""
    options = {"data-root": folder / "data", "exec-root": folder / "exec", "pidfile": folder / "pid"}
    words = [f"--{name}={path}" for name, path in options.items()]
    with (folder / "dockerd.log").open("w") as log:
        process = subprocess.Popen(
            ["dockerd", *words, f"--host={env['DOCKER_HOST']}"], env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_until_it_answers(process, env)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(END_SECONDS)


def _wait_until_it_answers(process: subprocess.Popen[bytes], env: Mapping[str, str]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(CommandFailedError):
            said(["docker", "info"], env)
            return
        time.sleep(0.5)
    raise NoDaemonError("dockerd does not start: dockerd.log in the test's folder says why")
