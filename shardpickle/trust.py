"""From the names that a file lists to what they stand for. Knows no bytes and no paths.

Any importable name resolves, as with pickle: a model is loaded only from somebody who is trusted
to run code here.
"""

import importlib
import sys
from collections.abc import Iterable
from typing import Any

from shardpickle import migrate
from shardpickle.errors import MissingNameError

Name = tuple[str, str]


def resolve(names: Iterable[Name]) -> dict[Name, Any]:
    """What each (module, qualified name) stands for.

    Raises
    ------
    MissingNameError
        One for all names that are not here.
    """
    found: dict[Name, Any] = {}
    problems: list[tuple[str, str]] = []
    for module, name in names:
        try:
            found[module, name] = _find(module, name)
        except Exception as error:  # importing a module runs it, and it may raise anything
            problems.append((f"{module}.{name}", f"{type(error).__name__}: {error}"))
    if problems:
        raise MissingNameError(problems)
    return found


def _find(module: str, name: str) -> Any:
    stand_in = migrate.stand_in(module, name)
    if stand_in is not None:
        return stand_in
    refusal: Exception | None = None
    for place in migrate.module_names(module):
        try:
            target: Any = sys.modules.get(place) or importlib.import_module(place)
            for step in name.split("."):
                target = getattr(target, step)
        except (ImportError, AttributeError) as error:
            refusal = refusal or error
        else:
            return target
    raise refusal or ImportError(module)
