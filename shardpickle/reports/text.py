"""The report of `inspect`, as objects and as text. Pure: opens no files."""

import textwrap
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shardpickle._util.sizes import text
from shardpickle.errors import inert
from shardpickle.format import manifest as manifests
from shardpickle.format.entries import Manifest, PartEntry
from shardpickle.format.shard import Usage
from shardpickle.reports import html
from shardpickle.reports.words import MOST_LINES, count, ratio

_BAR = 24
_MOST_BINS = 24
_DEEPEST = 40
_MOST_NODES = 2000


@dataclass(frozen=True, slots=True)
class Node:
    """Like parts side by side in the model: their number, their class and their children."""

    count: int
    name: str
    children: tuple["Node", ...]

    @property
    def label(self) -> str:
        return self.name if self.count == 1 else f"{self.count} × {self.name}"


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a tree: its nodes, and its depth if the file stores it."""

    nodes: int
    depth: int | None


@dataclass(frozen=True, slots=True)
class Kind:
    """Size of the shards of like parts.

    Attributes
    ----------
    name : str
        The class of the parts. Of several classes, the one with the most bytes "and others".
    parts : int
        Number of parts.
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
    """Distributions of the depths and sizes of trees.

    Attributes
    ----------
    count : int
        Number of stored trees.
    depths : tuple of (int, int, int)
        Lowest depth, highest depth, number of trees. Empty if the trees store no depth.
    leaves : tuple of (int, int, int)
        The same for the number of leaves.
    """

    count: int
    depths: tuple[tuple[int, int, int], ...]
    leaves: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, sizes: Sequence[Size]) -> "Trees":
        depths = [size.depth for size in sizes if size.depth is not None]
        leaves = [(size.nodes + 1) // 2 for size in sizes]  # every split has two children
        return cls(len(sizes), _count_bins(depths), _count_bins(leaves))


def _count_bins(values: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """Count values in at most `_MOST_BINS` bins of equal width."""
    if not values:
        return ()
    low, high = min(values), max(values)
    width = -(-(high - low + 1) // _MOST_BINS)
    counts = Counter((value - low) // width for value in values)
    starts = [low + number * width for number in range((high - low) // width + 1)]
    return tuple((at, at + width - 1, counts[number]) for number, at in enumerate(starts))


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Description of a model directory.

    Attributes
    ----------
    path, digest, writer : str
        The directory, ``"sha256:…"`` of its manifest, the shardpickle version that wrote it.
    profile : str
        Profile of the dump: ``"full"`` or ``"inference"``.
    loops : str
        What decodes trees here: ``"Cython"``, or ``"NumPy"`` if installed without a compiler.
    format_version : int
        Version of the directory's format.
    model : str
        Full name of the model's class.
    tree : Node
        The model's parts. Like parts are counted.
    environment : dict
        Versions of Python and the libraries at the dump.
    metadata : dict
        The metadata given to `dump`.
    raw_bytes, stored_bytes : int
        Raw bytes of the model, and bytes of the directory.
    parts, shards, folded : int
        Numbers of parts, of shard files, and of parts that hold a cycle of references.
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
        ``"vouched"`` for by an installed package, or ``"untrusted"``: give it to `load`.
    heap : int
        Bytes of Python objects that a load makes besides the raw bytes, by the manifest. 0 if the
        manifest does not say, since they are few.
    needs_trust, needs_unsafe
        As in `DumpReport`. Names are judged by shardpickle's own table. The rest is the writer's
        statement, or, with `inspect(…, trust=True)`, checked now.
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
        manifest: Manifest,
        digest: str,
        manifest_bytes: int,
        blocks: Sequence[tuple[int, Usage]],
        slots: Mapping[tuple[int, int], tuple[int, int]],
        sizes: Sequence[Size],
        loops: str,
        verdicts: Mapping[tuple[str, str], str],
        needs: tuple[tuple[str, ...], str],
    ) -> "ModelInfo":
        """Describe a model from its manifest and the indices of its shards.

        `blocks` has each shard's columns. `slots` has the raw bytes and the number of values of
        each shard and slot. `sizes` are those of the trees. `verdicts` says whether each name is
        trusted, `needs` what a default load refuses.
        """
        raw_sizes = [
            0 if number in manifest.tables else slots[part.shard, part.slot][0]
            for number, part in enumerate(manifest.parts)
        ]
        unfitted: set[int] = set()
        for number, part in enumerate(manifest.parts):
            if not slots[part.shard, part.slot][1] and unfitted.issuperset(dict(part.references)):
                unfitted.add(number)
        return cls(
            path=path,
            digest=digest,
            writer=manifest.writer,
            profile=manifest.profile,
            loops=loops,
            format_version=manifests.VERSION,
            model=manifest.parts[-1].kind,
            tree=_make_tree(manifest.parts, unfitted),
            environment=manifest.environment,
            metadata=manifest.metadata,
            raw_bytes=sum(raw_sizes),
            stored_bytes=manifest.stored + manifest_bytes,
            parts=len(manifest.parts) - len(manifest.tables),
            shards=len(manifest.files),
            folded=sum(part.objects > 1 for part in manifest.parts) - len(manifest.tables),
            columns=_merge_usages([usage for _, usage in blocks]),
            kinds=_group_kinds(manifest, raw_sizes, blocks),
            trees=Trees.of(sizes),
            largest=_find_largest(manifest.parts, raw_sizes),
            names={".".join(name): verdicts[name] for name in sorted(manifest.names)},
            heap=manifest.declared_heap,
            needs_trust=needs[0],
            needs_unsafe=needs[1],
        )

    @property
    def ratio(self) -> float:
        """Raw bytes per stored byte."""
        return self.raw_bytes / self.stored_bytes

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON."""
        return asdict(self) | {"ratio": self.ratio}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join(map(inert, _page_lines(self)))

    def to_html(self) -> str:
        """The report as a self-contained HTML page. It loads and runs nothing."""
        return html.html(self)

    def trust(self) -> str:
        """List each name with its verdict, untrusted ones first, then what a default load does."""
        order = sorted(self.names.items(), key=lambda item: (item[1] != "untrusted", item[0]))
        lines = [f"{verdict:<10}{name}" for name, verdict in order]
        if self.needs_unsafe:
            lines.append(f"a default load refuses {self.needs_unsafe}; unsafe=True loads it")
        elif self.needs_trust:
            lines.append(f"a default load asks for trusted={list(self.needs_trust)!r}")
        else:
            lines.append("a default load accepts it")
        return "\n".join(map(inert, lines))


def _page_lines(info: ModelInfo) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in info.environment.items())
    yield info.path
    yield ""
    yield from _draw_tree(info.tree)
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
    yield from _wrap("versions", versions)
    yield f"written  by shardpickle {info.writer}, format {info.format_version}"
    if info.profile == manifests.INFERENCE:
        yield "profile  inference: no impurities, sample counts, inner values of trees"
    yield f"decoding {info.loops}"
    yield f"digest   {info.digest}"
    for key, value in info.metadata.items():
        yield from _wrap("metadata", f"{key}: {value}")
    yield ""
    yield f"{'column':<28}{'raw':>10}{'stored':>10}  share of the files"
    total = max(1, sum(usage.stored for usage in info.columns))
    for usage in info.columns[:MOST_LINES]:
        bar = "█" * round(_BAR * usage.stored / total)
        yield (
            f"{_shorten(usage.label, 27):<28}{text(usage.raw):>10}{text(usage.stored):>10}"
            f"  {bar:<{_BAR}}{usage.stored / total:>5.0%}"
        )
    yield from _more_line(len(info.columns))
    yield ""
    yield "largest parts (raw)"
    for name, raw in info.largest:
        yield f"  {text(raw):>9}  {_shorten(name, 68)}"
    yield ""
    untrusted = [name for name, verdict in info.names.items() if verdict == "untrusted"]
    yield f"names in the pickles: {len(info.names)}, of which not trusted: {len(untrusted)}"
    for name in untrusted:
        yield f"  {name}"
    if info.needs_unsafe:
        yield f"a default load refuses {info.needs_unsafe}; unsafe=True loads it"
    elif info.needs_trust:
        yield f"load it with trusted={list(info.needs_trust)!r} if you trust their code"


def _wrap(label: str, content: str) -> Iterator[str]:
    indent = " " * 9
    if len(content) > _MOST_LETTERS:  # textwrap needs a minute for a word of megabytes
        more = len(content) - _MOST_LETTERS
        content = f"{content[:_MOST_LETTERS]} … and {more} more letters (--json has all)"
    yield from textwrap.wrap(content, 80, initial_indent=f"{label:<9}", subsequent_indent=indent)


_MOST_LETTERS = 4000


def _more_line(count: int) -> Iterator[str]:
    if count > MOST_LINES:
        yield f"  … and {count - MOST_LINES} more (--json lists all)"


def _shorten(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _draw_tree(node: Node) -> Iterator[str]:
    lines = list(_draw_branch(node, ""))
    yield from lines[:MOST_LINES]
    yield from _more_line(len(lines))


def _draw_branch(node: Node, indent: str) -> Iterator[str]:
    line = node.label
    while len(node.children) == 1:
        node = node.children[0]
        line += f" › {node.label}"
    yield indent + line
    for child in node.children:
        yield from _draw_branch(child, indent + "  ")


def _make_tree(parts: Sequence[PartEntry], unfitted: Collection[int]) -> Node:
    nodes: list[Node] = []
    shared_nodes: dict[
        tuple[Any, ...], Node
    ] = {}  # equal nodes are one object, so id() identifies them
    sizes: dict[int, tuple[int, int]] = {}  # id -> nodes below it, levels below it

    def node(count: int, name: str, children: tuple[Node, ...]) -> Node:
        below = [sizes[id(child)] for child in children]
        size = 1 + sum(totals[0] for totals in below)
        depth = 1 + max((totals[1] for totals in below), default=0)
        if size > _MOST_NODES or depth > _DEEPEST:
            name, children, size, depth = f"{name} › …", (), 1, 1
        shared = shared_nodes.setdefault(
            (count, name, *map(id, children)), Node(count, name, children)
        )
        sizes[id(shared)] = size, depth
        return shared

    for part in parts:
        references = dict.fromkeys(number for number, _ in part.references)
        fitted = {parts[number].kind for number in references if number not in unfitted}
        counts: dict[int, tuple[int, Node]] = {}
        for number in references:
            # An estimator without arrays is the template that its fitted siblings were cloned from.
            if number not in unfitted or parts[number].kind not in fitted:
                child = nodes[number]
                counts[id(child)] = counts.get(id(child), (0, child))[0] + 1, child
        children = tuple(
            node(count, child.name, child.children) for count, child in counts.values()
        )
        nodes.append(node(1, part.kind.rpartition(".")[2], children))
    return nodes[-1]


def _merge_usages(usages: Sequence[Usage]) -> tuple[Usage, ...]:
    sums: dict[str, tuple[int, int]] = {}
    for usage in usages:
        raw, stored = sums.get(usage.label, (0, 0))
        sums[usage.label] = raw + usage.raw, stored + usage.stored
    merged = [Usage(label, *total) for label, total in sums.items() if any(total)]
    return tuple(sorted(merged, key=lambda usage: (-usage.stored, usage.label)))


def _group_kinds(
    manifest: Manifest, raw_sizes: Sequence[int], blocks: Sequence[tuple[int, Usage]]
) -> tuple[Kind, ...]:
    """Group usage by class. A shard counts for the class with most of its bytes."""
    raw: dict[int, Counter[str]] = {}
    for part, size in zip(manifest.parts, raw_sizes, strict=True):
        raw.setdefault(part.shard, Counter())[part.kind] += size
    names = {shard: _kind_name(of.most_common()) for shard, of in raw.items()}
    by_name: dict[str, list[Usage]] = {}
    for shard, usage in blocks:
        by_name.setdefault(names.get(shard, "nothing"), []).append(usage)
    counts = Counter(names[part.shard] for part in manifest.parts)
    kinds = [Kind(name, counts[name], _merge_usages(usages)) for name, usages in by_name.items()]
    return tuple(sorted(kinds, key=lambda kind: (-kind.stored, kind.name)))


def _kind_name(classes: Sequence[tuple[str, int]]) -> str:
    name = classes[0][0].rpartition(".")[2]
    return name if len(classes) == 1 else f"{name} and others"


def _find_largest(
    parts: Sequence[PartEntry], raw_sizes: Sequence[int]
) -> tuple[tuple[str, int], ...]:
    order = sorted(range(len(parts)), key=lambda number: (-raw_sizes[number], number))[:5]
    return tuple((f"part {number}: {parts[number].kind}", raw_sizes[number]) for number in order)
