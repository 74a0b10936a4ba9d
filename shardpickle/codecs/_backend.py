"""Chooses the loops: the compiled ones, or NumPy's if the install had no compiler."""

from types import ModuleType

from shardpickle.codecs import _tree_numpy

try:
    from shardpickle.codecs import _tree_cython
except ImportError:
    loops: ModuleType = _tree_numpy
else:
    loops = _tree_cython
