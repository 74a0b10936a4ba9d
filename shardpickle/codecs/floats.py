"""Doubles as integers, so that close doubles have small differences. NumPy only."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

ONE = np.uint64(1)
_SIGN = np.uint64(63)


def bits_of(x: Array) -> Array:
    return np.ascontiguousarray(x).view(np.uint64)


def zigzag(d: Array) -> Array:
    """Map signed integers (as uint64) to unsigned ones, which are small if those are near 0."""
    return (d << ONE) ^ (np.uint64(0) - (d >> _SIGN))


def unzigzag(z: Array) -> Array:
    return (z >> ONE) ^ (np.uint64(0) - (z & ONE))


def key(of: Array) -> Array:
    """Map bits of doubles to integers (two's complement) of the same order; its own inverse."""
    integers: Array = of ^ ((np.uint64(0) - (of >> _SIGN)) >> ONE)
    return integers


def number(predicted: Array) -> Array:
    """Replace NaN by 0.0: arithmetic does not determine the bits of NaN."""
    return np.where(np.isnan(predicted), 0.0, predicted)


def residual(x: Array, predicted: Array) -> Array:
    """The distance of x from its prediction, in steps of representable doubles."""
    return zigzag(key(bits_of(x)) - key(bits_of(number(predicted))))


def corrected(z: Array, predicted: Array) -> Array:
    """Recover x from its residual."""
    return key(unzigzag(z) + key(bits_of(number(predicted)))).view(np.float64)
