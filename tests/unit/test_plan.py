"""``celery -A worker plan``: what so many wallets come to, without a node and without a database."""

import json
import os
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result
from environment import forget_settings
from hypothesis import given
from hypothesis import strategies as st

from worker.admin.plan import advice
from worker.admin.plan_command import plan
from worker.admin.provider_plans import PLANS
from worker.schedule.cadence import Policy
from worker.schedule.sizing import DAY, reads_a_day, sizing

POLICY = Policy(60, 900)


def run(*arguments: str, **env: str) -> Result:
    with patch.dict(os.environ, env, clear=True):
        forget_settings()
        done = CliRunner().invoke(plan, arguments, catch_exceptions=False)
    forget_settings()
    return done


def told(*arguments: str, **env: str) -> Any:
    done = run(*arguments, "--json", **env)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_quiet_wallet_is_read_at_the_idle_interval_less_what_chance_takes_on_average() -> None:
    assert reads_a_day(POLICY, 0) == pytest.approx(DAY / (900 * (1 - 0.35 / 2)))


def test_a_wallet_that_is_always_touched_is_read_at_the_active_interval() -> None:
    assert reads_a_day(POLICY, 1440) == pytest.approx(DAY / (60 * (1 - 0.2 / 2)), rel=0.01)


@given(few=st.integers(0, 200), more=st.integers(1, 200))
def test_the_more_a_wallet_is_touched_the_more_it_is_read(few: int, more: int) -> None:
    assert reads_a_day(POLICY, few) <= reads_a_day(POLICY, few + more) * 1.001


@given(wallets=st.integers(1, 10**7), size=st.integers(1, 2447), touches=st.integers(0, 20))
def test_requests_cover_every_read_and_are_no_more_than_one_for_each(wallets: int, size: int, touches: int) -> None:
    made = sizing(wallets, size, POLICY, touches=touches, ahead=15, budget=10)
    assert made.a_second * size * 1.000001 >= made.reads_a_second >= made.a_second
    assert made.processes >= 1
    assert made.first_pass_seconds == -(-wallets // size) / 10


def test_fifty_thousand_tron_wallets_fit_into_a_free_key_and_five_hundred_thousand_do_not() -> None:
    (network,) = told("--wallets", "50000", "--network", "tron")["networks"]
    assert network["requests_per_day"] == pytest.approx(50_000 * reads_a_day(POLICY, 2) / 500)
    assert {each["name"]: each["enough"] for each in network["plans"]} == {
        "TronGrid without a key": None,  # what it allows in a day is not known
        "TronGrid, a free key": True,
    }
    (network,) = told("--wallets", "tron=500000")["networks"]
    assert [each["enough"] for each in network["plans"]] == [False, False], "too many a second, too many a day"


def test_each_strategy_is_told_with_what_a_request_covers() -> None:
    (network,) = told("--wallets", "ethereum=10000000")["networks"]
    sizes = {name: each["wallets_per_request"] for name, each in network["strategies"].items()}
    assert sizes == {"revert": 2447, "return": 764, "multicall3": 500, "single": 20}
    days = [each["requests_per_day"] for each in network["strategies"].values()]
    assert days == sorted(days)
    assert days[0] == network["requests_per_day"]
    assert days[-1] >= 2 * network["reads_per_hour"] * 24


def test_networks_are_those_with_a_node_and_every_known_one_where_none_has() -> None:
    assert [each["network"] for each in told("--wallets", "10", BSC_RPC_URLS="https://node")["networks"]] == ["bsc"]
    every = told("--wallets", "10")
    assert every["wallets"] == 10 * len(every["networks"]) > 20
    named = told("--wallets", "10", "--network", "tron", "--network", "bsc", BSC_RPC_URLS="https://node")
    assert [each["network"] for each in named["networks"]] == ["tron", "bsc"]
    several = told("--wallets", "tron=5", "--wallets", "bsc=7")
    assert {each["network"]: each["wallets"] for each in several["networks"]} == {"tron": 5, "bsc": 7}


def test_intervals_budgets_and_quotas_are_those_of_the_settings() -> None:
    env = {"TRON_RPC_URLS": "https://a,https://b", "TRON_RPS": "2", "TRON_DAILY_QUOTA": "1000"}
    (network,) = told("--wallets", "100000", **env)["networks"]
    assert (network["budget"], network["daily_quota"]) == (4, 1000)
    assert network["share_of_quota"] == pytest.approx(network["requests_per_day"] / 1000)
    assert network["first_pass_seconds"] == 50
    (slower,) = told("--wallets", "100000", SYNC_INTERVAL_IDLE="9000", **env)["networks"]
    assert slower["requests_per_day"] < network["requests_per_day"] / 3


@pytest.mark.parametrize(
    ("wallets", "env", "way", "reason", "a_day"),
    [
        ("tron=1500", {}, "every_block", "few_wallets", 86_400),
        ("tron=100000", {}, "feed", "many_wallets_free_plan", 72_889),
        ("tron=100000", {"TRON_DAILY_QUOTA": "150000"}, "feed", "many_wallets", 87_289),
        ("tron=100000", {"TRON_DAILY_QUOTA": "100000"}, "feed", "many_wallets_merged", 72_889),
        ("tron=100000", {"TRON_DAILY_QUOTA": "82000"}, "feed", "many_wallets_merged", 68_089),
        ("tron=100000", {"TRON_DAILY_QUOTA": "50000"}, "cadence", "quota", 26_280),
        ("tron=100000", {"FEED": "off"}, "cadence", "off", 26_280),
        ("ethereum=100000", {}, "feed", "many_wallets", 27_357),
        ("arbitrum=100000", {}, "cadence", "budget", 5757),
        ("tron=100000", {"SYNC_INTERVAL_SWEEP": "1000"}, "feed", "many_wallets", 105_600),
    ],
)
def test_the_way_by_which_a_network_will_be_kept_fresh_is_told_with_what_it_takes(
    wallets: str, env: dict[str, str], way: str, reason: str, a_day: float
) -> None:
    (network,) = told("--wallets", wallets, **env)["networks"]
    policy = network["policy"]
    assert (policy["way"], policy["reason"], round(policy["requests_per_day"])) == (way, reason, a_day)
    quota = env.get("TRON_DAILY_QUOTA")
    assert policy["share_of_quota"] == (pytest.approx(policy["requests_per_day"] / int(quota)) if quota else None)


def test_the_feed_is_told_in_a_sentence_where_it_is_on() -> None:
    done = run("--wallets", "tron=100000", TRON_DAILY_QUOTA="100000")
    assert "  policy     Blocks are followed: wallets that they touch are read, every 6 s, and all" in done.stdout
    assert "             72,889 requests a day at the most, 72.9% of the quota\n" in done.stdout
    assert "  policy" not in run("--wallets", "tron=100000", FEED="off").stdout


def test_what_to_set_is_told_in_sentences() -> None:
    done = run("--wallets", "tron=2000000", TRON_RPS="2", TRON_DAILY_QUOTA="100000")
    assert done.exit_code == 0
    assert done.stdout.startswith("tron: 2,000,000 wallets\n")
    assert "  → TRON_RPS: 13 a second in all are needed, 2 are set. Raise it, or add an endpoint.\n" in done.stdout
    assert "TRON_DAILY_QUOTA is too small" in done.stdout
    assert "The first pass takes 33 min 20 s at the least: TRON_RPS bounds it." in done.stdout
    assert "Give Postgres the settings" in done.stdout
    (few,) = told("--wallets", "tron=100", TRON_DAILY_QUOTA="100000")["networks"]
    assert list(advice(few)) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--wallets", "many"], "'many' is not a number above 0"),
        (["--wallets", "0"], "'0' is not a number above 0"),
        (["--wallets", "tron=-5"], "'tron=-5' is not a number above 0"),
        (["--wallets", "9999999999999"], "is not a number above 0"),
        (["--wallets", "5", "--wallets", "6"], "say one number for each network"),
        (["--wallets", "5", "--wallets", "tron=6"], "say one number for each network"),
        (["--wallets", "doge=5"], "'doge' is not one of 'ethereum', 'tron'"),
        (["--wallets", "5", "--network", "doge"], "'doge' is not one of"),
        (["--wallets", "tron=5", "--network", "bsc"], "say how many bsc has"),
        (["--wallets", "=5"], "'=5' is not a number above 0"),
        (["--wallets", "tron=5", "--wallets", "tron=6"], "'tron' is given twice"),
        (["--wallets", "tron=5", "--wallets", "bsc=6", "--network", "tron"], "--network leaves out bsc"),
        ([], "Missing option '--wallets'"),
    ],
)
def test_options_that_do_not_do_end_with_2_and_a_sentence(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.split())


def test_settings_that_do_not_do_end_with_1_and_show_no_value() -> None:
    done = run("--wallets", "5", TRON_RPC_URLS="node/hunter2")
    assert done.exit_code == 1
    assert "TRON_RPC_URLS: must be a URL" in done.output
    assert "hunter2" not in done.output


def test_every_figure_of_a_provider_has_its_source() -> None:
    assert all(each.source for each in PLANS)
