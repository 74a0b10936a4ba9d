"""SciPy's sparse matrices and splines."""

from itertools import pairwise
from typing import Any

import numpy as np

from shardpickle.trust.checks.base import BrokenError, check_array, check_range, is_whole, need, run

# SciPy: sparse matrices (sparse/sparsetools), splines (interpolate/_bspl.pyx)


def check_sparse_matrix(matrix: Any) -> None:
    shape = matrix.__dict__.get("_shape")
    need(
        isinstance(shape, tuple) and all(is_whole(size, 0, 1 << 62) for size in shape),
        "a sparse matrix without a shape",
    )
    need(len(shape or ()) in (1, 2), "a sparse matrix does not have one or two dimensions")
    need(not {"_format", "format"} & set(matrix.__dict__), "a sparse matrix replaces its format")
    form = matrix.format
    data = matrix.__dict__.get("data")
    if form in ("csr", "csc", "bsr"):
        for name in ("indices", "indptr"):
            check_array(matrix.__dict__.get(name), 1, name, "i")
        need(isinstance(data, np.ndarray) and data.dtype.kind in "biufc", "data")
        need(matrix.indices.dtype == matrix.indptr.dtype, "indices and indptr differ in dtype")
        notes = tuple(bool(matrix.__dict__.get(f"_{flag}")) for flag in _NOTES)
        if not run.first((form, shape, notes), matrix.indices, matrix.indptr, data):
            return
        copy = object.__new__(type(matrix))  # SciPy's check replaces some of the arrays
        copy.__dict__.update(matrix.__dict__)
        copy.check_format(full_check=True)
        need(matrix.indices.size <= len(data), "data")
        if form != "bsr":
            need(len(data) >= matrix.indptr[-1] <= len(matrix.indices), "indptr")
        for flag in _NOTES:
            if copy.__dict__.pop(f"_{flag}", None):
                need(getattr(copy, flag), flag)
    elif form == "coo":
        coords = matrix.__dict__.get("coords")
        if coords is None:  # before SciPy 1.13
            coords = matrix.__dict__.get("row"), matrix.__dict__.get("col")
        need(isinstance(coords, tuple) and len(coords) == len(shape), "coords")
        data = check_array(data, 1, "data", "biufc")
        for index, size in zip(coords, shape, strict=True):
            need(len(check_array(index, 1, "coords", "i")) == len(data), "coords")
            check_range(index, 0, size, "coords")
    elif form == "dia":
        data = check_array(data, 2, "data", "biufc")
        offsets = check_array(matrix.__dict__.get("offsets"), 1, "offsets", "i")
        need(len(offsets) == len(data), "offsets")
        distinct = run.once(lambda: len(np.unique(offsets)), offsets, what="distinct")
        need(distinct == len(offsets), "offsets")
        check_range(offsets, -shape[0], shape[1] + data.shape[1] + 1, "offsets")
    elif form == "lil":
        rows = matrix.__dict__.get("rows")
        for cells in (rows, data):
            need(isinstance(cells, np.ndarray) and cells.shape == shape[:1], "rows")
        if not run.first(("lil", shape), rows, data):
            return
        for cells in (rows, data):
            need(cells.dtype == object and all(type(row) is list for row in cells), "rows")
        for row, values in zip(rows, data, strict=True):
            need(len(row) == len(values), "rows")
            whole = all(is_whole(column, 0, shape[1]) for column in row)
            need(whole and all(a < b for a, b in pairwise(row)), "rows")
            need(all(isinstance(value, (int, float, complex, np.number)) for value in values), "")
    else:
        raise BrokenError(f"a sparse matrix of format {form!s:.20}")


_NOTES = ("has_canonical_format", "has_sorted_indices")  # SciPy does not check these


def check_spline(spline: Any) -> None:
    state = spline.__dict__
    if state.get("_delegate_to") is not None:  # since SciPy 1.18: it is checked by itself
        need(type(state["_delegate_to"]).__name__ == "_BSpline", "not a spline")
        return
    need(not ({"t", "_t"} <= set(state) or {"c", "_c"} <= set(state)), "a spline of two kinds")
    knots, order = state.get("t", state.get("_t")), state.get("k")
    coefficients = state.get("c", state.get("_c"))
    need(is_whole(order, 0, 1 << 10), "a spline's degree")
    knots = check_array(knots, 1, "a spline's knots")
    need(isinstance(coefficients, np.ndarray) and coefficients.dtype.kind in "fc", "a spline")
    need(len(knots) >= 2 * order + 2, "a spline with too few knots")
    axis = state.get("axis", 0)
    need(axis == 0 and coefficients.ndim >= 1, "a spline's axis")
    need(len(coefficients) >= len(knots) - order - 1, "a spline with too few coefficients")
    ordered = run.once(lambda: bool((np.diff(knots) >= 0).all()), knots, what="order")
    need(ordered, "a spline's knots are not in order")
