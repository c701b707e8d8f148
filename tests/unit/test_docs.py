"""What the README says is so."""

import re
from pathlib import Path

from config.settings import ApiSettings, WorkerSettings
from db.models import balance_cache

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def table(heading: str) -> dict[str, list[str]]:
    """The first column's code of a section's table, with the other cells."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in rows}


def test_the_readme_lists_every_setting_and_no_other() -> None:
    names = {name.upper() for kind in (WorkerSettings, ApiSettings) for name in kind.model_fields}
    assert set(table("Settings")) == names


def test_the_readme_has_each_default_as_it_is() -> None:
    told = {name: cells[0].strip("`") for name, cells in table("Settings").items()}
    for kind in (WorkerSettings, ApiSettings):
        for name, field in kind.model_fields.items():
            if isinstance(field.default, int | float):
                assert told[name.upper()] == f"{field.default:g}" or told[name.upper()] == str(field.default), name
            elif isinstance(field.default, str) and not name.endswith("_contract"):
                assert told[name.upper()] == field.default, name


def test_the_readme_lists_every_column_of_the_shared_table() -> None:
    assert list(table("The shared table")) == [column.name for column in balance_cache.columns]


def test_every_link_and_path_in_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_decision_is_in_their_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("0*.md"))
