"""A model's facts as one HTML page. Pure: facts in, text out; no script, nothing is fetched.

Whatever a model says of itself is escaped; the page forbids itself scripts and connections
(Content-Security-Policy), so that a name in a hostile model stays a name.

The treemap is squarified: Bruls, Huizing, van Wijk, "Squarified treemaps", 2000.
"""

import html as _html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


def html(info: Any) -> str:
    """The page of a `ModelInfo`."""
    cells, rows = _treemap(info)
    parts = {
        "title": _text(f"{info.model.rpartition('.')[2]} in {info.path}"),
        "model": _text(info.model),
        "path": _text(info.path),
        "stored": text(info.stored_bytes),
        "raw": text(info.raw_bytes),
        "ratio": f"{info.ratio:.1f}",
        "share": f"{min(100.0, 100 * info.stored_bytes / max(1, info.raw_bytes)):.3f}",
        "digest": _text(info.digest),
        "cells": "\n".join(cells),
        "rows": "\n".join(rows),
        "trees": "\n".join(_trees(info.trees)),
        "outline": _text("\n".join(_outline(info.tree, ""))),
        "facts": "\n".join(_facts(info)),
        "names": "\n".join(_names(info.names)),
        "verdict": _verdict(info.names),
    }
    page = _TEMPLATE.read_text(encoding="utf-8")
    pieces = page.split("{{")
    return pieces[0] + "".join(
        parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:])
    )


def _text(value: Any) -> str:
    letters = (each if each.isprintable() or each == "\n" else "\ufffd" for each in str(value))
    plain = "".join(letters)
    return _html.escape(plain)


# The treemap, and the table that says the same ---------------------------------------------------


def _treemap(info: Any) -> tuple[list[str], list[str]]:
    kinds = [kind for kind in info.kinds if kind.stored]
    total = sum(kind.stored for kind in kinds) or 1
    cells: list[str] = []
    rows: list[str] = []
    outer = squarified([kind.stored for kind in kinds], Box(0, 0, _WIDE, _HIGH)) if kinds else []
    for kind, box in zip(kinds, outer, strict=True):
        shown = [each for each in kind.columns if each.stored >= _SMALLEST * total]
        rest = [each for each in kind.columns if 0 < each.stored < _SMALLEST * total]
        items = [(each.label, each.raw, each.stored) for each in shown]
        if rest:
            label = f"{len(rest)} small columns"
            items.append((label, sum(each.raw for each in rest), sum(each.stored for each in rest)))
        cells.append(f'<div class="kind" style="{_style(box)}"></div>')
        inner = squarified([stored for _, _, stored in items], box) if items else []
        for (label, raw, stored), one in zip(items, inner, strict=True):
            number = len(rows)
            if number >= _MOST_ROWS:
                break
            says = f"{label} of {kind.name}: {text(stored)}, {stored / total:.1%} of the files"
            ratio = stored / max(1, raw)
            step = next(name for limit, name in _STEPS if ratio <= limit)
            named = f"<b>{_text(label)}</b><span>{text(stored)}</span>" if _fits(one) else ""
            cells.append(
                f'<a class="cell {step}" href="#c{number}" id="m{number}" style="{_style(one)}" '
                f'title="{_text(says)}" aria-label="{_text(says)}">{named}</a>'
            )
            rows.append(
                f'<tr id="c{number}"><th scope="row"><a href="#m{number}">{_text(label)}</a></th>'
                f"<td>{_text(kind.name)}</td><td class=n>{text(raw)}</td>"
                f"<td class=n>{text(stored)}</td><td class=n>{stored / total:.1%}</td>"
                f'<td><i class="key {step}"></i>{ratio:.0%}</td></tr>'
            )
    return cells, rows


def _style(box: Box) -> str:
    return (
        f"left:{box.x:.3f}%;top:{box.y / _HIGH:.3%};"
        f"width:{box.width:.3f}%;height:{box.height / _HIGH:.3%}"
    )


def _fits(box: Box) -> bool:
    return box.width > 5 and box.height > 4


# Trees --------------------------------------------------------------------------------------------


def _trees(trees: Any) -> Iterator[str]:
    if not trees.count:
        yield "<p>No trees.</p>"
        return
    yield from _bars("Depth", trees.depths, "levels")
    if not trees.depths:
        yield "<p>Trees of histogram boosting are stored without their depth.</p>"
    yield from _bars("Leaves", trees.leaves, "leaves")


def _bars(name: str, bins: Sequence[tuple[int, int, int]], unit: str) -> Iterator[str]:
    if not bins:
        return
    most = max(count for _, _, count in bins)
    yield f"<figure><figcaption>{name} <small>trees of so many {unit}</small></figcaption>"
    yield '<ol class="bars" tabindex="0">'
    for low, high, count in bins:
        label = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        says = f"{label} {unit}: {count:,} trees"
        yield (
            f'<li title="{says}"><span class="bar" style="height:{100 * count / most:.2f}%">'
            f'</span><span class="said">{says}</span></li>'
        )
    yield f'</ol><p class="ends"><span>{bins[0][0]:,}</span><span>most: {most:,} trees</span>'
    yield f"<span>{bins[-1][1]:,}</span></p></figure>"


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


def _facts(info: Any) -> Iterator[str]:
    facts = {
        "files": f"{info.shards:,} shards, {info.parts:,} parts",
        "profile": info.profile,
        "written by": f"shardpickle {info.writer}, format {info.format_version}",
        **info.environment,
        **{f"metadata: {key}": value for key, value in info.metadata.items()},
    }
    for name, value in facts.items():
        yield f"<tr><th scope=row>{_text(name)}</th><td>{_text(value)}</td></tr>"


def _names(names: dict[str, str]) -> Iterator[str]:
    order = sorted(names.items(), key=lambda item: (item[1] != "untrusted", item[0]))
    for name, verdict in order:
        yield (
            f'<tr><th scope=row class="name">{_text(name)}</th>'
            f'<td class="{_text(verdict)}">{_text(verdict)}</td></tr>'
        )


def _verdict(names: dict[str, str]) -> str:
    count = sum(verdict == "untrusted" for verdict in names.values())
    if not count:
        return "<code>load</code> asks nothing: all names are vetted or vouched for."
    many = "1 name is" if count == 1 else f"{count} names are"
    return f"<strong>{many} not trusted</strong>: <code>load</code> refuses the model without them."
