"""What a skeleton's opcodes make: real objects. The only room that calls what a file names.

Nothing here checks whether a name deserves trust: a model is loaded as a pickle would be.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shardpickle import dtypes
from shardpickle.errors import CorruptShardError, RebuildError

Migrate = Callable[[Any, Any], Any]


class Objects:
    """An `opcodes.Construct` for one part.

    Parameters
    ----------
    names : mapping
        What each global that the manifest lists for this part stands for.
    values : sequence
        The values that left the part, rebuilt.
    references : sequence
        The objects elsewhere that the part refers to, rebuilt.
    migrate : callable
        ``migrate(instance, state)`` gives the state in the form of the installed libraries.
    """

    def __init__(
        self,
        names: Mapping[tuple[str, str], Any],
        values: Sequence[Any],
        references: Sequence[Any],
        migrate: Migrate,
    ) -> None:
        self.names = names
        self.values = values
        self.references = references
        self.migrate = migrate

    def find(self, module: str, name: str) -> Any:
        try:
            return self.names[module, name]
        except KeyError:
            raise CorruptShardError(
                f"a skeleton names {module}.{name}, which the manifest does not list for it"
            ) from None

    def persistent(self, pid: Any) -> Any:
        match pid:
            case int() if 0 <= pid < len(self.values):
                return self.values[pid]
            case (int() as number,) if 0 <= number < len(self.references):
                return self.references[number]
            case str():
                return dtypes.from_text(pid)
            case (str() as text, bytes() as content):
                return dtypes.scalar(text, content)
        raise CorruptShardError(f"a persistent id ({type(pid).__name__}) of nothing here")

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        return _guarded(function, *args)

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _guarded(cls.__new__, cls, *args, **kwargs)

    def build(self, instance: Any, state: Any) -> None:
        _guarded(_set_state, instance, state, self.migrate)

    def extend(self, target: Any, items: list[Any]) -> None:
        # `extend` where there is one, as CPython's `do_append`.
        if type(target) is list:
            target += items
            return
        extend = getattr(target, "extend", None)
        if extend is not None:
            _guarded(extend, items)
        else:
            for item in items:
                _guarded(target.append, item)

    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None:
        if type(target) is dict:
            _guarded(target.update, items)
            return
        for key, value in items:
            _guarded(target.__setitem__, key, value)

    def frozen(self, items: list[Any]) -> Any:
        return frozenset(items)

    def add(self, target: Any, items: list[Any]) -> None:
        for item in items:
            _guarded(target.add, item)


def _guarded(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except (MemoryError, RecursionError, CorruptShardError):
        raise
    except Exception as error:  # whatever a class raises, the part's file is named above
        owner = args[0] if args else function
        what = type(owner).__qualname__ if function is _set_state else _name(function)
        raise RebuildError(f"{what}: {type(error).__name__}: {error}") from error


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def _set_state(instance: Any, state: Any, migrate: Migrate) -> None:
    state = migrate(instance, state)
    # As CPython's `load_build` does it (Lib/pickle.py).
    setstate = getattr(instance, "__setstate__", None)
    if setstate is not None:
        setstate(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        attributes = instance.__dict__
        for name, value in state.items():
            attributes[sys.intern(name) if type(name) is str else name] = value
    for name, value in (slots or {}).items():
        setattr(instance, name, value)
