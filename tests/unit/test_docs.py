"""What README and docs say is so."""

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

from config.base_settings import setting_names
from config.network_settings import NodeSettings, variables
from config.networks import PRESETS
from config.ops_settings import OpsSettings
from config.settings import ApiSettings, WorkerSettings
from db.freshness_queries import NetworkFreshness
from db.models import balance_cache
from db.resync_queries import Scope, Wanted
from db.sources import OF_SOURCE
from worker.admin.freshness import network_report
from worker.admin.node_states import NodeState
from worker.admin.plan import plan
from worker.admin.provider_plans import PLANS
from worker.admin.resync import Result, planned
from worker.errors import ReadFailed

ROOT = Path(__file__).parents[2]
TWO = {name: PRESETS[name] for name in ("ethereum", "tron")}
"""The networks whose variables have lines of their own; all other networks have the same."""
README = (ROOT / "README.md").read_text()


CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
SHARED_TABLE = (ROOT / "docs" / "shared-table.md").read_text()


def table(heading: str, page: str) -> dict[str, list[str]]:
    """The first column's code of a section's table, with the other cells."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in rows}


def test_every_setting_is_documented_and_no_other() -> None:
    names = {name for kind in (WorkerSettings, ApiSettings, OpsSettings) for name in setting_names(kind, TWO)}
    assert set(table("Settings", CONFIGURATION)) == names


def test_each_default_is_documented_as_it_is() -> None:
    told = {name: cells[0].strip("`") for name, cells in table("Settings", CONFIGURATION).items()}
    for kind in (WorkerSettings, ApiSettings, OpsSettings):
        own = {name.upper(): field for name, field in kind.model_fields.items()}
        of_two = {
            name.upper(): NodeSettings.model_fields[field]
            for network in TWO.values()
            for name, field in variables(NodeSettings, network).items()
        }
        for name, field in {**own, **of_two}.items():
            if isinstance(field.default, int | float):
                assert told[name] == f"{field.default:g}" or told[name] == str(field.default), name
            elif isinstance(field.default, str):
                assert told[name] == field.default, name


def test_every_column_of_the_shared_table_is_documented() -> None:
    assert list(table("The shared table", SHARED_TABLE)) == [column.name for column in balance_cache.columns]


def test_the_shared_table_is_read_in_the_docs_as_in_the_example() -> None:
    tree = ast.parse((ROOT / "examples" / "api" / "main.py").read_text())
    (shown,) = (
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "SHOWN"
        and isinstance(node.value, ast.Constant)
    )
    section = SHARED_TABLE.split("\n## The shared table\n")[1].split("\n## ")[0]
    assert str(shown).strip() == section.split("```sql\n")[1].split("```")[0].strip()
    assert OF_SOURCE in str(shown)


def paths(value: Any, path: str = "") -> set[str]:
    """The keys of an object, as they are written in the docs. What hangs on names of errors or networks is one key."""
    if isinstance(value, list):
        return set().union(*(paths(each, f"{path}[]") for each in value)) if value else set()
    if not isinstance(value, dict) or path.endswith((".errors", ".not_synced")):
        return set()
    above = {"networks": "<network>", "networks[].strategies": "<way>"}.get(path)
    names = {name: above or name for name in value}
    found: set[str] = set()
    for name, each in value.items():
        inner = f"{path}.{names[name]}".lstrip(".")
        found |= {inner} | paths(each, inner)
    return found


def documented(command: str) -> set[str]:
    """The keys in a command's table, with those above them."""
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = page.split(f"| key of `{command} --json` |")[1].split("\n\n")[0].splitlines()
    keys = {key for row in rows[2:] for key in re.findall(r"`([^`]+)`", row.split("|")[1])}
    for key in list(keys):
        parts = key.split(".")
        keys |= {".".join(parts[:at]).removesuffix("[]") for at in range(1, len(parts))}
    return keys


def test_every_key_of_freshness_is_documented_and_no_other() -> None:
    state = NodeState("node", None, "", 500, 0.0, "", 0, 0, 0, {1.0: 1})
    report = network_report(NetworkFreshness("tron"), [state], size=500)
    assert paths({"redis": True, "max_overdue": None, "late": None, "networks": [report]}) == documented("freshness")


def test_every_key_of_resync_is_documented_and_no_other() -> None:
    wanted = Wanted({"tron": 1, "ethereum": 1}, {})
    resync = planned(Scope(), wanted, {"tron": 500}, {"tron": 10})
    resync.report |= {"dry_run": False, "forget": False}
    resync.result = Result(1, failed=Counter({"throttled": 1}))
    assert paths(resync.as_json()) == documented("resync")


def test_every_link_and_path_in_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


CODE = {".py", ".yml", ".yaml", ".sh", ".acl", ".toml", ".sql"}
IN_CAPITALS = re.compile(r"\b[A-Z]{3,}(?:_[A-Z]+)+\b")


def test_the_manual_has_no_placeholder_left() -> None:
    """In capitals it names settings, and words of the code: no other ones, such as a number that is to be filled in."""
    known = {name for kind in (WorkerSettings, ApiSettings, OpsSettings) for name in setting_names(kind, PRESETS)}
    known |= {f"{name}_FILE" for name in known}
    folders = [ROOT, *(ROOT / name for name in ("api", "compose", "config", "db", "deploy", "ops", "worker"))]
    for folder in folders:
        for path in folder.rglob("*") if folder != ROOT else folder.glob("*"):
            if path.suffix in CODE:
                known.update(IN_CAPITALS.findall(path.read_text()))
    assert set(IN_CAPITALS.findall((ROOT / "docs" / "operations.md").read_text())) - known == set()


def test_each_line_of_who_can_write_to_what_is_held_by_tests_that_are_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    table = page.split("## Who can write to what\n")[1].split("\n## ")[0]
    lines = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(lines) > 10
    for *_, tests in lines:
        named = re.findall(r"`([\w/]+\.py)`", tests)
        assert named
        assert [name for name in named if not (ROOT / "tests" / name).exists()] == []


def test_every_decision_is_in_their_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("0*.md"))


def test_the_files_and_functions_that_the_architecture_names_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`((?:api|config|db|worker)/[\w/]*)(\.py)?`(?:\s+`(\w+)`)?", text)
    assert len(named) > 40
    for path, ending, function in named:
        file = ROOT / f"{path}{ending}"
        assert file.exists(), file
        if function:
            assert re.search(rf"\b(?:def|class) {function}\b", file.read_text()), f"{path} {function}"


def rows_of(table_heading: str) -> list[list[str]]:
    """The cells of a table in docs/operations.md."""
    page = (ROOT / "docs" / "operations.md").read_text()
    lines = page.split(f"| {table_heading} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def in_code(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


LEVELS = {"warning": "warning", "error": "error", "exception": "error"}


def warnings_of(path: Path) -> set[tuple[str, str]]:
    """The events, with their levels, that a file logs so that somebody should look."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case (
                ast.Call(func=ast.Attribute(ast.Name("log"), level), args=[ast.Constant(str(event)), *_])
                | ast.Call(args=[ast.Attribute(ast.Name("log"), level), ast.Constant(str(event)), *_])
            ) if level in LEVELS:
                found.add((event, LEVELS[level]))
            case ast.Call(func=ast.Attribute(ast.Name("log"), "log"), args=[_, ast.Constant(str(event)), *_]):
                found |= {(event, "warning"), (event, "error")}  # by what happened
    return found


def test_every_event_that_somebody_should_look_at_is_documented_with_its_level() -> None:
    told = {(event, row[1]) for row in rows_of("event | level | what to do") for event in in_code(row[0])}
    files = [path for folder in ("api", "config", "db", "ops", "worker") for path in (ROOT / folder).rglob("*.py")]
    logged = {event for path in files for event in warnings_of(path)}
    assert len(logged) > 35
    assert logged - told == set()


def kinds_of_failure(kind: type[ReadFailed] = ReadFailed) -> set[type[ReadFailed]]:
    return {kind}.union(*map(kinds_of_failure, kind.__subclasses__()))


def test_every_code_of_a_failed_read_is_documented() -> None:
    rows = rows_of("code | what it means | what happens by itself | what to do")
    told = {code for row in rows for code in in_code(row[0])}
    assert {kind.code for kind in kinds_of_failure() - {ReadFailed}} - told == set()


def test_the_failures_that_waiting_does_not_mend_are_named_where_they_are_logged() -> None:
    rows = rows_of("event | level | what to do")
    (row,) = (row for row in rows if row[:2] == ["`read_failed`", "error"])
    # A clock that is off has an event of its own.
    for_a_person = {kind.code for kind in kinds_of_failure() if kind.for_a_person} - {"clock_skewed"}
    assert for_a_person - in_code(row[2]) == set()


def test_every_key_of_plan_is_documented_and_no_other() -> None:
    settings = WorkerSettings(database_url="postgresql://nobody/", redis_url="redis://nobody")
    assert paths(plan(settings, {"tron": 50_000}, touches=2)) == documented("plan")


def test_the_table_of_sizes_is_what_the_plan_comes_to() -> None:
    settings = WorkerSettings(database_url="postgresql://nobody/", redis_url="redis://nobody")
    page = (ROOT / "docs" / "operations.md").read_text().split("\n## Sizing\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| (\d+)%", page, re.MULTILINE)
    assert len(rows) == 6
    for row in rows:
        wallets, reads, tron, evm, share = (int(cell.replace(",", "")) for cell in row)
        of_tron, of_evm = plan(settings, {"tron": wallets, "ethereum": wallets}, touches=2)["networks"]
        assert (reads, tron) == (round(of_tron["reads_per_hour"]), round(of_tron["requests_per_day"]))
        assert (evm, share) == (round(of_evm["requests_per_day"]), round(of_tron["requests_per_day"] / 1000))


def test_the_table_of_plans_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "operations.md").read_text().split("\n## Sizing\n")[1].split("\n## ")[0]
    for each in PLANS:
        day = "not known" if each.a_day is None else f"{each.a_day:,}"
        assert re.search(rf"^\| {re.escape(each.name)} \| {day}( \(.*\))? \| {each.a_second:g} \|$", page, re.MULTILINE)
