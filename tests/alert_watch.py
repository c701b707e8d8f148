"""A Prometheus and an Alertmanager over the product, with the project's own rules and times cut, and who is called."""

import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import requests
import yaml
from alerts import FOLDER, TOOLS, programs

from devstack.servers import HOST, Server, free_port, running

FASTER = 12
"""A test waits for a twelfth of what rules and Alertmanager wait for."""


class Call(NamedTuple):
    """An alert that reached the webhook."""

    alert: str
    severity: str
    firing: bool
    about: str
    """Its network, endpoint or queue."""


class Receiver(ThreadingHTTPServer):
    """Takes what Alertmanager sends, and keeps it in its order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.calls: list[Call] = []

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/"

    def take(self, body: Any) -> None:
        for each in body["alerts"]:
            labels = each["labels"]
            about = " ".join(labels[name] for name in ("network", "endpoint", "queue", "error") if name in labels)
            self.calls.append(Call(labels["alertname"], labels["severity"], each["status"] == "firing", about))


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing to the terminal."""


class Watch(NamedTuple):
    """What runs, and who was called."""

    prometheus: Server
    alertmanager: Server
    receiver: Receiver

    def active(self) -> set[str]:
        """The alerts that are firing or will, if it goes on, those kept quiet included."""
        found = requests.get(f"{self.prometheus.url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        return {each["labels"]["alertname"] for each in found if each["state"] == "firing"}

    def is_told_of(self, alert: str, since: int, *, firing: bool) -> bool:
        """Whether the webhook was, since so many calls."""
        return any((call.alert, call.firing) == (alert, firing) for call in self.receiver.calls[since:])


def cut(duration: str) -> str:
    """A duration, shortened, but not to nothing."""
    seconds = int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]
    return f"{max(seconds // FASTER, 2)}s"


def cut_rules() -> str:
    """The rules with all times in them cut. A worker shows itself each ten seconds, so that its bound is a third."""
    text = (FOLDER / "rules.yml").read_text().replace("< 30 + 2 *", "< 12 + 2 *").replace(") > 120\n", ") > 10\n")
    text = re.sub(r"(?<=for: )\d+[smh]", lambda found: cut(found[0]), text)
    return re.sub(r"(?<=\[)\d+[mh](?=\])", lambda found: f"{min(max(int(cut(found[0])[:-1]), 15), 75)}s", text)


def cut_alertmanager(receiver: Receiver) -> dict[str, Any]:
    """The project's own Alertmanager, with the receiver of this test."""
    made: dict[str, Any] = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    route = made["route"] | {"group_wait": "5s", "group_interval": "5s", "repeat_interval": "1h"}
    receivers = [
        {"name": each["name"], "webhook_configs": [{"url": receiver.url, "send_resolved": True}]}
        for each in made["receivers"]
    ]
    return {**made, "route": route, "receivers": receivers}


def cut_prometheus(folder: Path, alertmanager: str) -> dict[str, Any]:
    """The project's own Prometheus, with the addresses of this test: those of the product's processes may change."""
    made: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    jobs = [
        {"job_name": job["job_name"], "file_sd_configs": [{"files": [str(folder / f"{job['job_name']}.json")]}]}
        for job in made["scrape_configs"]
    ]
    return {
        **made,
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [_address(alertmanager)]}]}]},
        "scrape_configs": jobs,
    }


def scrape(folder: Path, process: str, url: str) -> None:
    """Have Prometheus look for ops or the endpoint (`api`) at this URL from now on."""
    new = folder / "targets.new"
    new.write_text(json.dumps([{"targets": [_address(url)]}]))
    new.rename(folder / f"balance-sync-{process}.json")


def _address(url: str) -> str:
    return url.removeprefix("http://")


@contextmanager
def watched(folder: Path) -> Iterator[Watch]:
    """Both servers over what they are told to `scrape` in this folder, until the end of the block."""
    prometheus, alertmanager = programs()
    with ExitStack() as started:
        receiver = started.enter_context(Receiver())
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        started.callback(receiver.shutdown)
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(cut_alertmanager(receiver)))
        caller = started.enter_context(_alertmanager(folder, alertmanager))
        (folder / "rules.yml").write_text(cut_rules())
        (folder / "prometheus.yml").write_text(yaml.safe_dump(cut_prometheus(folder, caller.url)))
        yield Watch(started.enter_context(_prometheus(folder, prometheus)), caller, receiver)


@contextmanager
def _alertmanager(folder: Path, program: Path) -> Iterator[Server]:
    url = f"http://{HOST}:{free_port()}"
    command: list[str | Path] = [*_finds_its_templates(program), program]
    command += [f"--config.file={folder / 'alertmanager.yml'}"]
    command += [f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address={_address(url)}"]
    command += ["--cluster.listen-address="]
    with running("alertmanager", command, folder, url=url, ready=lambda: _answers(f"{url}/-/ready")) as server:
        yield server


def _finds_its_templates(program: Path) -> list[str]:
    """Debian's Alertmanager has its templates in /usr/share: one that is only unpacked sees its own folder there."""
    unpacked = program.parent.parent / "share"
    if unpacked == Path("/usr/share") or not unpacked.is_relative_to(TOOLS.parent):
        return []
    own = ["unshare", "--map-root-user", "--mount"] if os.geteuid() else ["unshare", "--mount"]
    return [*own, "sh", "-c", f"mount --bind '{unpacked}' /usr/share && exec \"$@\"", "sh"]


@contextmanager
def _prometheus(folder: Path, program: Path) -> Iterator[Server]:
    url = f"http://{HOST}:{free_port()}"
    command: list[str | Path] = [program, f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'prometheus'}", f"--web.listen-address={_address(url)}"]
    command += ["--rules.alert.resend-delay=2s"]
    with running("prometheus", command, folder, url=url, ready=lambda: _answers(f"{url}/-/ready")) as server:
        yield server


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def tell(text: str) -> None:
    """A line for whoever watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
