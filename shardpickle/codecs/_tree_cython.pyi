from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

NAME: str

def encode(
    nodes: Array,
    values: Array,
    head: Array,
    starts: Array,
    thresholds: Array,
    table: Array,
    room: Array,
    places: Array,
    lengths: Array,
    work: Array,
) -> int: ...
def decode(
    columns: list[Array],
    begin: Array,
    end: Array,
    rules: int,
    head: Array,
    starts: Array,
    thresholds: Array,
    table: Array,
    nodes: Array,
    values: Array,
    work: Array,
) -> None: ...
def depth(nodes: Array, work: Array) -> int: ...
def equal(a: Array, b: Array) -> bool: ...
def dropped(nodes: Array, values: Array, width: int) -> None: ...
def fill_predictors(
    sizes: Array,
    rates: Array,
    leaf: Array,
    leaf_counts: Array,
    more_counts: Array,
    features: Array,
    bins: Array,
    categorical: Array,
    bitsets: Array,
    missing: Array,
    thresholds: Array,
    leaf_values: Array,
    values: Array,
    leaf_gains: Array,
    gains: Array,
    nodes: Array,
) -> None: ...
