"""What can go wrong, grouped by what a handler would do. Imports nothing of ours.

Every error of the package descends from `ShardpickleError`, and also from the builtin that a
caller would catch anyway (`OSError`, `MemoryError`, `ImportError`, `pickle.PicklingError`, …).
"""

import copy
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MemberDescriptorType
from typing import Any, Self, cast


def inert(text: str) -> str:
    """A text for a terminal: without what would move its cursor, and no line of megabytes."""
    return "\n".join(map(_inert_line, text.split("\n")))


def _inert_line(line: str) -> str:
    if len(line) > _MOST_OF_LINE:
        line = f"{line[:_MOST_OF_LINE]} … (and {len(line) - _MOST_OF_LINE} letters)"
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


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
        # As it is, not through __init__: a worker's error has to arrive with its text and fields,
        # and exceptions pickle as `type(self)(*self.args)`, which fits no __init__ of ours.
        return _again, (type(self), self.args, {**_members(self), **vars(self)})


def _members(error: BaseException) -> dict[str, Any]:
    """What C types and slots keep beside the dict: `errno` and `filename` of an `OSError`, …"""
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
    """The error that was pickled or copied."""
    error = _empty(kind)
    error.args = args
    for name, value in state.items():
        setattr(error, name, value)
    return error


def _empty(kind: type[BaseException]) -> BaseException:
    """An instance that no __init__ has seen.

    Python makes those of several bases by the one whose memory they have, which need not be the
    first, and refuses the others.
    """
    for base in kind.__mro__:
        with suppress(TypeError):
            made = base.__dict__["__new__"](kind) if "__new__" in base.__dict__ else None
            if made is not None:
                return cast("BaseException", made)
    raise TypeError(f"no {kind.__name__} can be made")


# --- The object cannot be saved: the caller changes the model. --------------------------------


class UnpicklableError(ShardpickleError, pickle.PicklingError):
    """Some objects in the model cannot be pickled.

    Attributes
    ----------
    problems : list of (str, str)
        The path of each object in the model, such as
        ``model.steps[1][1].callback``, and why pickle refused it. The message shortens them.
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
    """A text without its middle, if it is long."""
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]}"


def _within(lines: Sequence[str], most: int) -> list[str]:
    """The first lines, at least one, that have no more characters together."""
    total = 0
    for number, line in enumerate(lines):
        total += len(line)
        if number and total > most:
            return list(lines[:number])
    return list(lines)


class ReadBackError(ShardpickleError, RuntimeError):
    """What was encoded does not decode to the same bytes. Nothing was published."""


# --- The place cannot be used: the caller changes the path, the rights or the disk. -----------


class StorageError(ShardpickleError, OSError):
    """The operating system refused a read or a write (disk full, I/O error, …)."""


class StoragePermissionError(StorageError, PermissionError):
    """The directory or a file in it may not be read or written by this user."""


class ModelNotFoundError(StorageError, FileNotFoundError):
    """There is nothing at this path."""


class NotADirectoryModelError(StorageError, NotADirectoryError):
    """The path is a file, and a shardpickle model is a directory."""


class ForeignDirectoryError(StorageError, FileExistsError):
    """The directory holds something else; `dump` does not write into it."""


class BusyDirectoryError(StorageError, BlockingIOError):
    """Another process is writing a model to this directory."""


# --- The directory is not a model that this version can read. ---------------------------------


class FormatError(ShardpickleError, ValueError):
    """The directory is not a model in a format that this version reads."""


class NotAModelError(FormatError):
    """What is at the path is something else: a pickle, a git-lfs pointer, …"""


class ForeignFileError(FormatError):
    """A file of another library that cannot be read, or does what shardpickle does not allow."""


class UnknownFormatError(FormatError):
    """The manifest is of a format version that this shardpickle does not know."""


class CorruptModelError(FormatError):
    """A file of the model is damaged, missing, or not what the manifest says.

    Attributes
    ----------
    file : str or None
        The damaged file, relative to the model directory.
    expected, actual : object
        What should be there and what is there, where that can be said.
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
                "or dump the model again; `python -m shardpickle verify` checks all files."
            )
        super().__init__(message)
        self.reason = reason

    def in_file(self, file: str) -> "CorruptModelError":
        """The same error, naming the file it was found in."""
        again = type(self)(self.reason, file=file)
        again.expected, again.actual = self.expected, self.actual
        return again


class CorruptManifestError(CorruptModelError):
    """``manifest.json`` is damaged or contradicts itself."""


class CorruptShardError(CorruptModelError):
    """A shard is damaged, or holds something other than the manifest says."""


class UnexpectedModelError(FormatError):
    """The model is not the one that was demanded with `expect`."""

    def __init__(self, path: str, expected: str, actual: str) -> None:
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"{path} is another model than the expected one: its digest is {actual}, not "
            f"{expected}. Nothing was loaded."
        )


class MissingShardError(CorruptShardError, FileNotFoundError):
    """The manifest names a shard that is not in the directory."""


# --- The model is sound, but cannot live in this process. -------------------------------------


class MissingNameError(ShardpickleError, ImportError):
    """Classes or functions that the model is made of are not installed here.

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
            "or make the modules importable (what was defined in __main__ has to move into a "
            "module before the dump), then load again."
        )


class UntrustedTypeError(ShardpickleError, pickle.UnpicklingError):
    """The model names classes or functions that nobody here has trusted. Nothing was made.

    Attributes
    ----------
    names : dict of str to str
        Each name, and the first part of the model that needs it.
    offered : tuple of str
        The names that ``trusted=`` takes; empty if only ``unsafe=True`` loads the model.
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
        """The same error with the line for another call; it trusts what was `given`, too."""
        again = copy.copy(self)
        line = again._line(call, self.path if path is None else path, given)
        again.args = (f"{self.refusal}\n  {line}",)
        return again

    def _line(self, call: str, path: str, given: Sequence[str] = ()) -> str:
        trusted = f"trusted={[*given, *self.offered]!r}" if self.offered else "unsafe=True"
        return "shardpickle." + call.format(path=repr(path), trusted=trusted)


class RefusedError(UntrustedTypeError):
    """The files are intact, and ask for what a default load does not do. Nothing was handed out.

    Attributes
    ----------
    what : str
        What is asked for.
    place : str
        Where it stands in the model, such as ``model.steps[0][1].score_func``.
    names, offered
        The names that ``trusted=`` takes for this; none where only ``unsafe=True`` loads the model.
    """

    part: int | None = None  # whose skeleton asks for it, and where
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
            f"{path} is intact, but it asks for what shardpickle does not allow by default; "
            f"nothing was loaded:\n  {self.short}\n{advice}"
        )
        ShardpickleError.__init__(self, f"{self.refusal}\n  {self._line(call, path)}")

    @property
    def short(self) -> str:
        """What is asked for and where, without advice."""
        return f"{self.place}: {self.what}" if self.place else self.what

    def located(self, *, path: str, place: str = "", call: str | None = None) -> "RefusedError":
        """The same error, with the model and the place in it."""
        again = type(self)(
            self.what,
            self.names,
            path=path,
            place=place or self.place,
            call=call or "load({path}, {trusted})",
        )
        again.part, again.step = self.part, self.step
        return again


class UnsafeForbiddenError(ShardpickleError, PermissionError):
    """This environment forbids `trusted` and `unsafe`."""

    def __init__(self, option: str, variable: str) -> None:
        super().__init__(
            f"{option} is forbidden here: the environment variable {variable} is set. Load models "
            "of vetted classes only, or ask whoever set it."
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
            f"{path} holds {needed / 1e9:.2f} GB of model, and this process may use "
            f"{available / 1e9:.2f} GB more. shardpickle.load({path!r}, lazy=True, "
            'memory_limit="1GB") loads parts of it when they are needed; to go ahead all the same: '
            f"shardpickle.load({path!r}, check_memory=False)"
        )


class MemoryLimitError(ShardpickleError, MemoryError):
    """The memory limit is too small for this lazy model.

    Attributes
    ----------
    limit, least : int
        Bytes: what was asked for, and the least that works.
    """

    def __init__(self, path: str, limit: int, least: int) -> None:
        self.limit = limit
        self.least = least
        super().__init__(
            f"{path} cannot be used within {limit / 1e6:.1f} MB: what is always in memory and two "
            f"of its shards take {least / 1e6:.1f} MB. Give memory_limit={least} or more, or dump "
            "the model with a smaller shard_size."
        )


class ModelReplacedError(ShardpickleError, RuntimeError):
    """The directory holds another model than the one that was loaded lazily from it."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"the model in {path} was replaced since it was loaded lazily, and what it has not "
            "loaded yet is gone. Load it again."
        )


class WorkerLostError(ShardpickleError, RuntimeError):
    """A process that was predicting is gone."""

    def __init__(self) -> None:
        super().__init__(
            "a worker process was killed while it predicted, most likely by the system because "
            "memory ran out: give a memory_limit, or fewer workers, and predict again"
        )


class LazyReferenceWarning(UserWarning):
    """A lazy model was pickled: as a reference to its directory, not as data."""


class MemoryLimitWarning(UserWarning):
    """A parameter of a lazy model was changed so that it stays within its memory limit."""


class DamagedModelWarning(UserWarning):
    """Estimators of the model are damaged; what was loaded does without them."""


class DurabilityWarning(UserWarning):
    """The file system of a model directory cannot promise that a dump outlasts a power cut."""


class InferenceOnlyWarning(UserWarning):
    """A model was dumped for inference: what its trees kept of their training is gone."""


class MainModuleWarning(UserWarning):
    """The model holds classes or functions of ``__main__``, which other programs do not have."""


class VersionWarning(UserWarning):
    """The model was dumped under other library versions than the ones that load it."""
