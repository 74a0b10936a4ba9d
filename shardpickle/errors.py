"""Errors and warnings, grouped by what a handler would do. Imports no other module of ours.

Every error of the package inherits from `ShardpickleError`, and from the builtin that a caller
would catch anyway (`OSError`, `MemoryError`, `ImportError`, `pickle.PicklingError`, …).
"""

import copy
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MemberDescriptorType
from typing import Any, Self, cast


def inert(text: str) -> str:
    """Make a text safe for a terminal: escape control characters, and shorten huge lines."""
    return "\n".join(map(_inert_line, text.split("\n")))


def _inert_line(line: str) -> str:
    if len(line) > _MOST_OF_LINE:
        line = f"{line[:_MOST_OF_LINE]} … (and {len(line) - _MOST_OF_LINE} letters)"
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


_MOST_OF_LINE = 5000


def make_need(error: Callable[[str], Exception]) -> Callable[[Any, str], None]:
    """Return a `need(condition, reason)`, which raises `error(reason)` if a condition is false."""

    def need(condition: Any, reason: str) -> None:
        if not condition:
            raise error(reason)

    return need


class ShardpickleError(Exception):
    """Base class of every error that shardpickle raises on purpose."""

    def __str__(self) -> str:
        return inert(super().__str__())

    def __reduce__(self) -> tuple[Any, ...]:
        # Not through __init__: a worker's error has to arrive with its text and fields, but
        # exceptions pickle as `type(self)(*self.args)`, which fits no __init__ of ours.
        return _again, (type(self), self.args, {**_members(self), **vars(self)})


def _members(error: BaseException) -> dict[str, Any]:
    """Fields that C types and slots keep outside the dict: `errno` of an `OSError`, …"""
    return {
        name: getattr(error, name)
        for base in type(error).__mro__
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType)
        and not name.startswith("__")
        and getattr(error, name, None) is not None
    }


def _again(
    kind: type[BaseException], args: tuple[Any, ...], state: Mapping[str, Any]
) -> BaseException:
    """Make an error again that was pickled or copied. Pickled errors name this function."""
    error = _empty(kind)
    error.args = args
    for name, value in state.items():
        setattr(error, name, value)
    return error


def _empty(kind: type[BaseException]) -> BaseException:
    """Make an instance without calling __init__.

    With several bases, only the `__new__` of the one that sets the memory layout works. It need not
    be the first.
    """
    for base in kind.__mro__:
        with suppress(TypeError):
            error = base.__dict__["__new__"](kind) if "__new__" in base.__dict__ else None
            if error is not None:
                return cast("BaseException", error)
    raise TypeError(f"cannot make a {kind.__name__}")


# --- The object cannot be saved: the caller changes the model. --------------------------------


class UnpicklableError(ShardpickleError, pickle.PicklingError):
    """Some objects in the model cannot be pickled.

    Attributes
    ----------
    problems : list of (str, str)
        The path of each object in the model, such as ``model.steps[1][1].callback``, and why
        pickle refused it. The message shortens them.
    """

    def __init__(self, problems: list[tuple[str, str]], advice: Sequence[str] = ()) -> None:
        self.problems = problems
        lines = [f"  {_shortened(path, 100)}: {_shortened(why, 150)}" for path, why in problems]
        shown = _within(lines, 800)
        if len(shown) < len(lines):
            shown.append(f"  and {len(lines) - len(shown)} more, all in the error's `problems`")
        count = "1 object" if len(problems) == 1 else f"{len(problems)} objects"
        what = _within(
            advice or ["Remove them from the model, or give their classes a __getstate__."], 500
        )
        super().__init__(
            "\n".join(
                [
                    f"{count} in the model cannot be pickled; nothing was written:",
                    *shown,
                    *what,
                    "Then dump again.",
                ]
            )
        )


def _shortened(text: str, most: int) -> str:
    """Remove the middle of a long text."""
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]}"


def _within(lines: Sequence[str], most: int) -> list[str]:
    """The first lines, at least one, with at most `most` characters in all."""
    total = 0
    for number, line in enumerate(lines):
        total += len(line)
        if number and total > most:
            return list(lines[:number])
    return list(lines)


class ReadBackError(ShardpickleError, RuntimeError):
    """Encoded data does not decode to the same bytes. Nothing was published."""


# --- The place cannot be used: the caller changes the path, the permissions or the disk. ------


class StorageError(ShardpickleError, OSError):
    """The operating system refused a read or a write (disk full, I/O error, …)."""


class StoragePermissionError(StorageError, PermissionError):
    """This user has no permission to read or write the directory or a file in it."""


class ModelNotFoundError(StorageError, FileNotFoundError):
    """There is nothing at this path."""


class NotADirectoryModelError(StorageError, NotADirectoryError):
    """The path is a file, but a shardpickle model is a directory."""


class ForeignDirectoryError(StorageError, FileExistsError):
    """The directory holds something else, so `dump` does not write into it."""


class BusyDirectoryError(StorageError, BlockingIOError):
    """Another process is writing a model to this directory."""


# --- The directory is not a model that this version can read. ---------------------------------


class FormatError(ShardpickleError, ValueError):
    """The directory is not a model in a format that this version reads."""


class NotAModelError(FormatError):
    """The path holds something else: a pickle, a git-lfs pointer, …"""


class ForeignFileError(FormatError):
    """Another library's file is unreadable, or does something that shardpickle does not allow."""


class UnknownFormatError(FormatError):
    """The manifest has a format version that this shardpickle does not know."""


class CorruptModelError(FormatError):
    """A file of the model is damaged, missing, or differs from the manifest.

    Attributes
    ----------
    file : str or None
        The damaged file, relative to the model directory.
    expected, actual : object
        The expected and the actual value, where known.
    """

    def __init__(
        self,
        reason: str,
        *,
        file: str | None = None,
        expected: object = None,
        actual: object = None,
    ) -> None:
        self.reason = reason  # without the file and the advice
        self.file = file
        self.expected = expected
        self.actual = actual
        if expected is not None or actual is not None:
            reason += f" (expected {expected!s:.24}, found {actual!s:.24})"
        message = f"{file}: {reason}" if file else reason
        if file:
            message += (
                ". The model cannot be loaded as it is: restore this file from a copy, "
                "or dump the model again. `python -m shardpickle verify` checks all files."
            )
        super().__init__(message)
        self.reason = reason

    def in_file(self, file: str) -> "CorruptModelError":
        """The same error with the name of the file."""
        error = type(self)(self.reason, file=file)
        error.expected, error.actual = self.expected, self.actual
        return error


class CorruptManifestError(CorruptModelError):
    """``manifest.json`` is damaged or contradicts itself."""


class CorruptShardError(CorruptModelError):
    """A shard is damaged, or differs from the manifest."""


class UnexpectedModelError(FormatError):
    """The model is not the one that `expect` asks for."""

    def __init__(self, path: str, expected: str, actual: str) -> None:
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"{path} is not the expected model: its digest is {actual}, not {expected}. "
            "Nothing was loaded."
        )


class MissingShardError(CorruptShardError, FileNotFoundError):
    """The manifest names a shard that is not in the directory."""


# --- The model is sound, but cannot live in this process. -------------------------------------


class MissingNameError(ShardpickleError, ImportError):
    """Classes or functions of the model are not installed here.

    Attributes
    ----------
    names : list of str
        The full names, for example ``"mypkg.models.MyEstimator"``.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.names = [name for name, _ in problems]
        lines = "\n".join(f"  {name}: {reason}" for name, reason in problems)
        super().__init__(
            f"{len(problems)} name(s) that the model needs cannot be imported here:\n{lines}\n"
            "Install the packages, in the versions that `python -m shardpickle inspect` prints, "
            "or make the modules importable, then load again. Classes and functions of __main__ "
            "have to move into a module before the dump."
        )


class UntrustedTypeError(ShardpickleError, pickle.UnpicklingError):
    """The model needs classes or functions that are not trusted. Nothing was loaded.

    Attributes
    ----------
    names : dict of str to str
        Each name, and the first part of the model that needs it.
    offered : tuple of str
        The names that ``trusted=`` takes. Empty if only ``unsafe=True`` loads the model.
    path : str
        The model.
    refusal : str
        The message without the line to type.
    """

    def __init__(
        self,
        path: str,
        names: dict[str, str],
        call: str = "load({path}, {trusted})",
        *,
        never: Sequence[str] = (),
        besides: str = "",
    ) -> None:
        self.path = path
        self.names = names
        self.offered = () if never or besides else tuple(names)
        lines = "\n".join(f"  {name}, in {part}" for name, part in names.items())
        count = "1 name" if len(names) == 1 else f"{len(names)} names"
        advice = "If you trust these, and so their code:"
        if besides:
            advice = (
                f"It also holds {besides}, so only unsafe=True loads this. If you trust whoever "
                "wrote it:"
            )
        elif never:
            advice = (
                f"{', '.join(never)} can run any code, so only unsafe=True loads this. If you "
                "trust whoever wrote it:"
            )
        self.refusal = (
            f"{path} needs {count} that shardpickle does not vouch for; nothing was loaded:\n"
            f"{lines}\n{advice}"
        )
        super().__init__(f"{self.refusal}\n  {self._line(call, path)}")

    def called(self, call: str, path: str | None = None, given: Sequence[str] = ()) -> Self:
        """The same error with the line for another call, which also trusts the `given` names."""
        error = copy.copy(self)
        line = error._line(call, self.path if path is None else path, given)
        error.args = (f"{self.refusal}\n  {line}",)
        return error

    def _line(self, call: str, path: str, given: Sequence[str] = ()) -> str:
        trusted = f"trusted={[*given, *self.offered]!r}" if self.offered else "unsafe=True"
        return "shardpickle." + call.format(path=repr(path), trusted=trusted)


class RefusedError(UntrustedTypeError):
    """The files are intact, but need something that a default load does not do.

    Nothing was loaded.

    Attributes
    ----------
    what : str
        What the model needs.
    place : str
        Its place in the model, such as ``model.steps[0][1].score_func``.
    names, offered
        The names that ``trusted=`` takes for this. Empty if only ``unsafe=True`` loads the model.
    """

    part: int | None = None  # the part that needs it, and the step of its skeleton
    step = 0

    def __init__(
        self,
        what: str,
        names: Iterable[str] = (),
        *,
        path: str = "the model",
        place: str = "",
        call: str = "load({path}, {trusted})",
    ) -> None:
        self.what = what
        self.place = place
        self.path = path
        self.names = dict.fromkeys(names, place or "the model")
        self.offered = tuple(self.names)
        advice = "unsafe=True loads it as pickle would, running whatever the file names. "
        if self.offered:
            advice += f"If you trust {', '.join(self.offered)}, with any arguments that are stored:"
        else:
            advice += "If you trust whoever wrote it:"
        self.refusal = (
            f"{path} is intact, but it needs something that shardpickle does not allow by "
            f"default; nothing was loaded:\n  {self.short}\n{advice}"
        )
        ShardpickleError.__init__(self, f"{self.refusal}\n  {self._line(call, path)}")

    @property
    def short(self) -> str:
        """What the model needs and where, without advice."""
        return f"{self.place}: {self.what}" if self.place else self.what

    def located(self, *, path: str, place: str = "", call: str | None = None) -> "RefusedError":
        """The same error with the model and the place in it."""
        error = type(self)(
            self.what,
            self.names,
            path=path,
            place=place or self.place,
            call=call or "load({path}, {trusted})",
        )
        error.part, error.step = self.part, self.step
        return error


class UnsafeForbiddenError(ShardpickleError, PermissionError):
    """This environment forbids `trusted` and `unsafe`."""

    def __init__(self, option: str, variable: str) -> None:
        super().__init__(
            f"{option} is forbidden here: the environment variable {variable} is set. Load only "
            "models of vetted classes, or ask whoever set the variable."
        )


class RebuildError(ShardpickleError, RuntimeError):
    """The shards are sound, but a class refused the state that was saved for it."""


class ModelTooLargeError(ShardpickleError, MemoryError):
    """The model needs more memory than this process may use.

    Attributes
    ----------
    needed, available : int
        Bytes.
    """

    def __init__(self, path: str, needed: int, available: int) -> None:
        self.needed = needed
        self.available = available
        super().__init__(
            f"{path} needs {needed / 1e9:.2f} GB of memory, but this process may use only "
            f"{available / 1e9:.2f} GB more. To load parts when they are needed: "
            f'shardpickle.load({path!r}, lazy=True, memory_limit="1GB"). To load it all the same: '
            f"shardpickle.load({path!r}, check_memory=False)"
        )


class MemoryLimitError(ShardpickleError, MemoryError):
    """The memory limit is too small for this lazy model.

    Attributes
    ----------
    limit, least : int
        Bytes: the given limit, and the least that works.
    """

    def __init__(self, path: str, limit: int, least: int) -> None:
        self.limit = limit
        self.least = least
        super().__init__(
            f"memory_limit={limit} is too small for {path}: the parts that are always in memory "
            f"and two shards take {least / 1e6:.1f} MB. Give memory_limit={least} or more, or dump "
            "the model with a smaller shard_size."
        )


class ModelReplacedError(ShardpickleError, RuntimeError):
    """The directory of a lazy model now holds another model."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"the model in {path} was replaced after it was loaded lazily, so its remaining parts "
            "are gone. Load it again."
        )


class WorkerLostError(ShardpickleError, RuntimeError):
    """A process was killed while it predicted."""

    def __init__(self) -> None:
        super().__init__(
            "a worker process was killed while it predicted, most likely because memory ran out: "
            "give a memory_limit or fewer workers, then predict again"
        )


class LazyReferenceWarning(UserWarning):
    """A lazy model was pickled as a reference to its directory, not as data."""


class MemoryLimitWarning(UserWarning):
    """A parameter of a lazy model was changed to stay within the memory limit."""


class DamagedModelWarning(UserWarning):
    """Estimators of the model are damaged. The model was loaded without them."""


class DurabilityWarning(UserWarning):
    """The file system cannot guarantee that a dump survives a power cut."""


class InferenceOnlyWarning(UserWarning):
    """A model was dumped for inference: its trees have no training data."""


class MainModuleWarning(UserWarning):
    """The model holds classes or functions of ``__main__``, which other programs do not have."""


class VersionWarning(UserWarning):
    """The model was dumped with other library versions than those installed here."""
