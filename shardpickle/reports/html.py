"""A model's facts as one HTML page. Pure: facts in, text out; no script, nothing is fetched.

Whatever a model says of itself is escaped by Jinja; the page forbids itself scripts and connections
(Content-Security-Policy), so that a name in a hostile model stays a name.

The treemap is squarified: Bruls, Huizing, van Wijk, "Squarified treemaps", 2000.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from shardpickle._util.pages import render
from shardpickle._util.sizes import text

_TEMPLATE = Path(__file__).with_name("page.html")
_WIDE, _HIGH = 100.0, 46.0  # of the treemap: per cent of the width, and in the same unit
_SMALLEST = 0.0005  # of the files: smaller columns share a cell
_MOST_ROWS = 400
_STEPS = ((0.1, "a"), (0.25, "b"), (0.5, "c"), (float("inf"), "d"))  # stored / raw, and a class


class Box(NamedTuple):
    """A rectangle, in per cent of the treemap's width."""

    x: float
    y: float
    width: float
    height: float


def squarified(areas: Sequence[float], box: Box) -> list[Box]:
    """Rectangles of these areas, largest first, that fill a box and are as square as can be.

    >>> [box.width for box in squarified([3, 1], Box(0, 0, 4, 1))]
    [3.0, 1.0]
    """
    scale = box.width * box.height / sum(areas)
    left = [area * scale for area in areas]
    found: list[Box] = []
    while left:
        side = min(box.width, box.height)
        count = 1
        while count < len(left) and _worst(left[: count + 1], side) <= _worst(left[:count], side):
            count += 1
        row, left = left[:count], left[count:]
        deep = sum(row) / side if side else 0.0
        at = 0.0
        for area in row:
            long = area / deep if deep else 0.0
            if box.width >= box.height:
                found.append(Box(box.x, box.y + at, deep, long))
            else:
                found.append(Box(box.x + at, box.y, long, deep))
            at += long
        if box.width >= box.height:
            box = Box(box.x + deep, box.y, max(0.0, box.width - deep), box.height)
        else:
            box = Box(box.x, box.y + deep, box.width, max(0.0, box.height - deep))
    return found


def _worst(row: Sequence[float], side: float) -> float:
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
    boxes = squarified([kind.stored for kind in kinds], Box(0, 0, _WIDE, _HIGH)) if kinds else []
    return render(
        _TEMPLATE,
        info=info,
        size=text,
        frames=list(map(_style, boxes)),
        cells=list(islice(_cells(kinds, boxes), _MOST_ROWS)),
        bars=[
            (name, unit, bins, max(count for _, _, count in bins))
            for name, unit, bins in (
                ("Depth", "levels", info.trees.depths),
                ("Leaves", "leaves", info.trees.leaves),
            )
            if bins
        ],
        outline="\n".join(_outline(info.tree, "")),
        facts=_facts(info),
        names=sorted(info.names.items(), key=lambda item: (item[1] != "untrusted", item[0])),
        untrusted=sum(verdict == "untrusted" for verdict in info.names.values()),
    )


# The treemap, and the table that says the same ---------------------------------------------------


def _cells(kinds: Sequence[Any], boxes: Sequence[Box]) -> Iterator[Cell]:
    total = sum(kind.stored for kind in kinds) or 1
    for kind, box in zip(kinds, boxes, strict=True):
        shown = [each for each in kind.columns if each.stored >= _SMALLEST * total]
        rest = [each for each in kind.columns if 0 < each.stored < _SMALLEST * total]
        items = [(each.label, each.raw, each.stored) for each in shown]
        if rest:
            label = f"{len(rest)} small columns"
            items.append((label, sum(each.raw for each in rest), sum(each.stored for each in rest)))
        inner = squarified([stored for _, _, stored in items], box) if items else []
        for (label, raw, stored), one in zip(items, inner, strict=True):
            ratio = stored / max(1, raw)
            step = next(name for limit, name in _STEPS if ratio <= limit)
            yield Cell(label, kind.name, raw, stored, stored / total, step, one)


def _style(box: Box) -> str:
    return (
        f"left:{box.x:.3f}%;top:{box.y / _HIGH:.3%};"
        f"width:{box.width:.3f}%;height:{box.height / _HIGH:.3%}"
    )


# The rest -----------------------------------------------------------------------------------------


def _outline(node: Any, indent: str, left: int = 200) -> Iterator[str]:
    todo = [(node, indent)]
    while todo and left:
        node, indent = todo.pop()
        yield indent + node.label
        left -= 1
        if len(indent) < 80:
            todo.extend((child, indent + "  ") for child in reversed(node.children))
    if todo:
        yield "\u2026"


def _facts(info: Any) -> dict[str, str]:
    facts = {
        "files": f"{info.shards:,} shards, {info.parts:,} parts",
        "profile": info.profile,
        "written by": f"shardpickle {info.writer}, format {info.format_version}",
        **info.environment,
        **{f"metadata: {key}": value for key, value in info.metadata.items()},
    }
    return {name: str(value) for name, value in facts.items()}
