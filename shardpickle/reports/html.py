"""One HTML page about a model. Pure: facts in, text out. The page runs and loads nothing.

Jinja escapes all text from the model. The page's Content-Security-Policy forbids scripts and
connections, so a name in a hostile model stays a name.

The treemap is squarify: Bruls, Huizing, van Wijk, "Squarified treemaps", 2000.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from shardpickle._util.pages import render
from shardpickle._util.sizes import text

_TEMPLATE = Path(__file__).with_name("page.html")
_WIDE, _HIGH = 100.0, 46.0  # of the treemap, both in per cent of its width
_SMALLEST = 0.0005  # share of the files: smaller columns share a cell
_MOST_ROWS = 400
_STEPS = ((0.1, "a"), (0.25, "b"), (0.5, "c"), (float("inf"), "d"))  # stored / raw, and a class


class Box(NamedTuple):
    """A rectangle, in per cent of the treemap's width."""

    x: float
    y: float
    width: float
    height: float


def squarify(areas: Sequence[float], box: Box) -> list[Box]:
    """Fill a box with rectangles of these areas, largest first, as square as possible.

    >>> [box.width for box in squarify([3, 1], Box(0, 0, 4, 1))]
    [3.0, 1.0]
    """
    scale = box.width * box.height / sum(areas)
    remaining = [area * scale for area in areas]
    boxes: list[Box] = []
    while remaining:
        side = min(box.width, box.height)
        count = 1
        while count < len(remaining) and _worst_ratio(remaining[: count + 1], side) <= _worst_ratio(
            remaining[:count], side
        ):
            count += 1
        row, remaining = remaining[:count], remaining[count:]
        thickness = sum(row) / side if side else 0.0
        offset = 0.0
        for area in row:
            length = area / thickness if thickness else 0.0
            if box.width >= box.height:
                boxes.append(Box(box.x, box.y + offset, thickness, length))
            else:
                boxes.append(Box(box.x + offset, box.y, length, thickness))
            offset += length
        if box.width >= box.height:
            box = Box(box.x + thickness, box.y, max(0.0, box.width - thickness), box.height)
        else:
            box = Box(box.x, box.y + thickness, box.width, max(0.0, box.height - thickness))
    return boxes


def _worst_ratio(row: Sequence[float], side: float) -> float:
    total = sum(row)
    if not total or not side:
        return float("inf")
    return max(side * side * max(row) / total**2, total**2 / (side * side * max(min(row), 1e-12)))


@dataclass(frozen=True, slots=True)
class Cell:
    """A column in the treemap and in the table below it."""

    label: str
    kind: str
    raw: int
    stored: int
    share: float  # of all files
    step: str  # the class of its colour
    box: Box

    @property
    def style(self) -> str:
        return _style(self.box)

    @property
    def ratio(self) -> float:
        return self.stored / max(1, self.raw)

    @property
    def is_named(self) -> bool:
        return self.box.width > 5 and self.box.height > 4


def html(info: Any) -> str:
    """The page of a `ModelInfo`."""
    kinds = [kind for kind in info.kinds if kind.stored]
    boxes = squarify([kind.stored for kind in kinds], Box(0, 0, _WIDE, _HIGH)) if kinds else []
    return render(
        _TEMPLATE,
        info=info,
        size=text,
        frames=list(map(_style, boxes)),
        cells=list(islice(_make_cells(kinds, boxes), _MOST_ROWS)),
        bars=[
            (name, unit, bins, max(count for _, _, count in bins))
            for name, unit, bins in (
                ("Depth", "levels", info.trees.depths),
                ("Leaves", "leaves", info.trees.leaves),
            )
            if bins
        ],
        outline="\n".join(_outline(info.tree, "")),
        facts=_list_facts(info),
        names=sorted(info.names.items(), key=lambda item: (item[1] != "untrusted", item[0])),
        untrusted=sum(verdict == "untrusted" for verdict in info.names.values()),
    )


# The treemap, and the table that says the same ---------------------------------------------------


def _make_cells(kinds: Sequence[Any], boxes: Sequence[Box]) -> Iterator[Cell]:
    total = sum(kind.stored for kind in kinds) or 1
    for kind, box in zip(kinds, boxes, strict=True):
        shown = [column for column in kind.columns if column.stored >= _SMALLEST * total]
        small = [column for column in kind.columns if 0 < column.stored < _SMALLEST * total]
        items = [(column.label, column.raw, column.stored) for column in shown]
        if small:
            label = f"{len(small)} small columns"
            items.append(
                (label, sum(column.raw for column in small), sum(column.stored for column in small))
            )
        inner = squarify([stored for _, _, stored in items], box) if items else []
        for (label, raw, stored), cell_box in zip(items, inner, strict=True):
            ratio = stored / max(1, raw)
            step = next(name for limit, name in _STEPS if ratio <= limit)
            yield Cell(label, kind.name, raw, stored, stored / total, step, cell_box)


def _style(box: Box) -> str:
    return (
        f"left:{box.x:.3f}%;top:{box.y / _HIGH:.3%};"
        f"width:{box.width:.3f}%;height:{box.height / _HIGH:.3%}"
    )


# The rest -----------------------------------------------------------------------------------------


def _outline(node: Any, indent: str, lines_left: int = 200) -> Iterator[str]:
    todo = [(node, indent)]
    while todo and lines_left:
        node, indent = todo.pop()
        yield indent + node.label
        lines_left -= 1
        if len(indent) < 80:
            todo.extend((child, indent + "  ") for child in reversed(node.children))
    if todo:
        yield "\u2026"


def _list_facts(info: Any) -> dict[str, str]:
    facts = {
        "files": f"{info.shards:,} shards, {info.parts:,} parts",
        "profile": info.profile,
        "written by": f"shardpickle {info.writer}, format {info.format_version}",
        **info.environment,
        **{f"metadata: {key}": value for key, value in info.metadata.items()},
    }
    return {name: str(value) for name, value in facts.items()}
