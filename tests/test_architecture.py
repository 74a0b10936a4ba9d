"""The rooms of docs/architecture.md: arrows point one way, and nothing hides in functions."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "shardpickle"
MAP = Path(__file__).parents[1] / "docs" / "architecture.md"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))


def room(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


COMPILED = sorted(path for path in PACKAGE.rglob("*.pyx"))
ROOMS = {room(path) for path in (*FILES, *COMPILED) if path.stem not in ("__init__", "__main__")}


def imports(path):
    """Rooms that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shardpickle"):
            inner = node.module.partition(".")[2]
            for alias in node.names:
                name = f"{inner}.{alias.name}".lstrip(".")
                found.add(name if name in ROOMS else inner)
        elif isinstance(node, ast.Import):
            assert not [alias for alias in node.names if alias.name.startswith("shardpickle")]
    return {each for each in found if each}


def rooms_of_the_map():
    """{room: rooms that it may import}, from the table in docs/architecture.md."""
    rows = re.findall(r"^\| `([\w.]+)` \|[^|]*\|([^|]*)\|", MAP.read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`([\w.]+)`", cell)) for name, cell in rows}


def test_the_map_names_every_room():
    assert set(rooms_of_the_map()) == ROOMS


@pytest.mark.parametrize("path", FILES, ids=room)
def test_a_room_imports_what_the_map_allows(path):
    if path.stem in ("__init__", "__main__"):
        return
    assert imports(path) == rooms_of_the_map()[room(path)]


def test_arrows_point_one_way():
    arrows = rooms_of_the_map()
    while arrows:
        leaves = {name for name, targets in arrows.items() if not targets & set(arrows)}
        assert leaves, f"a circle among {sorted(arrows)}"
        arrows = {name: targets for name, targets in arrows.items() if name not in leaves}


# Who may know what (docs/architecture.md says why).
ONLY = {
    "pickle": {"pickling", "unpicklable", "errors", "demo", "rebuilding", "thawing", "converting"},
    "zstandard": {"codecs.frames", "converting"},
    "sklearn": {"families", "migrate", "demo", "natives", "makers", "grammar"},
    "concurrent": {"workers"},
    "argparse": {"cli"},
    "tqdm": {"progress"},
}


@pytest.mark.parametrize("module", ONLY)
def test_only_some_rooms_know(module):
    knowing = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.partition(".")[0] == module for name in names):
                knowing.add(room(path))
    assert knowing == ONLY[module]


def test_only_storage_opens_files():
    opening = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("open", "FileIO")
            ):
                opening.add(room(path))
    assert opening == {"storage"}


def test_no_import_hides_in_a_function():
    optional = {"resource", "pandas", "fsspec", "lz4.frame", "skops.io", "matplotlib.pyplot"}
    optional |= {"aiohttp"}
    for path in FILES:
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    assert {alias.name for alias in node.names} <= optional, room(path)


def test_every_module_opens_with_its_law():
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text())), room(path)
