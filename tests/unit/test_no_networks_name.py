"""Code knows families of networks, and never a network's name: a network is an entry of data.

The names are those of the presets. Two of them are other words as well: "tron" is a family's name, and "base" is an
English word; of these what can only be the network is looked for.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from config.addresses import Family
from config.networks import PRESETS

ROOT = Path(__file__).parents[2]
FAMILIES = frozenset(get_args(Family))
WORDS = frozenset({"base"})
UNMISTAKABLE = sorted(set(PRESETS) - FAMILIES - WORDS)

# The presets themselves, and migrations, which are history: they say what was so when they were written.
EXEMPT = ("config/networks.py", "db/migrations/")


def sources() -> list[Path]:
    found = [ROOT / "celeryconfig.py"]
    for folder in ("api", "config", "db", "worker"):
        found += [each for each in (ROOT / folder).rglob("*") if each.suffix in {".py", ".yul", ".sql", ".acl", ".ini"}]
    return [each for each in found if not each.relative_to(ROOT).as_posix().startswith(EXEMPT)]


def spelt(name: str) -> re.Pattern[str]:
    """A network's name, also with its parts joined otherwise, and as the beginning of a variable's name."""
    return re.compile(rf"(?<![a-z0-9]){name.replace('-', '[-_ ]?')}(?![a-z0-9])", re.IGNORECASE)


def only_a_networks(name: str) -> re.Pattern[str]:
    """What can only be a network: its variables, its queue, its choice on the command line."""
    variables = f"{name.upper()}_(?:RPC|USDT|CHAIN|FINALITY|RPS|MAX|API)"
    return re.compile(rf"\b{variables}|\bsync\.{name}\b|--network[ =]{name}\b")


def found_in(text: str) -> set[str]:
    """The networks that a text of any kind names."""
    found = {name for name in UNMISTAKABLE if spelt(name).search(text)}
    return found | {name for name in (FAMILIES | WORDS) & set(PRESETS) if only_a_networks(name).search(text)}


def constants(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Each text in the code that is the name of a network, with what it stands in."""
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            if isinstance(child, ast.Constant) and child.value in PRESETS:
                yield str(child.value), parent


def is_a_family(parent: ast.AST) -> bool:
    """Whether a text stands where a family is meant: compared with one, given as one, or beside the other families."""
    match parent:
        case ast.Compare():
            sides = [parent.left, *parent.comparators]
            return any(getattr(side, "attr", getattr(side, "id", "")) == "family" for side in sides)
        case ast.keyword(arg="family"):
            return True
        case ast.Dict(keys=keys, values=values):
            return any(_all_families(each) for each in (keys, values))
        case ast.Tuple(elts=elements):
            return _all_families(elements)
    return False


def _all_families(nodes: list[ast.expr] | list[ast.expr | None]) -> bool:
    return bool(nodes) and all(isinstance(node, ast.Constant) and node.value in FAMILIES for node in nodes)


def without_examples(text: str) -> str:
    """Code whose examples for people to read, which name networks as a reply does, are empty."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.keyword(arg="examples", value=value) | ast.AnnAssign(target=ast.Name("EXAMPLE"), value=value) if (
                value
            ):
                pass
            case ast.Assign(targets=[ast.Name("EXAMPLE")], value=value):
                pass
            case _:
                continue
        first, last = value.lineno - 1, (value.end_lineno or value.lineno) - 1
        before, after = lines[first][: value.col_offset], lines[last][value.end_col_offset :]
        lines[first : last + 1] = [f"{before}[]{after}", *[""] * (last - first)]
    return "".join(lines)


def named_by(path: Path) -> set[str]:
    """The networks that a file names, in code, texts and comments."""
    text = path.read_text()
    if path.suffix != ".py":
        return found_in(text)
    text = without_examples(text)
    return found_in(text) | {name for name, parent in constants(ast.parse(text)) if not is_a_family(parent)}


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_names_a_network(path: Path) -> None:
    assert named_by(path) == set()


@pytest.mark.parametrize(
    "code",
    [
        'if network == "ethereum": pass',
        "# as on Arbitrum",
        "urls = settings.ethereum_rpc_urls",
        '"""BSC\'s tokens have 18 decimals."""',
        "bsc_testnet = 1",
        'NETWORKS = ("tron", "evm2")',
        'if network == "tron": pass',
        'queue = "sync.tron"',
        '"set TRON_RPC_URLS"',
        'decimals = {"tron": 6, "other": 18}',
        'if name == "base": pass',
        '"BASE_RPC_URLS"',
        'Meta(description="As ethereum has it.", examples=["tron"])',
        'EXAMPLE = {"network": "tron"}; network = "tron"',
    ],
)
def test_a_networks_name_is_found_however_it_is_written(tmp_path: Path, code: str) -> None:
    path = tmp_path / "code.py"
    path.write_text(code)
    assert named_by(path)


@pytest.mark.parametrize(
    "code",
    [
        'if chain.network.family == "tron": pass',
        'Network(family="tron")',
        'KINDS = {"evm": 1, "tron": 2}',
        'Family = Literal["evm", "tron"]',
        "from worker.nodes.tron import TronNode  # java-tron's HTTP",
        '"""An amount in base units, of a Tron network."""',
        "import base58",
        "celoxis = kaiaks = 1",
        'Meta(description="Its network.", examples=["tron", "ethereum"])',
        'EXAMPLE: Final = {\n    "network": "ethereum",\n}',
    ],
)
def test_a_familys_name_and_other_words_are_none(tmp_path: Path, code: str) -> None:
    path = tmp_path / "code.py"
    path.write_text(code)
    assert named_by(path) == set()
