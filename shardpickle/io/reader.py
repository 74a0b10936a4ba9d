"""Reads a model: its manifest, tables and shards. Opens no files itself."""

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
from shardpickle.format.entries import Manifest, ShardEntry
from shardpickle.format.layout import Index
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
        Bytes of the manifest file. Default: the present file, whatever it holds.
    """

    def __init__(self, store: Store, data: bytes | None = None) -> None:
        self.store = store
        self.data = _read_manifest(store) if data is None else data
        self._tables: dict[int | None, Tables] | None = None
        self._skeletons: dict[str, Skeletons] = {}  # by file
        self._texts: dict[bytes, str] = {}

    @classmethod
    def open(cls, store: Store) -> "ModelReader":
        """Open the present model. Raises an error that says what else is there."""
        reader = cls(store)
        _check_opening(store, reader.data)
        return reader

    @property
    def name(self) -> str:
        return self.store.name

    @cached_property
    def manifest(self) -> Manifest:
        """The parsed manifest, if this process has enough memory for it."""
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
        """The present model, if it has changed."""
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
                    tables[part] = _check_table(contents.pieces[self.manifest.parts[part].slot])
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
        """Read a shard as `read_shard` does. Its tables have been read before."""
        tables = (self._tables or {}).get(entry.table)
        return read_shard(
            self.store, entry, pool, advance, grow=grow, tables=tables, together=together
        )

    def skeletons(self, entry: ShardEntry) -> Skeletons:
        """Read the skeletons of a shard. Checks its digest and decodes nothing else."""
        if entry.sha256 not in self._skeletons:
            with (
                Pool(1) as pool,
                in_file(entry.file),
                self.store.open_shard(entry.sha256) as shard,
            ):
                checked = _check_digest(shard, entry)
                index = open_index(checked, entry)
                contents = sealing.open_contents(checked.read_at, index, entry.raw, together=True)
                sealing.fill_skeletons(checked.read_at, index, contents, map_parallel=pool.map)
                self.keep_skeletons(entry, contents)
        return self._skeletons[entry.sha256]

    def keep_skeletons(self, entry: ShardEntry, contents: Contents) -> Skeletons:
        """Keep the skeletons of a shard that has been read."""
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
        """Turn Python's own errors, such as MemoryError, into ours."""
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
        """Raise another error if a shard is missing because the model was replaced."""
        try:
            yield
        except MissingShardError as error:
            if _read_manifest(self.store) != self.data:
                raise ModelReplacedError(self.name) from error
            raise


def read_newest(store: Store, read: Callable[[ModelReader], T]) -> T:
    """Read a model. Reads again if another model replaced it meanwhile.

    A writer keeps the shards of one earlier model. So shards are missing only if the model was
    replaced twice, and then there is a newer model, which is whole.
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
    """Read a shard's contents. Checks the digest before it decodes a byte.

    Reads all contents with `grow`, else only their sizes. `tables` are those that the shard shares.
    `together` is for contents that are dropped together (`contents.allocate`).
    """
    with in_file(entry.file), store.open_shard(entry.sha256) as shard:
        checked = _check_digest(shard, entry)
        index = open_index(checked, entry)
        contents = sealing.open_contents(checked.read_at, index, entry.raw, together=together)
        contents.tables = tables
        if grow is not None:
            share = Share(advance, entry.raw)
            into = grow(contents)
            sealing.fill(
                checked.read_at, index, contents, into, map_parallel=pool.map, advance=share
            )
            share.finish()
        return contents


def check_file(shard: Shard, entry: ShardEntry) -> None:
    """Refuse a file that cannot be the shard, by its size and first bytes."""
    if shard.size != entry.nbytes:
        mistake = sniff.explain_lfs(entry.file, shard.read_at(0, 64)) if shard.size < 4096 else None
        raise mistake or CorruptShardError("wrong size", expected=entry.nbytes, actual=shard.size)


def open_index(shard: Shard | CheckedShard, entry: ShardEntry) -> Index:
    """Read the index of a shard, and compare it with the manifest."""
    index = sealing.read_index(shard.read_at, shard.size, entry.most_index)
    if index.sizes.parts != entry.parts:
        raise CorruptShardError(
            "wrong number of parts", expected=entry.parts, actual=index.sizes.parts
        )
    return index


@contextmanager
def in_file(file: str) -> Iterator[None]:
    """Name the file in an error from a room that knows no files."""
    try:
        yield
    except CorruptModelError as error:
        if error.file is not None:
            raise
        raise error.in_file(file) from error


def _check_digest(shard: Shard, entry: ShardEntry) -> CheckedShard:
    """Check the digest of a shard. The result does not see later changes of the file."""
    check_file(shard, entry)
    checked = CheckedShard(shard)
    if checked.sha256 != entry.sha256:
        raise CorruptShardError("damaged (SHA-256)", expected=entry.sha256, actual=checked.sha256)
    return checked


def _check_table(pieces: list[Any]) -> Tables:
    if [getattr(piece, "dtype", None) for piece in pieces] != ["<i8", "<u8", "<u8"] or any(
        piece.ndim != 1 for piece in pieces
    ):
        raise CorruptShardError("invalid table")
    return tree_tables.check_tables(Tables(*pieces))


def _read_manifest(store: Store) -> bytes:
    """Read the manifest file, whatever it holds."""
    try:
        return store.read_manifest()
    except (ModelNotFoundError, NotADirectoryModelError):
        raise _no_manifest_error(store) from None


def _check_opening(store: Store, data: bytes) -> None:
    """Refuse a file that does not start as our manifest. The error says what it is."""
    if not data.startswith(OPENING):
        may_be_manifest = not data.strip() or data[:1] == b"{" or b"shardpickle" in data[:64]
        mistake = (
            None
            if may_be_manifest
            else sniff.explain_file(f"{store.name}/manifest.json", data[:256])
        )
        raise mistake or _foreign_error(store, data)


def _foreign_error(store: Store, data: bytes) -> FormatError:
    if b"shardpickle" in data[:64] or not data.strip():
        return CorruptManifestError("damaged: wrong first bytes", file="manifest.json")
    return NotAModelError(f"{store.name}/manifest.json is not a manifest of shardpickle")


def _no_manifest_error(store: Store) -> Exception:
    name = store.name
    if store.is_file():
        unknown = NotAModelError(f"{name} is a file, and a shardpickle model is a directory")
        return sniff.explain_file(name, store.start("")) or unknown
    if store.holds(""):
        return sniff.explain_directory(name, store.holds)
    return ModelNotFoundError(2, "there is no model here", name)
