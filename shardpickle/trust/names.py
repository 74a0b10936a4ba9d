"""From the names that a file lists to classes and functions. Knows no bytes and no paths.

A name is trusted if it is in the closed table (`table`, and `constructors.CONSTRUCTORS`), if an
installed package vouches for it (entry points of the group ``shardpickle.trusted``), or if the
caller names it. The file never decides: no module is imported because a file names it.
"""

import builtins
import functools
import importlib
import os
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from importlib.metadata import distributions as distributions_in
from typing import Any

from shardpickle.errors import MissingNameError, UnsafeForbiddenError
from shardpickle.sklearn_support import migrations
from shardpickle.trust import (
    constructors,
    distributions,
    functions,
    pandas_objects,
    rules,
)
from shardpickle.trust import (
    table as vetted,
)
from shardpickle.trust.rules import Maker, Name

GROUP = "shardpickle.trusted"
FORBID = "SHARDPICKLE_FORBID_UNSAFE"


# Names that a skeleton may call, with arguments that are checked.
CONSTRUCTORS = (
    constructors.CONSTRUCTORS
    | pandas_objects.CONSTRUCTORS
    | pandas_objects.SCALARS
    | distributions.CONSTRUCTORS
)
_OURS = frozenset(
    {*pandas_objects.CONSTRUCTORS, *distributions.CONSTRUCTORS}
)  # not pandas' own forms
OF_CLASS_METHODS = constructors.OF_CLASS_METHODS + pandas_objects.OF_CLASS_METHODS
GETATTR = ("builtins", "getattr")


@dataclass(frozen=True, slots=True)
class Known:
    """The target of a name, and what may be made with it (None: it is only a value).

    With `own`, the caller trusts it by name, or its package vouches for it: its code may run.
    """

    target: Any
    maker: Maker | None
    own: bool = False


class Callers:
    """The names that a caller of `load` trusts: ``"package.module.Class"``, or the class itself.

    To trust a class is to let its own code make instances: ``__new__``, ``__reduce__`` and
    ``__setstate__``, with what is stored. To trust a function is to let a load call it, with any
    arguments that are stored; its result needs no trust. A vetted name that is given here may also
    do what it may not do by default.
    """

    def __init__(self, trusted: Collection[str | type] = ()) -> None:
        if isinstance(trusted, (str, type)):
            raise TypeError(f"trusted is a list of names or classes, not {trusted!r}")
        self.texts: set[str] = set()
        self.objects: dict[Name, Any] = {}
        for entry in trusted:
            if isinstance(entry, str):
                self.texts.add(entry)
            elif isinstance(entry, type):
                self.objects[entry.__module__, entry.__qualname__] = entry
            else:
                raise TypeError(f"trusted holds names and classes, not {entry!r:.80}")

    def __contains__(self, name: Name) -> bool:
        return ".".join(name) in self.texts or name in self.objects

    def __bool__(self) -> bool:
        return bool(self.texts or self.objects)


def show(name: Name) -> str:
    """Return a name for a message. Non-ASCII letters are escaped, since some look like others."""
    return show_text(".".join(name))


def show_text(text: str) -> str:
    return ascii(text)[1:-1]


def check_allowed(callers: Callers, unsafe: bool) -> None:
    """Raise where this environment forbids `trusted` and `unsafe`."""
    if (callers or unsafe) and os.environ.get(FORBID, "") not in ("", "0"):
        option = "unsafe=True" if unsafe else "trusted=…"
        raise UnsafeForbiddenError(option, FORBID)


def judge(name: Name, callers: Callers | None = None) -> str | None:
    """Return why a name is trusted: ``"vetted"``, ``"vouched"`` or ``"trusted"``; None if not.

    Imports nothing.
    """
    if name in CONSTRUCTORS or name in constructors.CALLABLES or name == GETATTR:
        return "vetted"
    if name in _classes() or name in _values():
        return "vetted"
    if callers is not None and name in callers and is_offered(name):
        return "trusted"
    return "vouched" if _find_entry_point(name) else None


def is_offered(name: Name) -> bool:
    """Whether a message may offer to trust a name. No name that runs any given code is offered."""
    module, attribute = name
    top = module.partition(".")[0]
    if module == "builtins":
        return attribute in _HARMLESS_BUILTINS
    return (top not in _RUNS_CODE and name not in _LOADS_CODE) or name in _HARMLESS


_HARMLESS_BUILTINS = frozenset(dir(builtins)) - {
    *("__import__", "breakpoint", "classmethod", "compile", "delattr", "eval", "exec", "getattr"),
    *("globals", "help", "input", "locals", "object", "open", "setattr", "type", "vars"),
}
_HARMLESS = frozenset(
    {("io", "BytesIO"), ("io", "StringIO"), ("_io", "BytesIO"), ("_io", "StringIO")}
    | {("operator", name) for name in ("attrgetter", "itemgetter", "methodcaller")}
    | {("types", name) for name in ("MappingProxyType", "SimpleNamespace")}
)
_LOADS_CODE = frozenset(
    {("torch.storage", "_load_from_bytes"), ("torch", "load"), ("numpy", "load")}
    | {("numba.core.serialize", name) for name in ("_rebuild_reduction", "_rebuild_function")}
    | {("numba.core.serialize", "_unpickle__CustomPickled"), ("numba.core.serialize", "loads")}
)
_RUNS_CODE = frozenset(
    {"_ctypes", "_io", "_pickle", "asyncio", "bdb", "cgitb", "code", "codeop", "commands"}
    | {"ctypes", "dill", "cloudpickle", "distutils", "imp", "importlib", "io", "joblib", "marshal"}
    | {"multiprocessing", "nt", "operator", "os", "pdb", "pickle", "pip", "pkgutil", "platform"}
    | {"popen2", "posix", "profile", "pty", "pydoc", "runpy", "setuptools", "shelve", "shutil"}
    | {"signal", "site", "socket", "subprocess", "sys", "tempfile", "threading", "timeit"}
    | {"trace", "types", "urllib", "webbrowser", "_posixsubprocess", "requests", "http", "ftplib"}
)


def list_untrusted(names: Iterable[Name], callers: Callers | None = None) -> list[Name]:
    """List the names that `load` refuses."""
    return [name for name in names if judge(name, callers) is None]


def list_untrusted_foreign(names: Iterable[Name], callers: Callers) -> list[Name]:
    """List the names that `convert` refuses: also those vetted only in what our writer writes."""
    return [
        name
        for name in names
        if judge(name, callers) is None or (name in _OURS and name not in callers)
    ]


def resolve(names: Iterable[Name], callers: Callers) -> dict[Name, Known]:
    """Return the targets of trusted names. None of them may be in `list_untrusted`.

    Raises
    ------
    MissingNameError
        If names cannot be imported; one error for all of them.
    """
    targets = resolve_any(names, callers)
    own = {name for name in targets if name in callers or judge(name) == "vouched"}
    trusts = rules.Trusts([targets[name] for name in own])
    return {
        name: Known(target, rules.allow_all(target), own=True)
        if name in own and is_offered(name)
        else make_known(name, target, trusts)
        for name, target in targets.items()
    }


def make_known(name: Name, target: Any, trusts: rules.Trusts) -> Known:
    """Return a vetted name's target with what may be made of it."""
    return Known(target, _make_maker(name, target, trusts))


def imitate(name: Name, target: Any) -> Known:
    """Return a trusted name's target with a maker that does not run its code."""
    return Known(target, rules.imitate(target) if is_offered(name) else None, own=True)


def resolve_any(names: Iterable[Name], callers: Callers | None = None) -> dict[Name, Any]:
    """Return the targets of names, trusted or not, as pickle would; raises as `resolve` does."""
    own = callers.objects if callers is not None else {}
    targets: dict[Name, Any] = {}
    problems: list[tuple[str, str]] = []
    for name in names:
        try:
            targets[name] = own[name] if name in own else _find(*name)
        except Exception as error:  # importing a module runs it, and it may raise anything
            problems.append((".".join(name), f"{type(error).__name__}: {error}"))
    if problems:
        raise MissingNameError(problems)
    return targets


def _make_maker(name: Name, target: Any, trusts: rules.Trusts) -> Maker | None:
    if name == GETATTR:
        return functions.allow_method(
            target, trusts, constructors.CLASS_METHODS | pandas_objects.CLASS_METHODS
        )
    if name in constructors.CALLABLES:
        return constructors.CALLABLES[name](target, trusts)
    if name in CONSTRUCTORS:
        return CONSTRUCTORS[name](target)
    if not isinstance(target, type) or name not in _classes():
        return None
    return rules.allow_plain(target, trusts)


@functools.cache
def _classes() -> frozenset[Name]:
    return _list_pairs(vetted.CLASSES)


@functools.cache
def _values() -> frozenset[Name]:
    return (
        _list_pairs(vetted.VALUES)
        | _list_pairs(pandas_objects.VALUES)
        | _list_pairs(distributions.VALUES)
    )


def _list_pairs(table: Mapping[str, Iterable[str]]) -> frozenset[Name]:
    return frozenset((module, name) for module, names in table.items() for name in names)


@functools.cache
def _entry_points() -> tuple[EntryPoint, ...]:
    """List entry points of installed distributions, without those in the working directory."""
    installed = [path for path in sys.path if path.endswith("-packages") or not _is_here(path)]
    return tuple(
        entry
        for distribution in distributions_in(path=installed)
        for entry in distribution.entry_points
        if entry.group == GROUP
    )


def _is_here(path: str) -> bool:
    """Whether an entry of `sys.path` is the working directory."""
    try:
        return os.path.realpath(path or ".") == os.path.realpath(".")
    except OSError:  # the working directory is gone, so it holds nothing
        return not path


def _find_entry_point(name: Name) -> EntryPoint | None:
    """The entry point of an installed package that names this class."""
    return next((entry for entry in _entry_points() if (entry.module, entry.attr) == name), None)


def _find(module: str, name: str) -> Any:
    stand_in = migrations.stand_in(module, name)
    if stand_in is not None:
        return stand_in
    refusal: Exception | None = None
    for place in migrations.module_names(module):
        try:
            target: Any = sys.modules.get(place) or importlib.import_module(place)
            for step in name.split("."):
                target = getattr(target, step)
        except (ImportError, AttributeError) as error:
            refusal = refusal or error
        else:
            return target
    raise refusal or ImportError(module)
