"""How one thing may be made: by a call or by its state, and what is checked of both."""

import copyreg
import inspect
import sys
import types
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardpickle.errors import RefusedError, make_need
from shardpickle.trust import grammar

Name = tuple[str, str]

Args = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Maker:
    """What may be done with a name. An operation that is None is not allowed.

    ``call(*args)`` and ``new(args, kwargs)`` return an instance; ``build(instance, state)`` sets
    its state. With `unfinished`, an instance needs a state before a load may return it. With
    `named`, the caller trusts the class by name: its attributes may be called ``__version__``.
    """

    call: Callable[..., Any] | None = None
    new: Callable[[Args, Mapping[str, Any]], Any] | None = None
    build: Callable[[Any, Any], None] | None = None
    unfinished: bool = False
    heap: int = 0  # bytes that a call allocates, if these are many
    named: bool = False


def refused(what: str, *names: str) -> RefusedError:
    """Return the error for what is not allowed by default. A caller may trust `names` for it."""
    return RefusedError(what, names)


need = make_need(refused)


def allow_plain(cls: type, trusts: "Trusts") -> Maker:
    """Allow empty instances that get attributes: mostly of scikit-learn's own classes."""
    if issubclass(cls, tuple):
        return Maker(new=lambda args, kwargs: _make_named_tuple(cls, args, kwargs))

    def build(instance: Any, state: Any) -> None:
        set_plain_state(instance, state, trusts)

    return Maker(new=lambda args, kwargs: make_empty(cls, args, kwargs), build=build)


# Attributes that replace defaults of their classes: of LassoLars, of joblib's stores.
_REPLACED = frozenset({"positive", "location"})


def set_plain_state(instance: Any, state: Any, trusts: "Trusts") -> None:
    """Set attributes, and refuse those that would override what the class defines.

    Data may hide a method (``model.score = 0.93``). So may that same method, and what the caller
    trusts by name. No other callable may.
    """
    need(
        type(state) is dict or state is None,
        f"a state of {type(instance).__qualname__} that is not a dict",
    )
    cls = type(instance)
    for name, value in (state or {}).items():
        if hasattr(cls, name) and name not in _REPLACED and not is_note(name, value):
            hidden = inspect.getattr_static(cls, name)
            itself = (
                isinstance(value, types.MethodType)
                and value.__self__ is instance
                and value.__func__ is hidden
            )
            things = grammar.list_things(value)
            allowed = itself or (things and all(map(trusts, things)))
            if not (allowed or (hasattr(hidden, "__get__") and is_data(value))):
                raise refused(
                    f"an attribute {name[:40]} that hides what the class {cls.__qualname__} has "
                    "there",
                    *(called for thing in things or (cls,) for called in list_names(thing)),
                )
    before = _BEFORE.get((cls.__module__, cls.__qualname__))
    if before is not None and state:
        before(state)
    set_state(instance, state)


def _check_isotonic(state: dict[str, Any]) -> None:
    for name in ("X_thresholds_", "y_thresholds_"):  # `__setstate__` interpolates between them
        value = state.get(name)
        plain_array = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"
        need(value is None or plain_array, name)


def is_note(name: Any, value: Any) -> bool:
    """Whether an attribute is text about an object, which any object may have."""
    return name in _NOTES and (value is None or type(value) is str)


_NOTES = ("__author__", "__doc__", "__version__")  # not what functions are asked for by checks


def is_data(value: Any) -> bool:
    """Whether a value is numbers, text or arrays of these, so nothing that can be called."""
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject
    return isinstance(value, DATA) and type(value).__module__ in ("builtins", "numpy")


DATA = (type(None), bool, int, float, complex, str, bytes, np.generic)


def list_names(target: Any) -> tuple[str, ...]:
    """Return the name by which a caller may trust a class or function; empty if it has none."""
    if isinstance(target, np.ufunc):  # has no module before NumPy 2
        home = "numpy" if getattr(np, target.__name__, None) is target else "scipy.special"
        return (f"{home}.{target.__name__}",)
    module = getattr(target, "__module__", None)
    name = getattr(target, "__qualname__", getattr(target, "__name__", None))
    if type(module) is not str or type(name) is not str:
        return ()
    return (f"{module}.{name}",)


_BEFORE = {("sklearn.isotonic", "IsotonicRegression"): _check_isotonic}


def make_empty(cls: Any, args: Args, kwargs: Mapping[str, Any]) -> Any:
    need(not args and not kwargs, f"an instance of {cls.__qualname__} with arguments")
    return cls.__new__(cls)


def _make_named_tuple(cls: Any, args: Args, kwargs: Mapping[str, Any]) -> Any:
    need(not kwargs and len(args) == len(cls._fields), f"a {cls.__qualname__} of other fields")
    return tuple.__new__(cls, args)


def allow_all(target: Any) -> Maker | None:
    """Allow whatever the target's own code does: the caller trusts it by name."""
    if isinstance(target, type):
        return _allow_class(target)
    return Maker(call=target, build=_set_trusted_state) if callable(target) else None


def _allow_class(cls: Any) -> Maker:
    own = any({"__reduce__", "__reduce_ex__"} & set(vars(base)) for base in cls.__mro__[:-1])
    array = issubclass(cls, (np.ndarray, np.dtype, np.generic))  # these take bytes as pointers
    bare = array and not any("__new__" in vars(base) for base in cls.__mro__ if _is_python(base))
    return Maker(
        call=cls if (own or cls in copyreg.dispatch_table) and not array else None,
        new=None if bare else lambda args, kwargs: cls.__new__(cls, *args, **kwargs),
        build=_set_trusted_state,
        named=True,
    )


def _is_python(cls: type) -> bool:
    """Whether Python code made a class."""
    return bool(cls.__flags__ & _HEAP_TYPE) and cls.__module__.partition(".")[0] != "numpy"


class Imitation:
    """Replaces code that nobody vouches for, and what that code would make."""

    def __call__(self, *args: Any) -> "Imitation":
        return Imitation()


def imitate(target: Any) -> Maker | None:
    """Allow what `allow_all` allows, without running any of the target's own code."""
    if isinstance(target, type) and not _has_own_code(target):
        cls: Any = target
        return Maker(new=lambda args, kwargs: cls.__new__(cls), build=set_state)
    if not callable(target):
        return None

    def make(*args: Any) -> Imitation:
        return Imitation()

    return Maker(call=make, new=make, build=lambda instance, state: None)


_OWN_CODE = frozenset(
    {
        "__new__",
        "__reduce__",
        "__reduce_ex__",
        "__setstate__",
        "__getnewargs__",
        "__hash__",
        "__eq__",
    }
    | {"__getnewargs_ex__", "__setattr__", "__setitem__", "add", "append", "extend", "__getattr__"}
    | {"__getattribute__", "__slots__"}
)

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that Python code made


def _has_own_code(cls: type) -> bool:
    """Whether making an instance may run code of a class outside of the known libraries."""
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in ("builtins", "sklearn", "abc", "typing"):
            continue
        if not base.__flags__ & _HEAP_TYPE or _OWN_CODE & set(vars(base)):
            return True
    return issubclass(cls, (tuple, str, bytes, int, float)) or type(cls) not in (type, ABCMeta)


def _set_trusted_state(instance: Any, state: Any) -> None:
    if getattr(instance, "__setstate__", None) is None:
        pair = state if type(state) is tuple and len(state) == 2 else (state, None)
        need(
            all(half is None or isinstance(half, dict) for half in pair),
            "a state that is not a dict",
        )
    set_state(instance, state)


def set_state(instance: Any, state: Any) -> None:
    """Set a state as CPython's `load_build` does (Lib/pickle.py), and only slots that exist."""
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
        member = getattr(type(instance), name, None)
        need(isinstance(member, types.MemberDescriptorType), f"a slot {name!s:.40}")
        setattr(instance, name, value)


def allow_calls(check: Callable[[Args], Any]) -> Callable[[Any], Maker]:
    """Allow calls with arguments that pass a check. The result needs no state."""

    def maker(target: Any) -> Maker:
        def call(*args: Any) -> Any:
            need(check(args), f"{getattr(target, '__qualname__', target)} with other arguments")
            return target(*args)

        return Maker(call=call)

    return maker


def match_types(*kinds: Any) -> Callable[[Args], bool]:
    """Return a check of up to as many arguments as kinds, each of exactly one of its types."""
    allowed = [kind if isinstance(kind, tuple) else (kind,) for kind in kinds]

    def check(args: Args) -> bool:
        return len(args) <= len(allowed) and all(
            type(value) in kind for value, kind in zip(args, allowed, strict=False)
        )

    return check


INT = (int, type(None))

BOUND = (int, float, str, type(None))

REAL = (int, float)


class Trusts:
    """Whether the caller trusts a thing by its name."""

    def __init__(self, targets: Iterable[Any]) -> None:
        self._targets = {id(target): target for target in targets}

    def add(self, target: Any) -> None:
        self._targets[id(target)] = target

    def __call__(self, target: Any) -> bool:
        return id(target) in self._targets
