"""The rooms of docs/architecture.md: arrows point one way, and nothing hides in functions.

python tests/test_architecture.py       # prints the counts
"""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "shardpickle"
MAP = Path(__file__).parents[1] / "docs" / "architecture.md"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}
ROOMS = {path.relative_to(PACKAGE).parts[0] for path in FILES if path.parent != PACKAGE}


def module(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def room(path):
    return path.relative_to(PACKAGE).parts[0]


MODULES = {module(path) for path in (*FILES, *PACKAGE.rglob("*.pyx"))}


def imports(path):
    """Modules of ours that a module imports; names of a room's front count as the room."""
    found = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shardpickle"):
            inner = node.module.partition(".")[2]
            for alias in node.names:
                name = f"{inner}.{alias.name}".lstrip(".")
                found.add(name if name in MODULES or name in ROOMS else inner)
        elif isinstance(node, ast.Import):
            assert not [alias for alias in node.names if alias.name.startswith("shardpickle")]
    return {each for each in found if each}


def arrows():
    """{room: rooms that its modules import}."""
    found = {name: set() for name in ROOMS}
    for path in FILES:
        if room(path) in ROOMS:
            found[room(path)] |= {each.partition(".")[0] for each in imports(path)}
    return {name: targets - {name} for name, targets in found.items()}


def rooms_of_the_map():
    """{room: rooms that it may import}, from the table in docs/architecture.md."""
    table = MAP.read_text().partition("## Rooms")[2].partition("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", table, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows}


def files_of_the_map():
    table = MAP.read_text().partition("## What is where")[2].partition("## ")[0]
    return set(re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE))


def test_the_map_names_every_room_and_file():
    assert set(rooms_of_the_map()) == ROOMS
    assert files_of_the_map() == {
        each for each in MODULES if each.rpartition(".")[2] not in ("__init__", "__main__")
    }


@pytest.mark.parametrize("name", sorted(ROOMS))
def test_a_room_imports_what_the_map_allows(name):
    assert arrows()[name] <= rooms_of_the_map()[name] | {"errors", "_version"}


def test_nothing_is_allowed_that_is_not_used():
    found = arrows()
    assert {name: allowed - found[name] for name, allowed in rooms_of_the_map().items()} == {
        name: set() for name in ROOMS
    }


def circles(graph):
    """What is left of a graph once everything is taken that depends on nothing else of it."""
    while graph:
        leaves = {name for name, targets in graph.items() if not targets & set(graph)}
        if not leaves:
            break
        graph = {name: targets for name, targets in graph.items() if name not in leaves}
    return graph


def test_arrows_between_rooms_point_one_way():
    assert circles(rooms_of_the_map()) == {}


def test_arrows_between_modules_point_one_way():
    assert circles({module(path): imports(path) - {module(path)} for path in FILES}) == {}


# Who may know what (docs/architecture.md says why).
ONLY = {
    "pickle": {
        *("pickling.pickler", "pickling.diagnose", "errors", "demo", "io.rebuild"),
        *("lazy.materialize", "io.convert"),
    },
    "zstandard": {"codecs.frames", "io.convert"},
    "sklearn": {
        *(
            "sklearn_support.classes",
            "sklearn_support.foreign_states",
            "sklearn_support.gone_names",
            "sklearn_support.tree_states",
            "sklearn_support.migrations",
            "demo",
            "trust.checks.ensembles",
        ),
        *("trust.constructors", "trust.functions", "trust.grammar", "trust.kinds"),
    },
    "concurrent": {"_util.pool"},
    "argparse": {"cli"},
    "tqdm": {"_util.progress"},
}


@pytest.mark.parametrize("library", ONLY)
def test_only_some_modules_know(library):
    knowing = set()
    for path in FILES:
        for node in ast.walk(TREES[path]):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.partition(".")[0] == library for name in names):
                knowing.add(module(path))
    assert knowing == ONLY[library]


def test_only_storage_opens_files():
    opening = set()
    for path in FILES:
        for node in ast.walk(TREES[path]):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("open", "FileIO")
            ):
                opening.add(room(path))
    assert opening == {"storage"}


def test_no_import_hides_in_a_function():
    optional = {"resource", "pandas", "fsspec", "lz4.frame", "skops.io", "matplotlib.pyplot"}
    optional |= {"aiohttp", "jinja2"}
    for path in FILES:
        for function in ast.walk(TREES[path]):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    assert {alias.name for alias in node.names} <= optional, module(path)


def test_every_module_opens_with_its_law():
    for path in FILES:
        assert ast.get_docstring(TREES[path]), module(path)


def longest(path):
    """(lines, name) of a module's longest function, its docstring not counted."""
    sizes = [(0, "")]
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            said = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
            sizes.append((node.end_lineno - node.lineno + 1 - said, f"{module(path)}.{node.name}"))
    return max(sizes)


# Written by tools, or the loops of the codec.
LONG = {"trust.table", "trust.grammar_table", "codecs._tree_numpy"}


@pytest.mark.parametrize("path", FILES, ids=module)
def test_modules_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= 500 or module(path) in LONG
    assert longest(path)[0] <= 60


if __name__ == "__main__":
    sizes = sorted(
        ((len(path.read_text().splitlines()), module(path)) for path in FILES), reverse=True
    )
    pairs = sum(len(targets & ROOMS) for targets in arrows().values())
    print(f"{len(ROOMS)} rooms, {pairs} pairs of rooms with arrows, {len(FILES)} modules")
    print("largest modules:", *(f"{name} {lines}" for lines, name in sizes[:8]))
    functions = sorted(map(longest, FILES), reverse=True)
    print("longest functions:", *(f"{name} {lines}" for lines, name in functions[:5]))
