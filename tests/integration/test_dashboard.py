"""The dashboard asks for nothing that is not served, and every panel says what it shows. It is not rendered here."""

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml
from promql import SERVED, metrics_of, unknown_in

from devstack.servers import ROOT
from ops.metrics import METRICS, PREFIX

FOLDER = ROOT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboards" / "balance-sync.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
SHOWN = [panel for panel in PANELS if panel["type"] != "row"]
TITLES = [panel["title"] for panel in SHOWN]
UNITS = {"short", "s", "percentunit", "reqps", "ops"}
NOT_SHOWN = {"daily_quota_requests", "max_head_age_seconds", "setting_seconds"}
"""Settings: alerts are for them, and a share of the quota is shown."""


def expressions(panel: dict[str, Any]) -> list[str]:
    """A panel's expressions as Prometheus gets them: with the variables' values in their places."""
    return [
        target["expr"].replace("$__rate_interval", "5m").replace("$network", "tron|ethereum")
        for target in panel["targets"]
    ]


@pytest.mark.parametrize("panel", SHOWN, ids=TITLES)
def test_a_panel_asks_for_what_is_served(panel: dict[str, Any]) -> None:
    for expression in expressions(panel):
        assert metrics_of(expression)
        assert unknown_in(expression) == []
    for target in panel["targets"]:
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= set(
            re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"])))
        ), "a legend names labels that are left"


@pytest.mark.parametrize("panel", SHOWN, ids=TITLES)
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("panel", SHOWN, ids=TITLES)
def test_what_is_counted_is_shown_by_its_rate_over_an_interval_that_fits_the_screen(panel: dict[str, Any]) -> None:
    counted = {f"{PREFIX}{metric.name}" for metric in METRICS if metric.kind == "counter"}
    counted |= {name for name in SERVED if name.endswith(("_bucket", "_count"))}
    for target in panel["targets"]:
        for name in metrics_of(target["expr"].replace("$__rate_interval", "5m").replace("$network", "tron")) & counted:
            assert re.search(rf"(rate\({name}\S*\[\$__rate_interval\]|increase\({name}\S*\[1h\])", target["expr"])


def test_panels_have_places_of_their_own_in_24_columns() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_every_metric_of_ops_is_on_it() -> None:
    shown = {name for panel in SHOWN for expression in expressions(panel) for name in metrics_of(expression)}
    wanted = {metric for metric in METRICS if metric.name not in NOT_SHOWN | {"network_synced"}}
    missing = [
        metric.name for metric in wanted if not {f"{PREFIX}{metric.name}", f"{PREFIX}{metric.name}_bucket"} & shown
    ]
    assert missing == []


def test_its_variables_choose_the_data_source_and_the_networks() -> None:
    source, network = DASHBOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert network["name"] == "network"
    metric, label = re.findall(r"label_values\((\w+), (\w+)\)", network["definition"])[0]
    assert label in SERVED[metric]
    assert DASHBOARD["schemaVersion"] >= 39


def test_grafana_finds_it() -> None:
    (provider,) = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "balance-sync.yml").read_text())["providers"]
    (source,) = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (provider["type"], source["type"]) == ("file", "prometheus")
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["global"][
        "scrape_interval"
    ]
    assert source["jsonData"]["timeInterval"] == scraped
    mounts = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounts
