"""What dump, inspect and verify report, and how it reads. Pure; opens nothing."""

import textwrap
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shardpickle._util.sizes import text
from shardpickle.errors import inert
from shardpickle.format import manifest as format_
from shardpickle.format.manifest import Manifest, PartEntry
from shardpickle.format.shard import Usage
from shardpickle.reports import html
from shardpickle.reports.words import MOST_LINES, count, ratio

_BAR = 24
_MOST_BINS = 24
_DEEPEST = 40
_MOST_NODES = 2000


@dataclass(frozen=True, slots=True)
class Node:
    """Like parts side by side in the model: how many, their class, and what they hold."""

    count: int
    name: str
    children: tuple["Node", ...]

    @property
    def label(self) -> str:
        return self.name if self.count == 1 else f"{self.count} × {self.name}"


@dataclass(frozen=True, slots=True)
class Size:
    """How large a tree is: its nodes, and its depth where the file says it."""

    nodes: int
    depth: int | None


@dataclass(frozen=True, slots=True)
class Kind:
    """What shards of like parts take.

    Attributes
    ----------
    name : str
        The class of the parts; of several, the one with the most bytes "and others".
    parts : int
        How many there are.
    columns : tuple of Usage
        Raw and stored bytes of each kind of column, largest first.
    """

    name: str
    parts: int
    columns: tuple[Usage, ...]

    @property
    def stored(self) -> int:
        return sum(usage.stored for usage in self.columns)


@dataclass(frozen=True, slots=True)
class Trees:
    """How many trees there are of each depth and size.

    Attributes
    ----------
    count : int
        Trees that are stored.
    depths : tuple of (int, int, int)
        Depths from, to, and how many trees; empty where the trees do not say it.
    leaves : tuple of (int, int, int)
        The same for numbers of leaves.
    """

    count: int
    depths: tuple[tuple[int, int, int], ...]
    leaves: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, sizes: Sequence[Size]) -> "Trees":
        depths = [each.depth for each in sizes if each.depth is not None]
        leaves = [(each.nodes + 1) // 2 for each in sizes]  # every split has two children
        return cls(len(sizes), _histogram(depths), _histogram(leaves))


def _histogram(values: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """Values counted in at most `_MOST_BINS` bins of equal width."""
    if not values:
        return ()
    low, high = min(values), max(values)
    width = -(-(high - low + 1) // _MOST_BINS)
    counts = Counter((value - low) // width for value in values)
    starts = [low + number * width for number in range((high - low) // width + 1)]
    return tuple((at, at + width - 1, counts[number]) for number, at in enumerate(starts))


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model directory holds.

    Attributes
    ----------
    path, digest, writer : str
        The directory; ``"sha256:…"`` of its manifest; the shardpickle version that wrote it.
    profile : str
        What the dump kept: ``"full"`` or ``"inference"``.
    loops : str
        What decodes trees here: ``"Cython"`` or ``"NumPy"`` (installed without a compiler).
    format_version : int
        Of the directory's format.
    model : str
        Full name of the model's class.
    tree : Node
        The model's parts, like ones counted.
    environment : dict
        Versions of Python and of the libraries, at the time of the dump.
    metadata : dict
        What `dump` was given.
    raw_bytes, stored_bytes : int
        The model's own bytes, and those of the directory.
    parts, shards, folded : int
        Numbers of parts and of shard files; parts that hold a cycle of references.
    columns : tuple of Usage
        Raw and stored bytes of each kind of column, largest first.
    kinds : tuple of Kind
        The same for each kind of part, largest first.
    trees : Trees
        Depths and numbers of leaves of the trees.
    largest : tuple of (str, int)
        The largest parts and their raw bytes.
    names : dict of str to str
        Every global that the pickles name, and why `load` trusts it: ``"vetted"`` by shardpickle,
        ``"vouched"`` for by an installed package, or ``"untrusted"``: it has to be given to `load`.
    heap : int
        Bytes of Python objects that the manifest says a load makes, besides raw bytes; 0 where it
        does not say, since they are few.
    needs_trust, needs_unsafe
        As in `DumpReport`: names by shardpickle's own table, the rest as the writer found it, or,
        with `inspect(…, trust=True)`, as it was found now.
    """

    path: str
    digest: str
    writer: str
    profile: str
    loops: str
    format_version: int
    model: str
    tree: Node
    environment: dict[str, str]
    metadata: dict[str, Any]
    raw_bytes: int
    stored_bytes: int
    parts: int
    shards: int
    folded: int
    columns: tuple[Usage, ...]
    kinds: tuple[Kind, ...]
    trees: Trees
    largest: tuple[tuple[str, int], ...]
    names: dict[str, str]
    heap: int
    needs_trust: tuple[str, ...]
    needs_unsafe: str

    @classmethod
    def of(
        cls,
        path: str,
        found: Manifest,
        digest: str,
        manifest_bytes: int,
        blocks: Sequence[tuple[int, Usage]],
        slots: Mapping[tuple[int, int], tuple[int, int]],
        sizes: Sequence[Size],
        loops: str,
        verdicts: Mapping[tuple[str, str], str],
        needs: tuple[tuple[str, ...], str],
    ) -> "ModelInfo":
        """Put together from a manifest and what its shards say of themselves.

        `blocks` gives each shard's columns, `slots`, for each shard and slot, the raw bytes and the
        number of values, `sizes` those of the trees, `verdicts` whether each name is trusted,
        `needs` what a default load refuses.
        """
        sized = [
            0 if number in found.tables else slots[part.shard, part.slot][0]
            for number, part in enumerate(found.parts)
        ]
        bare: set[int] = set()
        for number, part in enumerate(found.parts):
            if not slots[part.shard, part.slot][1] and bare.issuperset(dict(part.references)):
                bare.add(number)
        return cls(
            path=path,
            digest=digest,
            writer=found.writer,
            profile=found.profile,
            loops=loops,
            format_version=format_.VERSION,
            model=found.parts[-1].kind,
            tree=_tree(found.parts, bare),
            environment=found.environment,
            metadata=found.metadata,
            raw_bytes=sum(sized),
            stored_bytes=found.stored + manifest_bytes,
            parts=len(found.parts) - len(found.tables),
            shards=len(found.files),
            folded=sum(part.objects > 1 for part in found.parts) - len(found.tables),
            columns=_merged([usage for _, usage in blocks]),
            kinds=_kinds(found, sized, blocks),
            trees=Trees.of(sizes),
            largest=_largest(found.parts, sized),
            names={".".join(name): verdicts[name] for name in sorted(found.names)},
            heap=found.declared_heap,
            needs_trust=needs[0],
            needs_unsafe=needs[1],
        )

    @property
    def ratio(self) -> float:
        """Raw bytes for each stored byte."""
        return self.raw_bytes / self.stored_bytes

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self) | {"ratio": self.ratio}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join(map(inert, _page(self)))

    def to_html(self) -> str:
        """The same as a page of its own, for a browser; nothing in it is fetched or run."""
        return html.html(self)

    def trust(self) -> str:
        """Each name with its verdict, untrusted ones first; then what a default load does."""
        order = sorted(self.names.items(), key=lambda item: (item[1] != "untrusted", item[0]))
        lines = [f"{verdict:<10}{name}" for name, verdict in order]
        if self.needs_unsafe:
            lines.append(f"a default load refuses {self.needs_unsafe}; unsafe=True loads it")
        elif self.needs_trust:
            lines.append(f"a default load asks for trusted={list(self.needs_trust)!r}")
        else:
            lines.append("a default load loads it")
        return "\n".join(map(inert, lines))


def _page(info: ModelInfo) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in info.environment.items())
    yield info.path
    yield ""
    yield from _drawn(info.tree)
    yield ""
    yield f"class    {info.model}"
    yield (
        f"size     {text(info.raw_bytes)} raw, {text(info.stored_bytes)} stored "
        f"({ratio(info.ratio)})"
    )
    yield f"files    {count(info.shards, 'shard')}, {count(info.parts, 'part')}"
    if info.heap:
        yield f"objects  up to {text(info.heap)} of Python objects besides"
    if info.folded:
        yield f"folded   {info.folded} parts hold objects that refer to each other in a cycle"
    yield from _wrapped("versions", versions)
    yield f"written  by shardpickle {info.writer}, format {info.format_version}"
    if info.profile == format_.INFERENCE:
        yield "profile  inference: no impurities, sample counts, inner values of trees"
    yield f"decoding {info.loops}"
    yield f"digest   {info.digest}"
    for key, value in info.metadata.items():
        yield from _wrapped("metadata", f"{key}: {value}")
    yield ""
    yield f"{'column':<28}{'raw':>10}{'stored':>10}  share of the files"
    total = max(1, sum(usage.stored for usage in info.columns))
    for usage in info.columns[:MOST_LINES]:
        bar = "█" * round(_BAR * usage.stored / total)
        yield (
            f"{_cut(usage.label, 27):<28}{text(usage.raw):>10}{text(usage.stored):>10}"
            f"  {bar:<{_BAR}}{usage.stored / total:>5.0%}"
        )
    yield from _more(len(info.columns))
    yield ""
    yield "largest parts (raw)"
    for name, raw in info.largest:
        yield f"  {text(raw):>9}  {_cut(name, 68)}"
    yield ""
    untrusted = [name for name, verdict in info.names.items() if verdict == "untrusted"]
    yield f"names in the pickles: {len(info.names)}, of which not trusted: {len(untrusted)}"
    for name in untrusted:
        yield f"  {name}"
    if info.needs_unsafe:
        yield f"a default load refuses {info.needs_unsafe}; unsafe=True loads it"
    elif info.needs_trust:
        yield f"load it with trusted={list(info.needs_trust)!r} if you trust their code"


def _wrapped(label: str, content: str) -> Iterator[str]:
    indent = " " * 9
    if len(content) > _MOST_LETTERS:  # a word of megabytes takes textwrap a minute
        more = len(content) - _MOST_LETTERS
        content = f"{content[:_MOST_LETTERS]} … and {more} more letters (--json has all)"
    yield from textwrap.wrap(content, 80, initial_indent=f"{label:<9}", subsequent_indent=indent)


_MOST_LETTERS = 4000


def _more(count: int) -> Iterator[str]:
    if count > MOST_LINES:
        yield f"  … and {count - MOST_LINES} more (--json lists all)"


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _drawn(node: Node) -> Iterator[str]:
    lines = list(_branch(node, ""))
    yield from lines[:MOST_LINES]
    yield from _more(len(lines))


def _branch(node: Node, indent: str) -> Iterator[str]:
    line = node.label
    while len(node.children) == 1:
        node = node.children[0]
        line += f" › {node.label}"
    yield indent + line
    for child in node.children:
        yield from _branch(child, indent + "  ")


def _tree(parts: Sequence[PartEntry], bare: Collection[int]) -> Node:
    nodes: list[Node] = []
    known: dict[tuple[Any, ...], Node] = {}  # equal nodes are one object, so that id() tells them
    sizes: dict[int, tuple[int, int]] = {}  # id -> nodes below it, levels below it

    def node(count: int, name: str, children: tuple[Node, ...]) -> Node:
        below = [sizes[id(child)] for child in children]
        size = 1 + sum(each[0] for each in below)
        depth = 1 + max((each[1] for each in below), default=0)
        if size > _MOST_NODES or depth > _DEEPEST:
            name, children, size, depth = f"{name} › …", (), 1, 1
        made = known.setdefault((count, name, *map(id, children)), Node(count, name, children))
        sizes[id(made)] = size, depth
        return made

    for part in parts:
        held = dict.fromkeys(number for number, _ in part.references)
        fitted = {parts[number].kind for number in held if number not in bare}
        counted: dict[int, tuple[int, Node]] = {}
        for number in held:
            # An estimator without arrays is the template that its fitted siblings were cloned from.
            if number not in bare or parts[number].kind not in fitted:
                child = nodes[number]
                counted[id(child)] = counted.get(id(child), (0, child))[0] + 1, child
        children = tuple(node(count, each.name, each.children) for count, each in counted.values())
        nodes.append(node(1, part.kind.rpartition(".")[2], children))
    return nodes[-1]


def _merged(usages: Sequence[Usage]) -> tuple[Usage, ...]:
    sums: dict[str, tuple[int, int]] = {}
    for usage in usages:
        raw, stored = sums.get(usage.label, (0, 0))
        sums[usage.label] = raw + usage.raw, stored + usage.stored
    merged = [Usage(label, *both) for label, both in sums.items() if any(both)]
    return tuple(sorted(merged, key=lambda usage: (-usage.stored, usage.label)))


def _kinds(
    found: Manifest, sized: Sequence[int], blocks: Sequence[tuple[int, Usage]]
) -> tuple[Kind, ...]:
    """A shard's columns count for the class that most of its bytes are of."""
    raw: dict[int, Counter[str]] = {}
    for part, size in zip(found.parts, sized, strict=True):
        raw.setdefault(part.shard, Counter())[part.kind] += size
    names = {shard: _kind_name(of.most_common()) for shard, of in raw.items()}
    by_name: dict[str, list[Usage]] = {}
    for shard, usage in blocks:
        by_name.setdefault(names.get(shard, "nothing"), []).append(usage)
    counts = Counter(names[part.shard] for part in found.parts)
    kinds = [Kind(name, counts[name], _merged(usages)) for name, usages in by_name.items()]
    return tuple(sorted(kinds, key=lambda kind: (-kind.stored, kind.name)))


def _kind_name(classes: Sequence[tuple[str, int]]) -> str:
    name = classes[0][0].rpartition(".")[2]
    return name if len(classes) == 1 else f"{name} and others"


def _largest(parts: Sequence[PartEntry], sized: Sequence[int]) -> tuple[tuple[str, int], ...]:
    order = sorted(range(len(parts)), key=lambda number: (-sized[number], number))[:5]
    return tuple((f"part {number}: {parts[number].kind}", sized[number]) for number in order)
