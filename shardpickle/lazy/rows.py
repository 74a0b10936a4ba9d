"""Collects rows of predictions in memory or in a ``.npy`` file. Knows nothing of models."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.lib import format as npy

from shardpickle.storage.files import anchor, check_path, name_errors, replace_file


def read_features(path: str | os.PathLike[str]) -> Any:
    """Features from a ``.npy`` file (as a memory map), or from Parquet or CSV through pandas."""
    kind = Path(path).suffix.lower()
    if kind == ".npy":
        return np.load(path, mmap_mode="r")
    if kind not in (".parquet", ".csv"):
        raise ValueError(f"cannot read {path}: give a .npy, .parquet or .csv file")
    try:
        import pandas  # type: ignore[import-untyped]  # has no types of its own
    except ImportError:
        raise ImportError(f"reading {path} needs pandas: pip install pandas") from None
    return pandas.read_parquet(path) if kind == ".parquet" else pandas.read_csv(path)


def read_labelled(path: str | os.PathLike[str], target: str | None) -> tuple[Any, Any]:
    """Read features and targets: ``X`` and ``y`` of an ``.npz``, or a table with column `target`.

    Raises
    ------
    ValueError
        If the file lacks them.
    """
    if Path(path).suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            if not {"X", "y"} <= set(archive.files):
                raise ValueError(f"{path} contains {sorted(archive.files)}, not X and y")
            return archive["X"], archive["y"]
    table = read_features(path)
    columns = list(getattr(table, "columns", ()))
    if target not in columns:
        raise ValueError(f"--target must be a column of {path}: {columns}")
    return table.drop(columns=[target]), table[target].to_numpy()


def count_rows(features: Any) -> int:
    """Count the rows of features."""
    shape = getattr(features, "shape", None)
    return len(features) if shape is None else int(shape[0])


def split_rows(features: Any, size: int) -> Iterator[Any]:
    """Split features, or an iterator of chunks of them, into blocks of at most `size` rows."""
    for chunk in features if hasattr(features, "__next__") else [features]:
        count = count_rows(chunk)
        if count <= size:
            yield chunk
            continue
        sliced = getattr(chunk, "iloc", chunk)
        for start in range(0, count, size):
            yield sliced[start : start + size]


def join_answers(answers: list[Any]) -> Any:
    """Join the answers to blocks of rows into the answer to all of them."""
    first = answers[0]
    if len(answers) == 1:
        return first
    if isinstance(first, (list, tuple)):  # one array for each output
        return type(first)(join_answers(list(outputs)) for outputs in zip(*answers, strict=True))
    return np.concatenate(answers)


class NpyFile:
    """A ``.npy`` file that grows; it gets its name when it is complete.

    NumPy leaves room in the header for the number of rows, so that it can be written last
    (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = anchor(check_path(path))
        if self.path.suffix.lower() != ".npy":
            raise ValueError(f"out must be a path that ends in .npy, not {path}")
        self._open = ExitStack()
        self._stream: IO[bytes] | None = None
        self._dtype: np.dtype[Any] = np.dtype(float)
        self._shape: tuple[int, ...] = ()
        self._rows = 0

    def __enter__(self) -> Self:
        self._stream = self._open.enter_context(replace_file(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and self._stream is not None:
            with self._open:
                self._stream.seek(0)
                self._write_header(self._stream)
        else:
            self._open.__exit__(kind, error, traceback)

    def append(self, answer: Any) -> None:
        """Append the answer to a block of rows."""
        if not isinstance(answer, np.ndarray) or answer.dtype.hasobject:
            raise TypeError(
                f"a .npy file stores one array of numbers or text, not {type(answer).__name__} "
                f"{getattr(answer, 'dtype', '')}; omit `out`"
            )
        stream = self._stream
        assert stream is not None
        if stream.tell() == 0:
            self._dtype, self._shape = answer.dtype, answer.shape[1:]
            self._write_header(stream)
        if answer.shape[1:] != self._shape:
            raise ValueError(
                f"each row must have the same shape: expected {self._shape}, got {answer.shape[1:]}"
            )
        stream.write(np.ascontiguousarray(answer, self._dtype).tobytes())
        self._rows += len(answer)

    def _write_header(self, stream: IO[bytes]) -> None:
        header = {
            "descr": npy.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._rows, *self._shape),
        }
        npy.write_array_header_1_0(stream, header)

    def array(self) -> Any:
        """Open the finished file as a memory map."""
        with name_errors(self.path, "map the file that was written"):
            return np.load(self.path, mmap_mode="r")
