"""Warnings that point at the caller's line, from any depth of the package."""

import sys
import warnings


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn with the line of the nearest caller outside of this package."""
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("shardpickle", "contextlib")
