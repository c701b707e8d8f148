"""The image and docker-compose.yml, really run: ``make compose-test``, where a Docker daemon is, or root to start one.

It deploys the release before, updates it under load as docs/operations.md says, and then ends each container in turn.
It takes a quarter of an hour, and what it started it removes.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import requests
from compose.daemon import CommandFailedError, NoDaemonError, daemon, said
from compose.deployment import PROJECT, Deployment, base_of, check_out, images_of, wait_for
from compose.load import Wallets, users

from devstack.chain import Chain
from devstack.servers import ROOT, free_port

URL = "http://127.0.0.1:8000"
OPS = "http://127.0.0.1:8001"
FIRST_WALLETS = 300
OUTAGE = 60.0  # seconds for which Redis is away
KILLED = ("worker", "worker-refresh", "beat", "api", "ops", "redis", "postgres")


def tell(what: str) -> None:
    """A line for whoever watches."""
    print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)


def must(true: bool, what: str) -> None:
    """Raises CommandFailedError."""
    if not true:
        raise CommandFailedError(what)


def deploy_the_release_before(deployed: Deployment) -> Wallets:
    """From an empty folder to wallets that are read, as somebody new does it."""
    secrets = deployed.tree / "secrets"
    said(["sh", "compose/secrets.sh"], deployed.docker.env, deployed.tree)
    (secrets / "ethereum_rpc_urls").write_text("http://chain:8545")
    deployed.compose("up", "--detach", "chain")
    chain = Chain(_answering(deployed.chain_port))
    token = chain.deploy_token()
    settings = {"ETHEREUM_CHAIN_ID": 1337, "ETHEREUM_USDT_CONTRACT": f"0x{token.hex()}", "ALLOW_PLAIN_HTTP": True}
    settings |= {"SYNC_INTERVAL_ACTIVE": 5, "SYNC_INTERVAL_IDLE": 10}
    (secrets / "networks.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    began = time.monotonic()
    deployed.compose("up", "--detach")
    deployed.wait_until_well()
    tell(f"up, and every container healthy, after {time.monotonic() - began:.0f} s")
    wallets = Wallets(deployed, chain, token)
    wallets.add(FIRST_WALLETS)
    tell(f"{FIRST_WALLETS} wallets read {wait_for(lambda: not wallets.wrong(), 'wallets', wallets.wrong):.0f} s later")
    return wallets


def _answering(port: int) -> str:
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}, timeout=5).ok
        except requests.RequestException:
            return False

    wait_for(answers, "the chain")
    return url


def update(deployed: Deployment, wallets: Wallets) -> None:
    """To the working tree, as docs/operations.md says ("Upgrade"), while users look and wallets change."""
    with users(wallets, f"{URL}/api/v1/auth/balances/user/{wallets.user}", deployed.token(wallets.user)) as seen:
        began = time.monotonic()
        check_out(None, deployed.tree)
        said(["sh", "compose/secrets.sh"], deployed.docker.env, deployed.tree)
        deployed.tag = "new"
        dump = deployed.compose("exec", "-T", "postgres", "pg_dump", "-U", "postgres", "balances")
        must("CREATE TABLE" in dump, "the backup holds no table")
        deployed.compose("stop", "beat", "worker", "worker-refresh")
        stopped = time.monotonic()
        deployed.compose("up", "--detach", "--wait", "postgres", "redis")
        deployed.compose("restart", "redis")
        deployed.compose("run", "--rm", "migrate")
        deployed.compose("up", "--detach", "--no-deps", "api", "ops", "worker", "worker-refresh", "beat")
        deployed.wait_until_well()
        tell(
            f"updated in {time.monotonic() - began:.0f} s; no worker ran for at most {time.monotonic() - stopped:.0f} s"
        )
        wait_for(lambda: seen.answers[200] > 0, "an answer")
    read = wait_for(lambda: not wallets.wrong(), "every wallet to be read", wallets.wrong)
    tell(f"all {len(wallets.held)} wallets right {read:.0f} s after the load; answers {dict(seen.answers)}")
    tell(f"the longest time without an answer was {seen.silent:.1f} s")
    must(not seen.faults and not seen.impossible, f"users saw {seen.faults}, {seen.impossible[:3]}")


def look_at_everything(deployed: Deployment, wallets: Wallets) -> None:
    """The commands of the docs, each once."""
    must("FAIL" not in (said_by_check := _check(deployed)), said_by_check)
    tell("celery -A worker check --without-endpoint: passes in the worker's container")
    answer = requests.get(
        f"{URL}/api/v1/auth/balances/user/{wallets.user}",
        headers={"Authorization": f"Bearer {deployed.token(wallets.user)}"},
        timeout=30,
    )
    must(answer.ok and len(answer.json()["balances"]) == len(wallets.held), answer.text[:500])
    tell(f"the endpoint shows {len(wallets.held)} wallets to a token that was made in its container")

    def measured() -> bool:
        found = requests.get(f"{OPS}/metrics", timeout=30).text
        return bool(re.search(r'balance_sync_wallets\{.*network="ethereum".*\} [1-9]', found))

    tell(f"/metrics of ops has the wallets after {wait_for(measured, 'metrics'):.0f} s")
    token = (deployed.tree / "secrets" / "ops_token").read_text()
    page = requests.get(f"{OPS}/", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    must(page.ok and "ethereum" in page.text, f"the page: {page.status_code}")
    must(requests.get(f"{OPS}/", timeout=30).status_code == 401, "the page is shown to anybody")
    tell("the operators' page is shown for its token, and to nobody else")
    with_provider = deployed.compose("-f", "compose/jwks.override.yml", "config", "api")
    must("JWT_SECRET_FILE" not in with_provider and "JWT_JWKS_URL" in with_provider, with_provider)
    tell("compose/jwks.override.yml leaves a provider's keys alone as the source of keys")


def _check(deployed: Deployment) -> str:
    return deployed.compose("run", "--rm", "worker", "celery", "-A", "worker", "check", "--without-endpoint")


def end_each_in_turn(deployed: Deployment, wallets: Wallets) -> None:
    """Each container's first process is killed; it comes back by itself, and a payment of that moment is shown."""
    for service in KILLED:
        began, before = time.monotonic(), deployed.starts()[service]
        deployed.docker.kill(deployed.containers()[service]["Id"], deployed.base)
        wallets.pay(next(iter(wallets.held)), 1)
        wait_for(lambda name=service, old=before: deployed.starts()[name] != old, f"{service} to start again")  # type: ignore[misc]
        deployed.wait_until_well()
        wait_for(lambda: not wallets.wrong(), "the payment", wallets.wrong)
        tell(f"{service} killed: everything is well, and the payment shown, after {time.monotonic() - began:.0f} s")


def take_redis_away(deployed: Deployment, wallets: Wallets) -> None:
    """For a minute: nobody is restarted or called unwell, and then it goes on within seconds."""
    before = deployed.starts()
    deployed.compose("stop", "redis")
    time.sleep(OUTAGE)  # how long it is away is what is tried
    unwell = [name for name in deployed.unwell() if name != "redis"]
    must(not unwell, f"Redis was away, and {unwell} were called unwell")
    deployed.compose("start", "redis")
    wallets.pay(next(iter(wallets.held)), 1)
    back = wait_for(lambda: not wallets.wrong(), "the payment", wallets.wrong)
    changed = [name for name, start in deployed.starts().items() if start != before[name] and name != "redis"]
    must(not changed, f"Redis was away, and {changed} were restarted")
    tell(
        f"Redis away for {OUTAGE:.0f} s: all healthy meanwhile, none restarted; a payment was shown {back:.0f} s after"
    )


def migrate_without_database(deployed: Deployment) -> None:
    """A migration that begins while the database is away goes through when it is back."""
    deployed.compose("stop", "postgres")
    deployed.compose("up", "--detach", "--no-deps", "--force-recreate", "migrate")
    wait_for(lambda: deployed.containers()["migrate"]["RestartCount"] > 0, "a second try")
    deployed.compose("start", "postgres")
    deployed.wait_until_well()
    tell(f"a migration without a database was tried again {deployed.containers()['migrate']['RestartCount']} times")


def watch(deployed: Deployment) -> None:
    """The profile `monitoring`: Prometheus finds what it is to look at, and has the alerts."""
    deployed.profiles = ("monitoring",)
    # Debian's Alertmanager is too old for our file, which has the address in a secret; Grafana it has none.
    services = ["prometheus"] if deployed.docker.own else ["prometheus", "alertmanager", "grafana"]
    deployed.compose("up", "--detach", "--no-deps", *services)
    deployed.wait_until_well()

    def found() -> bool:
        reply = requests.get("http://127.0.0.1:9090/api/v1/targets", timeout=30).json()["data"]["activeTargets"]
        return len(reply) == 2 and all(each["health"] == "up" for each in reply)

    tell(f"Prometheus reaches ops and the endpoint after {wait_for(found, 'the targets'):.0f} s")
    groups = requests.get("http://127.0.0.1:9090/api/v1/rules", timeout=30).json()["data"]["groups"]
    tell(f"Prometheus has {sum(len(group['rules']) for group in groups)} rules")


def look_at_the_image(deployed: Deployment) -> None:
    """What it weighs, and what a process in it may do."""
    whole, base = (
        int(deployed.docker("image", "inspect", "--format", "{{.Size}}", each))
        for each in ("balance-sync:new", deployed.base)
    )
    tell(f"the image: {whole / 1e6:.0f} MB, {(whole - base) / 1e6:.0f} MB of them above its base")
    must(whole - base < 300e6, "the image is larger than 300 MB above its base")
    who = deployed.compose("exec", "-T", "worker", "sh", "-c", "id -u; id -g; touch /app/x /venv/x 2>&1 || true; pwd")
    must(who.split()[:2] == ["10001", "10001"] and "Read-only" in who, who)
    status = deployed.compose("exec", "-T", "worker", "cat", "/proc/self/status")
    must("CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status, status)
    compiled = "import config.settings as m, pathlib; print(pathlib.Path(m.__cached__).exists())"
    must(deployed.compose("exec", "-T", "worker", "python", "-c", compiled).strip() == "True", "no bytecode")
    tell("uid and gid 10001, a read-only root, no capability, no new privileges, compiled")


def run(folder: Path, before: str) -> None:
    """All of it, in a deployment of its own. Raises CommandFailedError, NoDaemonError."""
    tree, new = folder / "tree", folder / "new"
    for each in (tree, new):
        shutil.rmtree(each, ignore_errors=True)
    check_out(before, tree)
    check_out(None, new)
    images = images_of(tree)
    for kind, tags in images_of(new).items():
        images[kind] = images.get(kind, set()) | tags
    images.pop("grafana", None)
    anvil = next((ROOT / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil")).resolve()
    with daemon(folder, images) as docker:
        deployed = Deployment(docker, tree, base_of((new / "Dockerfile").read_text()), anvil, free_port())
        tell(f"Building the images of {before} and of the working tree …")
        began = time.monotonic()
        docker.build(tree, _tag_of(tree))
        docker.build(new, "balance-sync:new")
        tell(f"built in {time.monotonic() - began:.0f} s")
        steps: list[Callable[[Deployment, Wallets], None]] = [
            update,
            look_at_everything,
            end_each_in_turn,
            take_redis_away,
        ]
        try:
            wallets = deploy_the_release_before(deployed)
            for step in steps:
                step(deployed, wallets)
            look_at_the_image(deployed)
            migrate_without_database(deployed)
            watch(deployed)
        except CommandFailedError:
            print(deployed.compose("ps", "--all"), deployed.compose("logs", "--tail", "15"), flush=True)
            raise
        finally:
            deployed.end()


def _tag_of(tree: Path) -> str:
    """What the compose file of the release before calls its image."""
    return (
        "balance-sync" if "image: balance-sync\n" in (tree / "docker-compose.yml").read_text() else "balance-sync:local"
    )


def main(arguments: Sequence[str]) -> int:
    """0: all as it should be; 1: it is not; 2: it cannot be tried here."""
    parser = argparse.ArgumentParser(prog="compose_for_real", description=__doc__)
    parser.add_argument("--before", default="HEAD~1", help="the revision to update from (%(default)s)")
    parser.add_argument("--folder", type=Path, default=ROOT / ".devstack" / "compose", help="for what it needs")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        run(given.folder.resolve(), given.before)
    except NoDaemonError as error:
        print(f"Not tried: {error}.", file=sys.stderr)
        return 2
    except (CommandFailedError, subprocess.CalledProcessError) as error:
        print(f"RED: {error}", file=sys.stderr)
        return 1
    tell(f"All of it as it should be, in {time.monotonic() - began:.0f} s. {PROJECT} is removed.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
