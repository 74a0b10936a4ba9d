"""One model as it is read: its manifest, its tables, its shards. Opens no file itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

from shardpickle._util import memory
from shardpickle._util.pool import Pool
from shardpickle._util.progress import Share
from shardpickle.codecs import tree_tables
from shardpickle.codecs.tree_tables import Tables
from shardpickle.errors import (
    CorruptManifestError,
    CorruptModelError,
    CorruptShardError,
    FormatError,
    MissingShardError,
    ModelNotFoundError,
    ModelReplacedError,
    ModelTooLargeError,
    NotADirectoryModelError,
    NotAModelError,
    ShardpickleError,
)
from shardpickle.format import manifest as manifests
from shardpickle.format import shard as sealing
from shardpickle.format.columns import TreeMemory
from shardpickle.format.contents import Contents
from shardpickle.format.layout import Index
from shardpickle.format.manifest import Manifest, ShardEntry
from shardpickle.format.shard import Advance
from shardpickle.format.tree_memory import Passing
from shardpickle.io.rebuild import Skeletons
from shardpickle.pickling import outline
from shardpickle.storage import sniff
from shardpickle.storage.base import OPENING, CheckedShard, Shard, Store

T = TypeVar("T")
Growing = Callable[[Contents], TreeMemory]  # where the trees of a shard grow


class ModelReader:
    """A model in a store. Its manifest, tables and skeletons are read once each.

    Parameters
    ----------
    store : Store
    data : bytes, optional
        The manifest's file. Default: the one that is there now, whatever it holds.
    """

    def __init__(self, store: Store, data: bytes | None = None) -> None:
        self.store = store
        self.data = _manifest_file(store) if data is None else data
        self._tables: dict[int | None, Tables] | None = None
        self._skeletons: dict[str, Skeletons] = {}  # by file
        self._texts: dict[bytes, str] = {}

    @classmethod
    def open(cls, store: Store) -> "ModelReader":
        """The model that is there now; an error that says what else is there."""
        reader = cls(store)
        _check_opening(store, reader.data)
        return reader

    @property
    def name(self) -> str:
        return self.store.name

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest's meaning, if this process has the memory for it."""
        _check_opening(self.store, self.data)
        return manifests.from_bytes(self.data, memory.available())

    @property
    def digest(self) -> str:
        return manifests.digest(self.data)

    @property
    def root(self) -> int:
        """The part that is the model itself."""
        return len(self.manifest.parts) - 1

    @property
    def made_parts(self) -> list[int]:
        """The parts that objects are made of: all but the tables."""
        tables = self.manifest.tables
        return [number for number in range(len(self.manifest.parts)) if number not in tables]

    def newer(self) -> "ModelReader | None":
        """The model that is there now, if it is another one."""
        now = ModelReader(self.store)
        if now.data == self.data:
            return None
        _check_opening(self.store, now.data)
        return now

    def entry_of(self, part: int) -> ShardEntry:
        """The shard that holds a part."""
        return self.manifest.shards[self.manifest.parts[part].shard]

    def tables(self, pool: Pool) -> dict[int | None, Tables]:
        """The tables that shards share, by their parts."""
        if self._tables is None:
            self._tables = self._read_tables(pool)
        return self._tables

    def _read_tables(self, pool: Pool) -> dict[int | None, Tables]:
        tables: dict[int | None, Tables] = {}
        parts_of: dict[int, list[int]] = {}
        for part in sorted(self.manifest.tables):
            parts_of.setdefault(self.manifest.parts[part].shard, []).append(part)
        for shard, parts in parts_of.items():
            entry = self.manifest.shards[shard]
            contents = read_shard(self.store, entry, pool, grow=lambda _: Passing())
            with in_file(entry.file):
                for part in parts:
                    tables[part] = _table(contents.pieces[self.manifest.parts[part].slot])
        return tables

    def shard(
        self,
        entry: ShardEntry,
        pool: Pool,
        advance: Advance = sealing.ignore,
        *,
        grow: Growing | None,
        together: bool = False,
    ) -> Contents:
        """A shard's contents, as `read_shard`; its tables have been read."""
        tables = (self._tables or {}).get(entry.table)
        return read_shard(
            self.store, entry, pool, advance, grow=grow, tables=tables, together=together
        )

    def skeletons(self, entry: ShardEntry) -> Skeletons:
        """A shard's skeletons, its digest checked; nothing else of it is decoded."""
        if entry.sha256 not in self._skeletons:
            with (
                Pool(1) as pool,
                in_file(entry.file),
                self.store.open_shard(entry.sha256) as shard,
            ):
                checked = _check_digest(shard, entry)
                index = open_index(checked, entry)
                contents = sealing.open_contents(checked.read_at, index, entry.raw, together=True)
                sealing.fill_skeletons(checked.read_at, index, contents, each=pool.map)
                self.keep_skeletons(entry, contents)
        return self._skeletons[entry.sha256]

    def keep_skeletons(self, entry: ShardEntry, contents: Contents) -> Skeletons:
        """Those of a shard that has been read."""
        skeletons = Skeletons(contents, self._texts, self.manifest.most_heap)
        self._skeletons[entry.sha256] = skeletons
        return skeletons

    def outline(self, part: int) -> tuple[Any, ...]:
        """The objects of a part, as plain data."""
        entry = self.entry_of(part)
        with in_file(entry.file):
            steps = self.skeletons(entry).once(self.manifest.parts[part].slot)
            return outline.members(steps)

    @contextmanager
    def explain(self, free: int | None = None) -> Iterator[None]:
        """Errors of the interpreter that a model leads to become ours."""
        try:
            yield
        except ShardpickleError:
            raise
        except MemoryError as error:
            raise ModelTooLargeError(self.name, self.manifest.raw, free or 0) from error
        except RecursionError as error:
            raise CorruptModelError("objects are nested too deeply in each other") from error

    @contextmanager
    def expect_same(self) -> Iterator[None]:
        """A shard that is missing because there is another model now is another error."""
        try:
            yield
        except MissingShardError as error:
            if _manifest_file(self.store) != self.data:
                raise ModelReplacedError(self.name) from error
            raise


def read_newest(store: Store, read: Callable[[ModelReader], T]) -> T:
    """Read a model; read again where another one took its place meanwhile.

    A writer keeps the shards of one model before its own, so only a reader that was overtaken twice
    misses any; then there is a newer model, which is whole.
    """
    reader = ModelReader.open(store)
    while True:
        try:
            return read(reader)
        except (MissingShardError, ModelReplacedError):
            newer = reader.newer()
            if newer is None:
                raise
            reader = newer


def read_shard(
    store: Store,
    entry: ShardEntry,
    pool: Pool,
    advance: Advance = sealing.ignore,
    *,
    grow: Growing | None,
    tables: Tables | None = None,
    together: bool = False,
) -> Contents:
    """A shard's contents, its digest checked before a byte is decoded.

    All of them with `grow`; else their sizes. `tables` are those that the shard shares; `together`
    is for contents that are dropped as one (`contents.allocate`).
    """
    with in_file(entry.file), store.open_shard(entry.sha256) as shard:
        checked = _check_digest(shard, entry)
        index = open_index(checked, entry)
        contents = sealing.open_contents(checked.read_at, index, entry.raw, together=together)
        contents.tables = tables
        if grow is not None:
            share = Share(advance, entry.raw)
            into = grow(contents)
            sealing.fill(checked.read_at, index, contents, into, each=pool.map, advance=share)
            share.finish()
        return contents


def check_file(shard: Shard, entry: ShardEntry) -> None:
    """Refuse what cannot be the shard, by its first bytes and its size."""
    if shard.size != entry.nbytes:
        mistake = sniff.explain_lfs(entry.file, shard.read_at(0, 64)) if shard.size < 4096 else None
        raise mistake or CorruptShardError("another size", expected=entry.nbytes, actual=shard.size)


def open_index(shard: Shard | CheckedShard, entry: ShardEntry) -> Index:
    """What the shard says of itself, if it is what the manifest says."""
    index = sealing.read_index(shard.read_at, shard.size, entry.most_index)
    if index.sizes.parts != entry.parts:
        raise CorruptShardError(
            "another number of parts", expected=entry.parts, actual=index.sizes.parts
        )
    return index


@contextmanager
def in_file(file: str) -> Iterator[None]:
    """Names the file in an error that comes from a room which knows no files."""
    try:
        yield
    except CorruptModelError as error:
        if error.file is not None:
            raise
        raise error.in_file(file) from error


def _check_digest(shard: Shard, entry: ShardEntry) -> CheckedShard:
    """What the shard's file holds, if that is the shard: no later change of the file is seen."""
    check_file(shard, entry)
    checked = CheckedShard(shard)
    if checked.sha256 != entry.sha256:
        raise CorruptShardError("damaged (SHA-256)", expected=entry.sha256, actual=checked.sha256)
    return checked


def _table(pieces: list[Any]) -> Tables:
    if [getattr(piece, "dtype", None) for piece in pieces] != ["<i8", "<u8", "<u8"] or any(
        piece.ndim != 1 for piece in pieces
    ):
        raise CorruptShardError("a table is not one")
    return tree_tables.checked(Tables(*pieces))


def _manifest_file(store: Store) -> bytes:
    """The manifest's file, whatever it holds."""
    try:
        return store.read_manifest()
    except (ModelNotFoundError, NotADirectoryModelError):
        raise _why_no_manifest(store) from None


def _check_opening(store: Store, data: bytes) -> None:
    """Refuse a file that does not begin as a manifest of ours; the error says what it is."""
    if not data.startswith(OPENING):
        own = not data.strip() or data[:1] == b"{" or b"shardpickle" in data[:64]
        mistake = None if own else sniff.explain_file(f"{store.name}/manifest.json", data[:256])
        raise mistake or _foreign(store, data)


def _foreign(store: Store, data: bytes) -> FormatError:
    if b"shardpickle" in data[:64] or not data.strip():
        return CorruptManifestError("damaged: it does not begin as it should", file="manifest.json")
    return NotAModelError(f"{store.name}/manifest.json is not shardpickle's")


def _why_no_manifest(store: Store) -> Exception:
    name = store.name
    if store.is_file():
        unknown = NotAModelError(f"{name} is a file, and a shardpickle model is a directory")
        return sniff.explain_file(name, store.start("")) or unknown
    if store.holds(""):
        return sniff.explain_directory(name, store.holds)
    return ModelNotFoundError(2, "there is no model here", name)
