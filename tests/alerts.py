"""The alerts of deploy/prometheus, the tools that look at them, and small changes of them that their tests notice."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from devstack.servers import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
TOOLS = ROOT / ".devstack" / "tools" / "usr" / "bin"
"""Where deploy/prometheus/tools.sh puts the programs."""
NO_TOOLS = "promtool is not installed: `sh deploy/prometheus/tools.sh` fetches it where there is Debian's apt-get"

Rule = dict[str, Any]


def rules() -> list[Rule]:
    """The alerts, in their order."""
    (group,) = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    made: list[Rule] = group["rules"]
    return made


def cases() -> list[dict[str, Any]]:
    """The cases of tests.yml."""
    made: list[dict[str, Any]] = yaml.safe_load((FOLDER / "tests.yml").read_text())["tests"]
    return made


def tool(name: str) -> str | None:
    """Where a program of Prometheus is; None: nowhere."""
    return shutil.which(name, path=f"{TOOLS}{os.pathsep}{os.environ.get('PATH', '')}")


def alert_of(case: dict[str, Any]) -> str:
    """The alert that a case is of; "" for one of all together."""
    name: str = case["name"]
    return name.partition(":")[0] if re.match(r"[A-Z]\w+:", name) else ""


Labels = dict[str, str]
MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')


def kept_quiet(firing: list[Labels]) -> list[Labels]:
    """Those of several alerts at once of which Alertmanager tells nobody, as it takes inhibit_rules."""
    held: list[dict[str, list[str]]] = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())["inhibit_rules"]
    return [
        target
        for target in firing
        if any(
            _match(target, rule["target_matchers"])
            and _match(source, rule["source_matchers"])
            and all(source.get(name, "") == target.get(name, "") for name in rule.get("equal", []))
            for rule in held
            for source in firing
            if source is not target
        )
    ]


def _match(labels: Labels, matchers: list[str]) -> bool:
    found = [MATCHER.fullmatch(each) for each in matchers]
    return all(each and _matches(labels.get(each[1], ""), each[2], each[3]) for each in found)


def _matches(value: str, by: str, wanted: str) -> bool:
    if by == "=~":
        return re.fullmatch(wanted, value) is not None
    return (value == wanted) is (by == "=")


OPPOSITE = {">": "<=", "<": ">=", ">=": "<", "<=": ">", "==": "!=", "and": "unless", "unless": "and"}


def changes_of(rule: Rule) -> Iterator[Rule]:
    """A rule with one thing changed at a time: a comparison or a condition turned round, a number, a name left out."""
    expression: str = rule["expr"]
    for found in re.finditer(r"(?<= )(>=|<=|==|>|<|and|unless)(?= )", expression):
        yield {**rule, "expr": _replaced(expression, found, OPPOSITE[found[0]])}
    for found in re.finditer(r"(?<![\w.\"\[/])\d+(\.\d+)?(?![\w.\"])", expression):
        for other in {float(found[0]) * 2 or 1, float(found[0]) / 2 or 1}:
            yield {**rule, "expr": _replaced(expression, found, f"{other:g}")}
    for found in re.finditer(r"(?<==~\")\w+(\|\w+)+(?=\")", expression):
        codes = found[0].split("|")
        for code in codes:
            yield {**rule, "expr": _replaced(expression, found, "|".join(each for each in codes if each != code))}
    for seconds in (0, 2 * _seconds(rule["for"])):
        yield {**rule, "for": f"{seconds}s"}
    if "keep_firing_for" in rule:
        yield {name: value for name, value in rule.items() if name != "keep_firing_for"}


def _replaced(text: str, found: re.Match[str], by: str) -> str:
    return text[: found.start()] + by + text[found.end() :]


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


def renamed(case: dict[str, Any], alert: str, names: list[str]) -> dict[str, Any]:
    """A case of an alert as one of several others at once: each is looked at as the alert was."""
    looks = case["promql_expr_test"]
    each = [
        {**look, "expr": look["expr"].replace(f'alertname="{alert}"', f'alertname="{name}"')}
        for name in names
        for look in looks
    ]
    return {**case, "promql_expr_test": each}


def programs() -> Iterator[Path]:
    """Those that `make alerts` needs. Raises SystemExit with what to do where one is missing."""
    for name in ("prometheus", "prometheus-alertmanager"):
        found = tool(name)
        if not found:
            raise SystemExit(f"{name} is not installed: `sh deploy/prometheus/tools.sh` fetches it")
        yield Path(found)
