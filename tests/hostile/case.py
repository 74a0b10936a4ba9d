"""One hostile directory: how it is written, what to do with what it gives, and what may happen."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """`use` gets what `load` returned; `may` are the outcomes that are right."""

    write: Callable[[Path], None]
    use: Callable[[Any], Any] | None = None
    may: frozenset[str] = frozenset({"refused"})
