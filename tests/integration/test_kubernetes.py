"""The manifests: valid for several versions of Kubernetes, no process with more than it needs, compose's own probes."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from alerts import NO_TOOLS, rules, tool

from config.networks import PRESETS
from config.networks_file import networks_in
from config.ops_settings import OpsSettings
from config.settings import ApiSettings, Settings, WorkerSettings, problems
from devstack.servers import ROOT
from worker.liveness import READY, probe

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.35", "1.36", "1.37")
OF_OPERATORS = {"monitoring.coreos.com/v1": {"PodMonitor", "PrometheusRule"}, "keda.sh/v1alpha1": {"ScaledObject"}}
"""Kinds whose schemas are not in Kubernetes itself: their operators bring them."""
PATCH = FOLDER / "examples" / "jwks.yaml"
"""A part of a manifest, which is nothing by itself."""
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OVERLAYS = ("small", "large")

with_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which renders overlays, is not there"
)

NODES = {"ETHEREUM_RPC_URLS", "TRON_RPC_URLS"}

Manifest = dict[str, Any]


def manifests(text: str) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(text) if each]


def written() -> Iterator[tuple[str, Manifest]]:
    """Every manifest as it is in a file, but for kustomize's own."""
    for path in sorted(FOLDER.rglob("*.yaml")):
        if path.name not in {"kustomization.yaml", PATCH.name}:
            for each in manifests(path.read_text()):
                yield f"{path.relative_to(FOLDER)} {each['kind']} {each['metadata']['name']}", each


WRITTEN = dict(written())
PODS = {
    each["metadata"]["name"]: each["spec"]["template"]["spec"]
    for each in WRITTEN.values()
    if each["kind"] in {"Deployment", "Job"}
}


def is_valid(manifest: Manifest, version: str) -> None:
    if manifest["kind"] not in OF_OPERATORS.get(manifest["apiVersion"], ()):
        kubernetes_validate.validate(manifest, version, strict=True)


def rendered(folder: Path) -> list[Manifest]:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return manifests(done.stdout)


def container(name: str) -> dict[str, Any]:
    (made,) = PODS[name]["containers"]
    found: dict[str, Any] = made
    return found


def environment(name: str) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container(name)["env"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", WRITTEN)
def test_each_manifest_is_valid(name: str, version: str) -> None:
    is_valid(WRITTEN[name], version)


def test_what_is_misspelt_is_noticed() -> None:
    (worker,) = (
        each for each in WRITTEN.values() if each["kind"] == "Deployment" and each["metadata"]["name"] == "beat"
    )
    text = yaml.safe_dump(worker).replace("livenessProbe", "livenesProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        is_valid(yaml.safe_load(text), VERSIONS[-1])


@with_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_valid_as_it_is_applied_and_names_what_is_there(overlay: str) -> None:
    made = rendered(FOLDER / "overlays" / overlay)
    for each in made:
        for version in VERSIONS:
            is_valid(each, version)
    names = {(each["kind"], each["metadata"]["name"]) for each in made}
    for each in made:
        if each["kind"] in {"Deployment", "Job"}:
            pod = each["spec"]["template"]["spec"]
            assert ("ServiceAccount", pod["serviceAccountName"]) in names
            for volume in pod["volumes"]:
                assert "secret" not in volume or ("Secret", volume["secret"]["secretName"]) in names
                assert "configMap" not in volume or ("ConfigMap", volume["configMap"]["name"]) in names
            assert pod["containers"][0]["image"] == "registry.example/balance-sync:0.1.0"


@with_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_migration_can_be_applied_by_itself(overlay: str) -> None:
    label = ("balance-sync/step", "migration")
    made = [
        each for each in rendered(FOLDER / "overlays" / overlay) if label in each["metadata"].get("labels", {}).items()
    ]
    (job,) = (each for each in made if each["kind"] == "Job")
    pod = job["spec"]["template"]["spec"]
    needed = {("Job", "migrate"), ("ServiceAccount", pod["serviceAccountName"])}
    needed |= {("Secret", each["secret"]["secretName"]) for each in pod["volumes"] if "secret" in each}
    needed |= {("ConfigMap", each["configMap"]["name"]) for each in pod["volumes"] if "configMap" in each}
    needed |= {("NetworkPolicy", "nothing-else"), ("NetworkPolicy", "data")}
    assert {(each["kind"], each["metadata"]["name"]) for each in made} == needed


@with_kubectl
def test_the_large_overlay_has_several_of_all_but_beat_and_ops_and_has_the_alerts() -> None:
    made = rendered(FOLDER / "overlays" / "large")
    replicas = {each["metadata"]["name"]: each["spec"]["replicas"] for each in made if each["kind"] == "Deployment"}
    assert {name for name, count in replicas.items() if count == 1} == {"beat", "ops"}
    assert {"PodMonitor", "PrometheusRule"} <= {each["kind"] for each in made}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_more_than_it_needs(name: str) -> None:
    pod, made = PODS[name], container(name)
    assert pod["automountServiceAccountToken"] is False
    wanted = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001}
    assert pod["securityContext"] == {**wanted, "seccompProfile": {"type": "RuntimeDefault"}}
    assert made["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(made["resources"]) == {"requests", "limits"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)


def mebibytes(amount: str) -> int:
    assert amount.endswith("Mi")
    return int(amount.removesuffix("Mi"))


@pytest.mark.parametrize("name", ["worker", "worker-refresh"])
def test_a_worker_has_memory_for_its_pool_and_itself(name: str) -> None:
    made = container(name)
    processes = int(made["command"][made["command"].index("--concurrency") + 1])
    (each,) = re.findall(r"^worker_max_memory_per_child = (\w+)", (ROOT / "celeryconfig.py").read_text(), re.MULTILINE)
    # The main process takes no more than one of its pool.
    assert mebibytes(made["resources"]["limits"]["memory"]) >= (processes + 1) * int(each) / 1024
    assert f"{mebibytes(made['resources']['limits']['memory'])}m" == COMPOSE[name]["mem_limit"]


OVERDUE = 'balance_sync_overdue_since_timestamp_seconds{network="tron"}'
SYNCED = 'balance_sync_network_synced{network="tron"}'
UP = "balance_sync_database_up"


@pytest.mark.skipif(tool("promtool") is None, reason=NO_TOOLS)
@pytest.mark.parametrize(
    ("series", "value"),
    [
        ({OVERDUE: "1200x60", SYNCED: "1x60", UP: "1x60"}, 600),
        ({OVERDUE: "0x60", SYNCED: "0x60", UP: "1x60"}, 0),
        ({SYNCED: "1x60", UP: "1x60"}, 0),
        ({SYNCED: "1x60", UP: "0x60"}, None),
        ({}, None),
    ],
)
def test_workers_are_scaled_by_what_they_can_read_and_not_by_what_nobody_knows(
    series: dict[str, str], value: float | None, tmp_path: Path
) -> None:
    (trigger,) = WRITTEN["examples/worker-scaling.yaml ScaledObject worker"]["spec"]["triggers"]
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    wanted = [] if value is None else [{"labels": "{}", "value": value}]
    looks = [{"expr": trigger["metadata"]["query"], "eval_time": "30m", "exp_samples": wanted}]
    held = [{"series": name, "values": values} for name, values in series.items()]
    case = {"interval": "1m", "input_series": held, "promql_expr_test": looks}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"rule_files": [], "tests": [case]}))
    command = [str(tool("promtool")), "test", "rules", str(tmp_path / "tests.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_what_compose_runs(name: str) -> None:
    ours = COMPOSE[name]
    assert container(name)["command"] == ours["command"]
    of_secrets = {key: value for key, value in ours["environment"].items() if value.startswith("/run/secrets/")}
    wanted = {key: value for key, value in of_secrets.items() if key != "NETWORKS_FILE"}
    assert {key: value for key, value in environment(name).items() if value.startswith("/run/secrets/")} == wanted
    assert environment(name).get("LIFE_SIGN_DIR") == ours["environment"].get("LIFE_SIGN_DIR")
    if "stop_grace_period" in ours:
        assert f"{PODS[name]['terminationGracePeriodSeconds']}s" == ours["stop_grace_period"]


@pytest.mark.parametrize("name", ["worker", "worker-refresh", "beat"])
def test_a_probe_is_the_command_that_compose_has(name: str) -> None:
    kind, command = COMPOSE[name]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    sign = environment(name)["LIFE_SIGN_DIR"]
    assert command.replace("$$", "$") == probe("beat" if name == "beat" else "worker", sign)
    for each in ("startupProbe", "livenessProbe"):
        assert container(name)[each]["exec"]["command"] == ["/bin/sh", "-c", command.replace("$$", "$")]
    ready = container(name).get("readinessProbe")
    assert (ready is None) is (name == "beat")
    assert ready is None or ready["exec"]["command"][-1] == probe(READY, sign)


def test_what_listens_is_asked_over_http() -> None:
    paths = {
        name: [container(name)[each]["httpGet"]["path"] for each in ("livenessProbe", "readinessProbe")]
        for name in ("api", "ops")
    }
    assert paths == {"api": ["/healthz", "/readyz"], "ops": ["/healthz", "/healthz"]}
    sleep = int(container("api")["lifecycle"]["preStop"]["exec"]["command"][1])
    timeout = int(container("api")["command"][container("api")["command"].index("--workers-kill-timeout") + 1])
    assert sleep + timeout < PODS["api"]["terminationGracePeriodSeconds"]


def test_there_is_one_beat_also_while_another_one_comes() -> None:
    (beat,) = (each for each in WRITTEN.values() if each["kind"] == "Deployment" and each["metadata"]["name"] == "beat")
    assert (beat["spec"]["replicas"], beat["spec"]["strategy"]) == (1, {"type": "Recreate"})


def test_nobody_reaches_a_process_unless_it_is_said() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in WRITTEN.values() if each["kind"] == "NetworkPolicy"}
    assert policies["nothing-else"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policies["nothing-else"]
    labels = policies["nothing-else"]["podSelector"]["matchLabels"]
    for each in WRITTEN.values():
        if each["kind"] in {"Deployment", "Job"}:
            assert labels.items() <= each["spec"]["template"]["metadata"]["labels"].items()
    reached = {name for name, policy in policies.items() if "ingress" in policy}
    assert reached == {"api", "ops"}


def test_every_secret_that_a_process_takes_is_in_the_example_and_no_other_ones() -> None:
    made = yaml.safe_load((FOLDER / "example-secrets" / "kustomization.yaml").read_text())["secretGenerator"]
    given = {each["name"]: set(each["files"]) for each in made if "files" in each}
    for name, pod in PODS.items():
        (secret,) = (each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each)
        taken = {Path(value).name for value in environment(name).values() if value.startswith("/run/secrets/")}
        assert taken == given[secret], name
    for file in set().union(*given.values()):
        assert (FOLDER / "example-secrets" / file).exists()


def test_processes_take_the_variables_of_further_networks_where_they_do_with_compose() -> None:
    made = yaml.safe_load((FOLDER / "example-secrets" / "kustomization.yaml").read_text())["secretGenerator"]
    assert {each["name"]: each["envs"] for each in made if "envs" in each} == {"networks-env": ["networks.env"]}
    assert (FOLDER / "example-secrets" / "networks.env").exists()
    for name in PODS:
        wanted = [{"secretRef": {"name": "networks-env"}}] if "env_file" in COMPOSE[name] else None
        assert container(name).get("envFrom") == wanted, name


@with_kubectl
def test_a_line_for_a_further_network_reaches_workers_beat_and_ops(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    with (tmp_path / "kubernetes" / "example-secrets" / "networks.env").open("a") as lines:
        lines.write("BSC_RPC_URLS=https://node.example/key\nTRON_RPS=5\n")
    made = rendered(tmp_path / "kubernetes" / "overlays" / "small")
    (secret,) = (each for each in made if each["metadata"]["name"].startswith("networks-env-"))
    assert (secret["kind"], set(secret["data"])) == ("Secret", {"BSC_RPC_URLS", "TRON_RPS"})
    takers = {
        each["metadata"]["name"]
        for each in made
        if each["kind"] == "Deployment"
        for taken in each["spec"]["template"]["spec"]["containers"][0].get("envFrom", [])
        if taken == {"secretRef": {"name": secret["metadata"]["name"]}}
    }
    assert takers == {"worker", "worker-refresh", "beat", "ops"}


@with_kubectl
def test_the_patch_for_a_providers_tokens_leaves_one_source_of_keys(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes" / "overlays" / "small"
    shutil.copy(PATCH, overlay)
    with (overlay / "kustomization.yaml").open("a") as lines:
        lines.write("patches:\n  - path: jwks.yaml\n")
    (api,) = (each for each in rendered(overlay) if each["kind"] == "Deployment" and each["metadata"]["name"] == "api")
    for version in VERSIONS:
        is_valid(api, version)
    given = {each["name"]: each["value"] for each in api["spec"]["template"]["spec"]["containers"][0]["env"]}
    override = (ROOT / "compose" / "jwks.override.yml").read_text()
    assert "JWT_SECRET_FILE" not in given
    for name, value in given.items():
        if name.startswith("JWT_"):
            assert f"{name}: {value}\n" in override
    assert {"DATABASE_URL_FILE", "REDIS_URL_FILE", "JWT_JWKS_URL", "JWT_AUDIENCE"} <= set(given)


@pytest.mark.parametrize(("name", "kind"), [("worker", WorkerSettings), ("api", ApiSettings), ("ops", OpsSettings)])
def test_what_has_to_be_written_stops_the_start_with_a_sentence(
    name: str, kind: type[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in environment(name):
        monkeypatch.delenv(variable.removesuffix("_FILE"), raising=False)
    for variable, value in environment(name).items():
        if value.startswith("/run/secrets/"):
            monkeypatch.setenv(variable, str(FOLDER / "example-secrets" / Path(value).name))
    said = "\n".join(problems(kind))
    wanted = {"worker": NODES, "api": set(), "ops": NODES}[name] | {"DATABASE_URL", "REDIS_URL"}
    assert {setting for setting in wanted if setting not in said} == set()
    assert "put-" not in said, "a value is never shown"


@pytest.mark.parametrize(("setting", "kind"), [("JWT_SECRET", ApiSettings), ("OPS_TOKEN", OpsSettings)])
def test_so_does_what_lets_people_in_where_all_else_was_written(
    setting: str, kind: type[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:password@host/name")
    monkeypatch.setenv("REDIS_URL", "redis://host:6379/0")
    monkeypatch.setenv(f"{setting}_FILE", str(FOLDER / "example-secrets" / setting.lower()))
    (said,) = problems(kind)
    assert setting in said
    assert "put-" not in said


def test_the_table_of_networks_that_is_given_changes_none() -> None:
    assert networks_in((FOLDER / "base" / "networks.toml").read_text()) == PRESETS


def test_the_operators_rule_is_made_of_the_rules() -> None:
    folder = FOLDER / "monitoring"
    done = subprocess.run(["sh", folder / "prometheus-rule.sh"], capture_output=True, text=True, check=True)
    assert (folder / "prometheus-rule.yaml").read_text() == done.stdout
    (group,) = yaml.safe_load(done.stdout)["spec"]["groups"]
    assert group["rules"] == rules()


def test_the_pods_that_are_scraped_have_the_port_that_is_named() -> None:
    monitor = WRITTEN["monitoring/pod-monitor.yaml PodMonitor balance-sync"]["spec"]
    (selected,) = monitor["selector"]["matchExpressions"]
    assert selected["values"] == ["balance-sync-api", "balance-sync-ops"]
    for name in ("api", "ops"):
        assert [port["name"] for port in container(name)["ports"]] == [monitor["podMetricsEndpoints"][0]["port"]]


@with_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_label_that_kube_prometheus_stack_looks_for_is_a_comment_away(overlay: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    path = tmp_path / "kubernetes" / "overlays" / overlay / "kustomization.yaml"
    commented = r"^( *)# (patches:$|- target:|    kind: Pod|  patch: '|- \.\./\.\./monitoring)"
    path.write_text(re.sub(commented, r"\1\2", path.read_text(), flags=re.MULTILINE))
    labelled = {
        each["kind"]
        for each in rendered(path.parent)
        if each["metadata"].get("labels", {}).get("release") == "kube-prometheus-stack"
    }
    assert labelled == {"PodMonitor", "PrometheusRule"}


def test_no_overlay_takes_the_examples() -> None:
    for path in FOLDER.rglob("kustomization.yaml"):
        assert not re.search(r"^[^#]*examples/", path.read_text(), re.MULTILINE)
