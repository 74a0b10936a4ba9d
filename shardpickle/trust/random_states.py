"""Random states and generators, whose states have checked positions and sizes."""

import types
from typing import Any

import numpy as np
from numpy.random import BitGenerator

from shardpickle.trust.checks import is_whole
from shardpickle.trust.rules import Args, Maker, allow_calls, need

_GENERATOR_BYTES = 8192  # a Mersenne Twister, which is seeded when it is made


def _is_ctor(value: Any) -> bool:
    function = isinstance(value, types.FunctionType | types.BuiltinFunctionType) or (
        type(value).__name__ == "cython_function_or_method"
    )
    return function and (
        value.__name__.endswith("bit_generator_ctor")
        or value.__module__ == "shardpickle.sklearn_support.migrations"
    )


def _is_bit_generator(value: Any) -> bool:
    names = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
    if isinstance(value, type):
        return value.__name__ in names and issubclass(value, BitGenerator)
    return value in names if type(value) is str else isinstance(value, BitGenerator)


def _is_generator_call(args: Args) -> bool:
    return 1 <= len(args) <= 2 and _is_bit_generator(args[0]) and all(map(_is_ctor, args[1:]))


def allow_generator(target: Any) -> Maker:
    call = allow_calls(_is_generator_call)(target).call
    return Maker(call=call, build=_set_generator_state, heap=_GENERATOR_BYTES)


def _set_generator_state(instance: Any, state: Any) -> None:
    seed = state[1] if type(state) is tuple and len(state) == 2 else None
    need(seed is None or type(seed) is np.random.SeedSequence, "a generator's seed")
    if type(state) is tuple:
        need(len(state) == 2, "a generator's state")
    content = state[0] if type(state) is tuple else state
    need(type(content) is dict and not _reads_outside(content), "a generator's state")
    instance.__setstate__(state)


_SIZES = {"key": {"MT19937": 624, "Philox": 2}, "counter": {"Philox": 4}, "state": {"SFC64": 4}}

_MOST_POSITIONS = 624  # of MT19937


def _reads_outside(state: dict[str, Any]) -> bool:
    """Whether a generator would read outside of its state: NumPy does not check positions."""
    name, inner = state.get("bit_generator"), state.get("state")
    if type(name) is not str or type(inner) is not dict:
        return True
    for key, value in inner.items():
        size = _SIZES.get(key, {}).get(name)
        if size is not None:
            if not isinstance(value, np.ndarray) or value.shape != (size,):
                return True
            if value.dtype.kind != "u":
                return True
        elif key == "pos":
            if not is_whole(value, 0, _MOST_POSITIONS + 1):
                return True
        elif not is_whole(value, 0, 1 << 128):
            return True
    needed = {"MT19937": {"key", "pos"}, "Philox": {"key", "counter"}, "SFC64": {"state"}}
    if set(inner) != needed.get(name, {"state", "inc"}):
        return True
    buffer, position = state.get("buffer"), state.get("buffer_pos")
    if name == "Philox":
        if not isinstance(buffer, np.ndarray) or buffer.shape != (4,) or buffer.dtype.kind != "u":
            return True
        if not is_whole(position, 0, 5):
            return True
    return not all(
        is_whole(state.get(key, 0), 0, 1 << 32) for key in ("has_uint32", "uinteger", "has_gauss")
    ) or not isinstance(state.get("gauss", 0.0), (int, float))


def allow_seed(target: Any) -> Maker:
    def check(args: Args) -> bool:
        exact = len(args) == 3 and args[0] is np.random.SeedSequence
        return exact and type(args[1]) is int and args[2] is None

    def build(instance: Any, state: Any) -> None:
        need(type(state) is tuple and len(state) == 5, "a seed's state")
        entropy, spawned, pool, size, key = state
        numbers = entropy if type(entropy) in (list, tuple) else (entropy,)
        fits = isinstance(pool, np.ndarray) and pool.dtype == np.uint32 and pool.shape == (size,)
        need(fits and type(size) is int and size >= 4, "a seed's pool")
        need(is_whole(spawned, 0, 1 << 62), "a seed's children")
        need(type(key) is tuple and all(is_whole(item, 0, 1 << 62) for item in key), "a seed's key")
        need(
            all(number is None or is_whole(number, 0, 1 << 4096) for number in numbers),
            "a seed's entropy",
        )
        instance.__setstate__(state)

    return Maker(call=allow_calls(check)(target).call, build=build, unfinished=True)


RANDOM = "numpy.random._pickle"
