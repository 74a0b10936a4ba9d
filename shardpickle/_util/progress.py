"""Events of a dump or load, and the bar that shows them. Knows nothing of what is under way."""

import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

with warnings.catch_warnings():
    # In a notebook without ipywidgets tqdm.auto warns, and then draws a text bar, which will do.
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

Listener = Callable[["Progress"], object]


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a dump or load.

    Attributes
    ----------
    action : str
        ``"dump"``, ``"load"``, ``"verify"`` or ``"predict"``.
    done, total : int
        Raw bytes (of the model, not of its files); rows for ``"predict"``, whose total is 0 if
        unknown.
    """

    action: str
    done: int
    total: int


class Meter:
    """Counts bytes from any thread, calls the listener, and draws a bar if requested.

    Parameters
    ----------
    action : str
        What the bar and the events say.
    total : int
        Raw bytes, or what `unit` says.
    progress : bool or None
        Whether to draw; None draws on a terminal and in a notebook.
    on_progress : callable or None
        Called with every `Progress`, one at a time; an exception in it ends the dump or load.
    """

    def __init__(
        self,
        action: str,
        total: int,
        progress: bool | None,
        on_progress: Listener | None,
        *,
        unit: str = "B",
    ) -> None:
        self._action = action
        self._total = total
        self._done = 0
        self._listener = on_progress
        self._lock = threading.Lock()
        shown = _is_watched() if progress is None else progress
        self._bar: Any = (
            _Bar(total=total, desc=action, unit=unit, unit_scale=True, file=sys.stderr)
            if shown
            else None
        )

    def __enter__(self) -> Self:
        self._tell()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, nbytes: int) -> None:
        with self._lock:
            self._done += nbytes
            if self._bar is not None:
                self._bar.update(nbytes)
            self._tell()

    def _tell(self) -> None:
        if self._listener is not None:
            self._listener(Progress(self._action, self._done, self._total))


class _Bar(tqdm):  # type: ignore[misc]  # tqdm has no types of its own
    monitor_interval = 0  # no monitor thread: it would outlive the call and cross a fork


class Share:
    """One shard's share of a meter, which adds up to `total` whatever its steps count."""

    def __init__(self, advance: Callable[[int], None], total: int) -> None:
        self._advance = advance
        self._left = total
        self._lock = threading.Lock()

    def __call__(self, nbytes: int) -> None:
        with self._lock:
            nbytes = min(nbytes, self._left)
            self._left -= nbytes
        self._advance(nbytes)

    def finish(self) -> None:
        """Count the rest: padding between fields, and whatever else no step counted."""
        self(self._left)


def _is_watched() -> bool:
    """Whether stderr is visible: a terminal, or a notebook (whose kernel is not a terminal)."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
