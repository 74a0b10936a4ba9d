"""What a skeleton may make with `unsafe=True`: anything. The only module that calls any name.

Nothing here checks whether a name is trusted. It is used where CPython's own unpickler cannot be.
`hardened` makes only what trusted names allow.
"""

from collections.abc import Callable, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType
from typing import Any

from shardpickle.codecs import dtypes
from shardpickle.errors import CorruptShardError, RebuildError, RefusedError
from shardpickle.trust.rules import set_state

Migrate = Callable[[Any, Any], Any]


class Objects:
    """A `machine.Construct` for one part.

    Parameters
    ----------
    names : mapping
        The target of each global that the manifest lists for this part.
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
            raise unlisted(module, name) from None

    def persistent(self, pid: Any) -> Any:
        return find_outside(pid, self.values, self.references)

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        return guard(function, function, *args)

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return guard(cls, cls.__new__, cls, *args, **kwargs)

    def build(self, instance: Any, state: Any) -> None:
        guard(instance, _set_state, instance, state, self.migrate)

    def extend(self, target: Any, items: list[Any]) -> None:
        # Use `extend` if there is one, as CPython's `do_append` does.
        if type(target) is list:
            target += items
            return
        extend = getattr(target, "extend", None)
        if extend is not None:
            guard(target, extend, items)
        else:
            for item in items:
                guard(target, target.append, item)

    def update(self, target: Any, items: list[tuple[Any, Any]]) -> None:
        if type(target) is dict:
            guard(target, target.update, items)
            return
        for key, value in items:
            guard(target, target.__setitem__, key, value)

    def frozen(self, items: list[Any]) -> Any:
        return frozenset(items)

    def add(self, target: Any, items: list[Any]) -> None:
        for item in items:
            guard(target, target.add, item)


def find_outside(pid: Any, values: Sequence[Any], references: Sequence[Any]) -> Any:
    """Return the value, reference, dtype or scalar that a persistent id stands for."""
    match pid:
        case bool():
            pass
        case int() if 0 <= pid < len(values):
            return values[pid]
        case (int() as number,) if 0 <= number < len(references):
            return references[number]
        case str():
            return dtypes.from_text(pid)
        case (str() as text, bytes() as content):
            return dtypes.scalar(text, content)
    raise CorruptShardError(f"a persistent id ({type(pid).__name__}) that refers to nothing")


def unlisted(module: str, name: str) -> CorruptShardError:
    return CorruptShardError(
        f"a skeleton names {module}.{name}, which the manifest does not list for it"
    )


def guard(owner: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function that may run anybody's code; turn any exception into one error of ours."""
    try:
        return function(*args, **kwargs)
    except (MemoryError, RecursionError, CorruptShardError, RefusedError):
        raise
    except Exception as error:  # a class that the file names may raise anything
        raise RebuildError(f"{show(owner)}: {type(error).__name__}: {error}") from error


def show(obj: Any) -> str:
    """Return a name for a message; never a repr, which runs the object's code."""
    named = obj if isinstance(obj, (type, FunctionType, BuiltinFunctionType)) else type(obj)
    return str(named.__qualname__)[:80]


def _set_state(instance: Any, state: Any, migrate: Migrate) -> None:
    set_state(instance, migrate(instance, state))
