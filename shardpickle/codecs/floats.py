"""Doubles as integers whose differences are small where the doubles are close. NumPy only."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

ONE = np.uint64(1)
_SIGN = np.uint64(63)


def bits_of(x: Array) -> Array:
    return np.ascontiguousarray(x).view(np.uint64)


def zigzag(d: Array) -> Array:
    """Signed integers (as uint64) to unsigned ones, small where those are near 0."""
    return (d << ONE) ^ (np.uint64(0) - (d >> _SIGN))


def unzigzag(z: Array) -> Array:
    return (z >> ONE) ^ (np.uint64(0) - (z & ONE))


def key(of: Array) -> Array:
    """Bits of doubles to integers (two's complement) of the same order; its own inverse."""
    found: Array = of ^ ((np.uint64(0) - (of >> _SIGN)) >> ONE)
    return found


def number(predicted: Array) -> Array:
    """0.0 for NaN, whose bits arithmetic does not fix."""
    return np.where(np.isnan(predicted), 0.0, predicted)


def residual(x: Array, predicted: Array) -> Array:
    """How far x is from what was predicted, in steps of representable doubles."""
    return zigzag(key(bits_of(x)) - key(bits_of(number(predicted))))


def corrected(z: Array, predicted: Array) -> Array:
    """x, from its residual."""
    return key(unzigzag(z) + key(bits_of(number(predicted)))).view(np.float64)
