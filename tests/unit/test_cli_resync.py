"""What a resync comes to, what is sent for it, and what is said of it: without a database and without a queue."""

from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from config.settings import WorkerSettings
from db.resync_queries import Bundle, Scope, Wanted
from worker.admin import cli
from worker.admin.plan_command import plan as plan_command
from worker.admin.resync import Result, Resync, planned, send_for
from worker.admin.resync_command import plan_lines, result_lines

SIZES: Any = {"ethereum": 2447, "tron": 500}
BUDGETS: Any = {"ethereum": 10, "tron": 2}
SETTINGS = WorkerSettings(
    database_url="postgresql://nobody/",
    redis_url="redis://nobody",
    ethereum_rps=10,
    tron_rps=2,
)


def bundles(**wallets: int) -> list[Bundle]:
    return [
        Bundle(network, count, "{" + ",".join(f"{network}-{at}" for at in range(count)) + "}")
        for network, count in wallets.items()
    ]


def cost(wallets: int, size: int, per_second: float) -> Any:
    """What a plan says of one network."""
    wanted = Wanted({"tron": wallets}, {})
    return planned(Scope(), wanted, {"tron": size}, {"tron": per_second}).report["networks"].get("tron")


@pytest.mark.parametrize(
    ("wallets", "size", "per_second", "expected"),
    [
        (0, 500, 10, None),
        (1, 500, 10, (1, 1, 0.1)),
        (500, 500, 10, (500, 1, 0.1)),
        (501, 500, 10, (501, 2, 0.2)),
        (1_000_000, 2447, 10, (1_000_000, 409, 40.9)),
        (1_000_000, 500, 0, (1_000_000, 2000, None)),
    ],
)
def test_a_networks_cost_is_its_requests_and_the_time_that_its_budget_wants(
    wallets: int, size: int, per_second: int, expected: tuple[Any, ...] | None
) -> None:
    names = ("wallets", "requests", "seconds")
    assert cost(wallets, size, per_second) == (expected and dict(zip(names, expected, strict=True)))


@given(wallets=st.integers(1, 10**7), size=st.integers(1, 3000))
def test_the_requests_hold_every_wallet_and_none_is_empty(wallets: int, size: int) -> None:
    requests = cost(wallets, size, 1)["requests"]
    assert requests * size >= wallets > (requests - 1) * size


def test_a_plan_leaves_networks_without_a_node_out() -> None:
    wanted = Wanted({"tron": 601, "ethereum": 3}, {"tron": 4, "ethereum": 1})
    plan = planned(Scope(), wanted, {"tron": 500}, {"tron": 2})
    assert plan.report["networks"] == {"tron": {"wallets": 601, "requests": 2, "seconds": 1.0}}
    assert (plan.report["wallets"], plan.report["seconds_at_least"]) == (601, 1.0)
    assert plan.report["left_out"] == {"bad_address": 5, "not_synced": {"ethereum": 3}}


def test_networks_are_read_side_by_side() -> None:
    plan = planned(Scope(), Wanted({"tron": 2000, "ethereum": 2000}, {}), SIZES, BUDGETS)
    assert plan.report["seconds_at_least"] == 2.0
    assert planned(Scope(), Wanted({}, {}), SIZES, BUDGETS).report["seconds_at_least"] is None


def due(marked: list[Bundle]) -> Resync:
    """A resync all of whose wallets are due."""
    made = Resync(Scope(), SIZES, {})
    for bundle in marked:
        made.note(bundle, all_named=False)
    return made


class Queue:
    """What was sent. `fails`: it is out of reach."""

    def __init__(self, *, fails: bool = False) -> None:
        self.sent: list[tuple[str, Sequence[Any]]] = []
        self.fails = fails

    def __call__(self, name: str, args: Sequence[Any]) -> bool:
        self.sent.append((name, args))
        return not self.fails


@pytest.mark.parametrize(
    ("marked", "sent"),
    [
        (bundles(tron=2), [("worker.tasks.sync_wallets", ["tron", ["tron-0", "tron-1"]])]),
        (bundles(tron=501), [("worker.tasks.dispatch_due_wallets", [])]),
        (bundles(tron=300) + bundles(tron=201), [("worker.tasks.dispatch_due_wallets", [])]),
        (
            bundles(tron=501, ethereum=1),
            [("worker.tasks.sync_wallets", ["ethereum", ["ethereum-0"]]), ("worker.tasks.dispatch_due_wallets", [])],
        ),
        ([], []),
    ],
    ids=["few", "many", "many in two bundles", "both", "none"],
)
def test_one_requests_worth_goes_first_and_more_as_work_like_any_other(marked: list[Bundle], sent: list[Any]) -> None:
    queue = Queue()
    assert send_for(due(marked), queue) is True
    assert queue.sent == sent


def test_only_those_are_kept_that_are_still_to_be_named() -> None:
    marked = bundles(tron=300) + bundles(ethereum=5) + bundles(tron=201) + bundles(tron=7)
    kept = due(marked)
    assert (kept.due, [bundle.network for bundle in kept.marked]) == ({"tron": 508, "ethereum": 5}, ["ethereum"])
    for bundle in marked:
        kept.note(bundle, all_named=True)
    assert [bundle.wallets for bundle in kept.marked] == [5, 300, 5, 201, 7]


def test_exactly_one_requests_worth_is_few() -> None:
    queue = Queue()
    assert send_for(due(bundles(tron=500)), queue)
    ((name, (network, ids)),) = queue.sent
    assert (name, network, len(ids)) == ("worker.tasks.sync_wallets", "tron", 500)


def test_a_queue_out_of_reach_is_asked_once() -> None:
    queue = Queue(fails=True)
    assert send_for(due(bundles(tron=501, ethereum=1)), queue) is False
    assert len(queue.sent) == 1


def found(hopeless: int = 0, **wallets: int) -> Wanted:
    return Wanted(wallets, {"tron": hopeless})


def test_a_plan_is_told_in_lines() -> None:
    plan = planned(Scope(), found(2, ethereum=5000, tron=5000), SIZES, BUDGETS)
    assert list(plan_lines(plan, SETTINGS)) == [
        "ethereum: 5,000 wallets, 3 requests of up to 2,447, about 1 s at 10 requests a second (ETHEREUM_RPS)",
        "tron: 5,000 wallets, 10 requests of up to 500, at least 5 s at 2 requests a second (TRON_RPS)",
        "Left out: 2 wallets without a valid address. Corrected, it is due by itself.",
    ]
    unbound = planned(Scope(), found(tron=5000, ethereum=1), {"tron": 500}, {"tron": 0})
    assert list(plan_lines(unbound, SETTINGS)) == [
        "tron: 5,000 wallets, 10 requests of up to 500, and no bound on requests a second",
        "Left out: 1 wallet of ethereum, which has no node. Set ETHEREUM_RPC_URLS.",
    ]
    assert list(plan_lines(planned(Scope(), found(), SIZES, BUDGETS), SETTINGS)) == ["No wallet to be read."]


def test_what_became_of_a_resync_is_told_by_error_the_most_frequent_first() -> None:
    result = Result(10, read=3, gone=1, seconds=61)
    assert list(result_lines(result)) == ["Read: 3 of 10 wallets, in 1 min 1 s. Deleted meanwhile: 1."]
    result.failed.update({"bad_address": 1, "throttled": 4, "lagging": 1})
    assert list(result_lines(result))[1:] == [
        "Failed: 6. They keep their balances and are tried again:",
        "  throttled: 4",
        "  bad_address: 1",
        "  lagging: 1",
        "docs/operations.md says what each code means and what to do.",
    ]
    assert result.done == 10


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (
            cli.resync,
            [
                "--wallet ID",
                "--user ID",
                "--network NAME",
                "Wallets of this network: ethereum, tron,",
                "--forget",
                "--older-than AGE",
                "--failed",
                "--all",
                "--dry-run",
                "--wait",
                "--yes",
                "--json",
                "celery -A worker resync --failed --dry-run",
                "Exit codes:",
                "130  Ctrl-C",
                "10,000",
                "without a valid address",
                "all of the given scopes hold",
            ],
        ),
        (
            cli.freshness,
            [
                "--daily-quota N",
                "--json",
                "celery -A worker freshness --daily-quota 100000",
                "--max-overdue SECONDS",
                "3  with --max-overdue",
                "Exit codes:",
                "SYNC_LEASE",
            ],
        ),
        (
            plan_command,
            [
                "--wallets [NAME=]NUMBER",
                "--network NAME",
                "--touches N",
                "--json",
                "celery -A worker plan --wallets 50000",
                "Exit codes:",
                "SYNC_INTERVAL_ACTIVE",
            ],
        ),
    ],
    ids=["resync", "freshness", "plan"],
)
def test_the_help_names_every_option_with_examples_and_exit_codes(command: Any, named: list[str]) -> None:
    shown = CliRunner().invoke(command, ["--help"], terminal_width=100)
    assert shown.exit_code == 0
    text = " ".join(shown.output.split())
    for words in named:
        assert " ".join(words.split()) in text
    assert all(len(line) <= 100 for line in shown.output.splitlines())
