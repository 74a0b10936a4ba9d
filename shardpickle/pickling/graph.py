"""Splits a model's object graph into parts. Knows identity; knows no pickle, array, shard or file.

Each part is pickled once. An object whose identity matters (`write` shows them) belongs to the
first part that reaches it. When a second part reaches it, it becomes a part of its own, and only
the first one is written again. Parts that reach each other are folded into one.

Pickling makes and drops objects (states, argument lists), whose ids other objects get when they
die. So a table keeps every object alive whose id is in it. After each part, objects that only the
table refers to are dropped together with their ids.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

HEAVY_BYTES = 1 << 20  # from here on, content that only pickling made is dropped and made again


class Content(Protocol):
    """What `write` returns: the split needs only its size and the objects that left."""

    @property
    def nbytes(self) -> int: ...
    @property
    def values(self) -> Sequence[Any]: ...


Outside = Callable[[object], int | None]
Write = Callable[[Sequence[object], Outside], Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a split model, ready to be stored.

    Attributes
    ----------
    members : tuple
        The objects that other parts may refer to, by their index here.
    references : tuple of (int, int)
        For the k-th reference of the skeleton: the part, and the index of the object in it.
    nbytes : int
        Raw bytes of the content.
    content : callable
        Returns the result of `write`; writes the part again if that was too large to keep.
    kept : bool
        Whether the content was kept.
    """

    members: tuple[object, ...]
    references: tuple[tuple[int, int], ...]
    nbytes: int
    content: Callable[[], Any]
    kept: bool


def split(
    model: object,
    *,
    is_boundary: Callable[[object], bool],
    write: Write,
    kind: Callable[[object], type] = type,
) -> list[Part]:
    """Split a model into parts, children before parents, the model's own part last.

    Parameters
    ----------
    model : object
        Anything that `write` accepts.
    is_boundary : callable
        True for objects that are always parts (sub-estimators).
    write : callable
        ``write(objects, outside)`` pickles the objects and asks ``outside(obj)`` about every
        object whose identity matters: a reference's number, or None for "write it here".
    kind : callable
        The class of an object, by which parts are ordered.

    Returns
    -------
    list of Part
        Ordered by height above the leaves of the part graph, then by kind, then as pickle meets
        them: like parts are neighbours, and an ensemble that grew keeps its old order.
    """
    graph = _Graph(is_boundary, write)
    root = graph.make_part(model)
    graph.write_pending()
    order = _find_components(root, graph.successors)
    while any(len(component) > 1 for component in order):
        graph.fold(component for component in order if len(component) > 1)
        root = graph.home[id(model)][0]
        order = _find_components(root, graph.successors)
    return _order_parts([component[0] for component in order], graph, kind)


@dataclass(eq=False, slots=True)
class _Node:
    members: list[object]
    owned: dict[int, object] = field(default_factory=dict)
    references: dict[int, object] = field(default_factory=dict)  # id -> member of another part
    numbers: dict[int, int] = field(default_factory=dict)  # id -> number of the reference
    content: Any = None
    nbytes: int = 0
    met: int = 0
    rewritten: bool = False  # all its real boundaries are known: pickling made any other


class _Graph:
    def __init__(self, is_boundary: Callable[[object], bool], write: Write) -> None:
        self.is_boundary = is_boundary
        self.write = write
        self.home: dict[int, tuple[_Node, int]] = {}  # members of parts
        self.owner: dict[int, _Node] = {}  # objects written inside a part
        self.fresh: deque[_Node] = deque()
        self.stale: dict[_Node, None] = {}  # parts that lost an object to a part of its own

    def make_part(self, *members: object) -> _Node:
        node = _Node(list(members))
        for index, member in enumerate(members):
            self.home[id(member)] = (node, index)
        self.fresh.append(node)
        return node

    def write_pending(self) -> None:
        # Stale parts first: an object that left them must not look as if it were still there.
        while self.stale or self.fresh:
            if self.stale:
                node = next(iter(self.stale))
                del self.stale[node]
            else:
                node = self.fresh.popleft()
            self.write_node(node)

    def write_node(self, node: _Node) -> None:
        self.disown(node)
        node.references, node.numbers = {}, {}
        node.content = None
        content = self.write(node.members, lambda obj: self.outside(node, obj))
        node.rewritten = True
        node.nbytes = content.nbytes
        node.content = content
        del content
        self.forget_temporaries(node)
        if _count_loose_bytes(node) >= HEAVY_BYTES:
            node.content = None
            self.forget_temporaries(node)

    def get_content(self, node: _Node) -> Any:
        if node.content is not None:
            return node.content
        return self.write(node.members, lambda obj: self.look_up(node, obj))

    def look_up(self, node: _Node, obj: object) -> int | None:
        # After the split, temporaries are new objects and all decisions are made.
        return node.numbers.get(id(obj)) if id(obj) in self.home else None

    def outside(self, node: _Node, obj: object) -> int | None:
        key = id(obj)
        known = self.home.get(key)
        if known is None:
            if node.rewritten or not self.is_boundary(obj):
                owner = self.owner.setdefault(key, node)
                if owner is node:
                    node.owned[key] = obj
                    return None
                self.stale[owner] = None
            known = (self.make_part(obj), 0)
        if known[0] is node:
            return None
        node.references[key] = obj
        return node.numbers.setdefault(key, len(node.numbers))

    def disown(self, node: _Node) -> None:
        for key in node.owned:
            if self.owner.get(key) is node:
                del self.owner[key]
        node.owned = {}

    def forget_temporaries(self, node: _Node) -> None:
        if not _COUNTS_ARE_EXACT:
            return
        owned = node.owned
        for key in list(owned):  # in the order of the visit: a container before its items
            if sys.getrefcount(owned[key]) <= _ALONE:
                del owned[key]
                del self.owner[key]

    def successors(self, node: _Node) -> list[_Node]:
        return list(dict.fromkeys(self.home[key][0] for key in node.references))

    def fold(self, components: Iterable[list[_Node]]) -> None:
        for component in components:
            component.sort(key=lambda node: node.met)
            for node in component:
                self.disown(node)
                self.stale.pop(node, None)
            folded = self.make_part(*(member for node in component for member in node.members))
            folded.rewritten = True
        self.write_pending()


def _count_loose_bytes(node: _Node) -> int:
    """Count the bytes that only the content of this part keeps in memory."""
    values: Sequence[Any] = node.content.values
    return sum(
        values[index].nbytes
        for index in range(len(values))
        if values[index].owns_memory
        and sys.getrefcount(values[index].source)
        <= _ALONE + (id(values[index].source) in node.owned)
        and _COUNTS_ARE_EXACT
    )


_probe = {0: object()}
_ALONE = sys.getrefcount(_probe[0])  # the count of an object that only one table refers to
_COUNTS_ARE_EXACT = getattr(sys, "_is_gil_enabled", lambda: True)()


def _find_components(root: _Node, successors: Callable[[_Node], list[_Node]]) -> list[list[_Node]]:
    """Find strongly connected components, children first; records when each node was first met.

    Tarjan's algorithm (R. Tarjan, "Depth-first search and linear graph algorithms", 1972), with
    a stack of its own because part graphs can be deeper than Python's.
    """
    components: list[list[_Node]] = []
    lowest: dict[_Node, int] = {}
    open_nodes: dict[_Node, None] = {}
    walk: list[tuple[_Node, list[_Node]]] = []

    def enter(node: _Node) -> None:
        node.met = lowest[node] = len(lowest)
        open_nodes[node] = None
        walk.append((node, successors(node)[::-1]))

    enter(root)
    while walk:
        node, rest = walk[-1]
        if rest:
            child = rest.pop()
            if child not in lowest:
                enter(child)
            elif child in open_nodes:
                lowest[node] = min(lowest[node], child.met)
            continue
        walk.pop()
        if walk:
            parent = walk[-1][0]
            lowest[parent] = min(lowest[parent], lowest[node])
        if lowest[node] == node.met:
            component: list[_Node] = []
            while not component or component[-1] is not node:
                component.append(open_nodes.popitem()[0])
            components.append(component)
    return components


def _order_parts(
    children_first: list[_Node], graph: _Graph, kind: Callable[[object], type]
) -> list[Part]:
    heights: dict[_Node, int] = {}
    for node in children_first:
        heights[node] = 1 + max((heights[child] for child in graph.successors(node)), default=-1)
    by_met = sorted(children_first, key=lambda node: node.met)
    kinds: dict[type, int] = {}
    for node in by_met:
        kinds.setdefault(kind(node.members[0]), len(kinds))
    order = sorted(by_met, key=lambda node: (heights[node], kinds[kind(node.members[0])]))
    numbers = {node: number for number, node in enumerate(order)}

    def place(key: int) -> tuple[int, int]:
        node, index = graph.home[key]
        return numbers[node], index

    return [
        Part(
            members=tuple(node.members),
            references=tuple(place(key) for key in node.numbers),
            nbytes=node.nbytes,
            content=_make_getter(graph, node),
            kept=node.content is not None,
        )
        for node in order
    ]


def _make_getter(graph: _Graph, node: _Node) -> Callable[[], Any]:
    return lambda: graph.get_content(node)
