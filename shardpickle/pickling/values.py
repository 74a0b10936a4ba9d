"""Values that leave a skeleton: arrays, trees, long strings. Knows no pickle and no file."""

import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from shardpickle.codecs import dtypes, hist_nodes
from shardpickle.codecs.tree_arrays import Head, Tree
from shardpickle.errors import CorruptShardError
from shardpickle.sklearn_support import classes

Array = np.ndarray[Any, np.dtype[Any]]

_BYTE = "|u1"
_TREE_DTYPE = "<f8"  # of a tree's values
_TREE_DIMENSIONS = 3  # of `Head.shape`, besides the classes of each output


@dataclass(frozen=True, slots=True)
class Value:
    """One object that left a skeleton.

    `kind` is the type to make again: ``ndarray``, ``memmap``, ``bytes``, ``bytearray``, ``str`` or
    ``tree``.
    `source` is the object itself; nothing is copied until a shard is encoded.
    """

    kind: str
    source: Any

    @property
    def nbytes(self) -> int:
        """Bytes of content; for ``str``, of its UTF-8 form."""
        if self.kind in _ARRAYS:
            return int(self.source.nbytes)
        if self.kind == "tree":
            return classes.head(self.source).nbytes
        if self.kind == "str" and not self.source.isascii():
            return int(self.array().nbytes)
        return len(self.source)

    @property
    def owns_memory(self) -> bool:
        """Whether the content is freed with `source` (a view's is not)."""
        return self.kind not in _ARRAYS or self.source.base is None

    def piece(self) -> "Array | Tree":
        """The content: an array, or a tree's arrays."""
        return classes.arrays(self.source) if self.kind == "tree" else self.array()

    def array(self) -> Array:
        """The content as an array: a view, except ``str``, which is encoded."""
        if self.kind in _ARRAYS:
            return np.asarray(self.source)
        if self.kind == "str":
            return np.frombuffer(self.source.encode("utf-8", "surrogatepass"), np.uint8)
        return np.frombuffer(self.source, np.uint8)


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything about a value except its shape and content.

    Kind, dtype text, number of dimensions, order, whether it is writeable, and the codec that turns
    such values into columns.
    """

    kind: str
    dtype: str
    ndim: int
    order: str
    writeable: bool
    codec: str = "array"

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Allocate memory for a value of this spec; `dtype` is its dtype (bytes for a string)."""
        order: Literal["F", "C"] = "F" if self.order == "F" else "C"
        if dtype.itemsize == 0:  # `empty` and `zeros` would make one character
            return np.ndarray(shape, dtype, order=order)
        # Fields are filled one by one, so the padding between them must be zeroed.
        make = np.zeros if dtype.names is not None else np.empty
        return make(shape, dtype, order=order)

    def copy(self, piece: Any) -> Any:
        """Copy the filled memory, with a dtype of its own, because field names are mutable."""
        if not isinstance(piece, np.ndarray):
            return copy.copy(piece)
        dtype = piece.dtype if piece.dtype.names is None else dtypes.copy(piece.dtype)
        memory = self.empty(piece.shape, dtype)
        memory[...] = piece
        return memory

    def finish(self, array: Any) -> Any:
        """Make the object that left the skeleton from its filled memory (a tree is ready)."""
        match self.kind:
            case "tree":
                return array
            case "bytes":
                return array.tobytes()
            case "bytearray":
                return bytearray(array.data)
            case "str":
                try:
                    return array.tobytes().decode("utf-8", "surrogatepass")
                except UnicodeDecodeError as error:
                    raise CorruptShardError(f"a string is not UTF-8: {error}") from None
            case "memmap":
                array = array.view(np.memmap)
        array.flags.writeable = self.writeable
        return array


def spec_of(kind: str, array: "Array | Tree") -> Spec:
    """Make the spec of a value whose content is `array`."""
    if isinstance(array, Tree):
        dimensions = _TREE_DIMENSIONS + len(array.head.classes)
        return Spec(kind, _TREE_DTYPE, dimensions, "C", True, "trees")
    text = dtypes.to_text(array.dtype)
    if text is None:
        raise TypeError(f"an array of dtype {array.dtype} does not leave its skeleton")
    flags = array.flags
    # Pickle keeps the flag of exactly these. It makes a new array for any other.
    keeps_flag = kind == "ndarray" and flags.forc and array.itemsize > 0
    order = "F" if flags.f_contiguous and not flags.c_contiguous and array.itemsize else "C"
    nodes = (
        kind == "ndarray" and array.ndim == 1 and array.size > 0 and hist_nodes.fits(array.dtype)
    )
    codec = "predictors" if nodes else "array"
    return Spec(kind, text, array.ndim, order, bool(flags.writeable) or not keeps_flag, codec)


def check(spec: Spec) -> Spec:
    """Return the spec; raise an error if `spec_of` cannot make it."""
    if spec.kind == "tree":
        fixed = spec.dtype, spec.order, spec.writeable, spec.codec
        if (
            fixed != (_TREE_DTYPE, "C", True, "trees")
            or not _TREE_DIMENSIONS < spec.ndim <= _TREE_DIMENSIONS + _MOST_OUTPUTS
        ):
            raise CorruptShardError(f"not a value: {spec}")
        return spec
    plain = spec.kind in _ARRAYS or (
        spec.kind in _STRINGS and spec.dtype == _BYTE and spec.ndim == 1
    )
    if (
        not plain
        or spec.codec == "trees"
        or spec.order not in ("C", "F")
        or not 0 <= spec.ndim <= 64
    ):
        raise CorruptShardError(f"not a value: {spec}")
    if dtypes.from_text(spec.dtype).hasobject:
        raise CorruptShardError(f"not a value: {spec}")
    return spec


def shape_of(piece: "Array | Tree") -> tuple[int, ...]:
    """Return the numbers that a shard stores for a value besides its spec."""
    return piece.head.shape if isinstance(piece, Tree) else piece.shape


def head_of(spec: Spec, shape: tuple[int, ...]) -> Head:
    """Make a tree's head; raise an error if its sizes are impossible."""
    head = Head.of_shape(shape)
    if head.nodes < 1 or min(head.classes) < 1:
        raise CorruptShardError(f"impossible sizes of a tree: {shape[:4]}")
    return head


_ARRAYS = frozenset({"ndarray", "memmap"})
_STRINGS = frozenset({"bytes", "bytearray", "str"})
_MOST_OUTPUTS = 1 << 20
