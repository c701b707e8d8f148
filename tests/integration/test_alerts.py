"""The alerts: each fires when it should and not just below, ends by itself, and leads to what is to be done."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from alerts import FOLDER, NO_TOOLS, Labels, Rule, alert_of, cases, changes_of, kept_quiet, renamed, rules, tool
from promql import metrics_of, unknown_in

from devstack.servers import ROOT
from ops.metrics import SETTINGS
from worker.errors import ReadFailed

RULES = rules()
NAMES = [rule["alert"] for rule in RULES]
BY_NAME = dict(zip(NAMES, RULES, strict=True))
ERROR = re.compile(r"\w*error=~?\"([^\"]+)\"")

with_promtool = pytest.mark.skipif(tool("promtool") is None, reason=NO_TOOLS)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(tool("promtool")), *map(str, arguments)], capture_output=True, text=True, check=False)


def printed(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def seconds(duration: str) -> int:
    return int(duration[:-1]) * {"m": 60, "h": 3600}[duration[-1]]


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_an_alert_asks_for_nothing_that_is_not_served(rule: Rule) -> None:
    assert metrics_of(rule["expr"])
    assert unknown_in(rule["expr"]) == []
    assert set(re.findall(r"setting_seconds\{name=\"(\w+)\"\}", rule["expr"])) <= set(SETTINGS)


@pytest.mark.parametrize("expression", ["balance_sync_nothing", 'up{network="tron"}', "sum by (wallet) (up)"])
def test_what_is_not_served_is_noticed(expression: str) -> None:
    assert unknown_in(expression)


def kinds_of_failure(kind: type[ReadFailed] = ReadFailed) -> set[type[ReadFailed]]:
    return {kind}.union(*map(kinds_of_failure, kind.__subclasses__()))


def test_errors_that_waiting_does_not_mend_are_those_that_an_alert_is_for() -> None:
    told = {
        code
        for name in ("NodeMisconfigured", "KeyRefused")
        for found in ERROR.findall(BY_NAME[name]["expr"])
        for code in found.split("|")
    }
    # A clock that is off is of no node, and none rests for it.
    assert told == {kind.code for kind in kinds_of_failure() if kind.for_a_person} - {"clock_skewed"}


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_an_alert_says_whom_it_calls_what_is_the_matter_and_where_to_read_on(rule: Rule) -> None:
    said = rule["annotations"]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert "{" not in said["summary"]
    assert all(said[name].endswith(".") for name in ("summary", "description"))
    assert said["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
    assert seconds(rule["for"]) >= 60, "two scrapes at the least"


def test_each_alert_has_a_heading_in_the_manual_and_each_heading_an_alert() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.split("\n## Alerts\n")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", section, re.MULTILINE) == NAMES
    for told in re.split(r"^### \w+$", section, flags=re.MULTILINE)[1:]:
        assert re.findall(r"^\*\*([\w ]+)\.\*\*", told, re.MULTILINE) == ["Means", "Look", "Do", "Ends"]


@pytest.mark.parametrize("alert", NAMES)
def test_each_alert_is_held_by_cases_in_which_it_fires_does_not_and_ends(alert: str) -> None:
    looked = [
        [bool(look["exp_samples"]) for look in case["promql_expr_test"]] for case in cases() if alert_of(case) == alert
    ]
    assert any(found[0] is False and True in found and found[-1] is False for found in looked)
    assert all(
        f'alertname="{alert}"' in look["expr"]
        for case in cases()
        if alert_of(case) == alert
        for look in case["promql_expr_test"]
    )


@with_promtool
def test_prometheus_takes_the_rules_and_they_do_what_their_cases_say() -> None:
    checked = promtool("check", "rules", FOLDER / "rules.yml")
    assert checked.returncode == 0, printed(checked)
    tested = promtool("test", "rules", FOLDER / "tests.yml")
    assert tested.returncode == 0, printed(tested)


@with_promtool
@pytest.mark.parametrize("alert", NAMES)
def test_the_cases_notice_each_change_of_an_alert(alert: str, tmp_path: Path) -> None:
    changed = {f"{alert}{number}": rule for number, rule in enumerate(changes_of(BY_NAME[alert]))}
    group = {"name": "changed", "rules": [{**rule, "alert": name} for name, rule in changed.items()]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}))
    held = [renamed(case, alert, list(changed)) for case in cases() if alert_of(case) == alert]
    made = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": held}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(made))
    said = printed(promtool("test", "rules", tmp_path / "tests.yml"))
    noticed = set(re.findall(r"alertname=\\\"(\w+)\\\"", said))
    assert len(changed) > 1
    assert {name: (rule["expr"], rule["for"]) for name, rule in changed.items() if name not in noticed} == {}


def test_a_prometheus_without_containers_has_the_same_but_for_where_the_processes_are() -> None:
    """The file of a host, and that of compose."""
    host, compose = (yaml.safe_load((FOLDER / name).read_text()) for name in ("prometheus.host.yml", "prometheus.yml"))
    names = [[job["job_name"] for job in made["scrape_configs"]] for made in (host, compose)]
    assert names[0] == names[1]
    targets = [each for job in host["scrape_configs"] for found in job["static_configs"] for each in found["targets"]]
    assert targets == ["127.0.0.1:8001", "127.0.0.1:8000"]
    assert {name: host[name] for name in ("global", "rule_files")} == {
        name: compose[name] for name in ("global", "rule_files")
    }


@with_promtool
@pytest.mark.parametrize("name", ["prometheus.host.yml", "prometheus.yml"])
def test_prometheus_takes_its_settings(name: str) -> None:
    checked = promtool("check", "config", FOLDER / name)
    assert checked.returncode == 0, printed(checked)


def labels(alert: str, **others: str) -> Labels:
    return {"alertname": alert, **others}


NO_TICKS = labels("WorkersMissing", queue="ticks")
NO_REFRESH = labels("WorkersMissing", queue="refresh")
NO_FEED = labels("WorkersMissing", queue="feed")
FEED_BEHIND = labels("FeedBehind", network="tron")
NO_BSC = labels("WorkersMissing", queue="sync.bsc", network="bsc")
STALLED = labels("NetworkStalled", network="tron")
SLOW = labels("RefreshSlow")


@pytest.mark.parametrize(
    ("cause", "quiet", "told"),
    [
        (NO_TICKS, [STALLED, labels("BeatSilent")], [SLOW, NO_BSC]),
        (NO_FEED, [FEED_BEHIND], [STALLED, SLOW, labels("FeedMissed", network="tron"), labels("BeatSilent")]),
        (labels("BeatSilent"), [STALLED, FEED_BEHIND], [SLOW, NO_FEED, labels("FeedMissed", network="tron")]),
        (NO_REFRESH, [SLOW], [STALLED, labels("BeatSilent"), labels("BalancesNotFresh", network="tron")]),
        (NO_BSC, [labels("BalancesStale", network="bsc")], [STALLED, SLOW, labels("BeatSilent")]),
        (labels("RedisAway"), [NO_TICKS, NO_BSC, STALLED, SLOW], [labels("NetworkOut", network="tron")]),
    ],
)
def test_a_queue_without_workers_keeps_quiet_what_follows_from_it_alone(
    cause: Labels, quiet: list[Labels], told: list[Labels]
) -> None:
    assert [each for each in quiet if not kept_quiet([cause, each])] == []
    assert [each for each in told if kept_quiet([cause, each])] == []


def test_one_node_of_several_keeps_quiet_nothing_but_its_own_failures_and_that_fewer_are_fresh() -> None:
    node = {"network": "tron", "endpoint": "node:1"}
    critical = [labels(rule["alert"], network="tron") for rule in RULES if rule["labels"]["severity"] == "critical"]
    for cause in (labels("NodeMisconfigured", **node), labels("QuotaGone", **node)):
        assert BY_NAME[cause["alertname"]]["labels"]["severity"] == "warning", "another one may answer"
        assert [each for each in critical if kept_quiet([cause, each])] == []
        assert kept_quiet([cause, labels("NodeLeftAlone", **node)])
        assert not kept_quiet([cause, labels("NodeLeftAlone", network="tron", endpoint="node:2")])
        assert kept_quiet([cause, labels("BalancesNotFresh", network="tron")])
        assert not kept_quiet([cause, labels("BalancesNotFresh", network="bsc")])


def firing(alert: str) -> dict[str, Any]:
    """A case in which nothing is expected of an alert that fires."""
    case, look = next(
        (case, look)
        for case in cases()
        if alert_of(case) == alert
        for look in case["promql_expr_test"]
        if look["exp_samples"]
    )
    expects = {"eval_time": look["eval_time"], "alertname": alert, "exp_alerts": []}
    return {"interval": "1m", "input_series": case["input_series"], "alert_rule_test": [expects]}


@with_promtool
def test_what_an_alert_says_has_its_values(tmp_path: Path) -> None:
    """promtool prints what it did not expect: an alert that fires, as it would be sent."""
    made = {"rule_files": [str(FOLDER / "rules.yml")], "evaluation_interval": "1m", "tests": [*map(firing, NAMES)]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(made))
    said = printed(promtool("test", "rules", tmp_path / "tests.yml"))
    descriptions = re.findall(r'description="((?:[^"\\]|\\.)*)"', said)
    assert len(descriptions) >= len(NAMES)
    assert [each for each in descriptions if re.search(r"no value|error |[{}]|\\n|  ", each)] == []
