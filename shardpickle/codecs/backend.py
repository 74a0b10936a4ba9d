"""Which loops run: the compiled ones, or NumPy's where there was no compiler at the install."""

from types import ModuleType

from shardpickle.codecs import _reference

try:
    from shardpickle.codecs import _kernel
except ImportError:
    loops: ModuleType = _reference
else:
    loops = _kernel
