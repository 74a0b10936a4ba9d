"""Versions of Python and of the libraries that a model's classes come from."""

import importlib.metadata
import platform
import sys
from collections.abc import Iterable, Mapping

_ALWAYS = ("numpy", "sklearn")
_HARMLESS = frozenset({"python", "numpy", "scipy"})  # their objects do not depend on the release


def describe(modules: Iterable[str]) -> dict[str, str]:
    """The versions that a model depends on, by import name, Python's own under ``"python"``.

    Parameters
    ----------
    modules : iterable of str
        The modules that the model's pickles name.
    """
    tops = {module.partition(".")[0] for module in modules} | set(_ALWAYS)
    versions = {top: _version(top) for top in sorted(tops - set(sys.stdlib_module_names))}
    return {"python": platform.python_version()} | {
        top: version for top, version in versions.items() if version is not None
    }


def differences(recorded: Mapping[str, str], modules: Iterable[str]) -> list[tuple[str, str, str]]:
    """(import name, version in the file, version here) of libraries whose objects may differ.

    Parameters
    ----------
    recorded : mapping
        What `describe` gave at the dump.
    modules : iterable of str
        The modules that the model's pickles name.
    """
    tops = {module.partition(".")[0] for module in modules} - _HARMLESS
    here = {top: _version(top) or "none" for top in recorded if top in tops}
    return [(top, recorded[top], now) for top, now in here.items() if now != recorded[top]]


def _version(top: str) -> str | None:
    version = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(version, str):
        return version
    try:
        return importlib.metadata.version(top)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
