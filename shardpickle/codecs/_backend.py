"""Which loops run: the compiled ones, or NumPy's where there was no compiler at the install."""

from types import ModuleType

from shardpickle.codecs import _tree_numpy

try:
    from shardpickle.codecs import _tree_cython
except ImportError:
    loops: ModuleType = _tree_numpy
else:
    loops = _tree_cython
