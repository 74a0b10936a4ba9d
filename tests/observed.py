"""What stands in the attributes of fitted models: what `shardpickle.trust.grammar` is made from."""

import collections
import functools
import json
from pathlib import Path

import numpy as np

from shardpickle.trust import kinds

KNOWN = ("sklearn", "scipy", "joblib")


class Observed:
    """Kinds by class and attribute, and the functions that stood somewhere."""

    def __init__(self):
        self.kinds = collections.defaultdict(lambda: collections.defaultdict(set))
        self.functions = collections.defaultdict(set)

    def note(self, model):
        left, seen = [model], set()
        while left:
            each = left.pop()
            if id(each) in seen or not hasattr(each, "__dict__") or isinstance(each, type):
                continue
            seen.add(id(each))
            left += self._note(each)

    def _note(self, instance):
        cls = type(instance)
        home = cls.__module__.partition(".")[0]
        own = home not in KNOWN or ".tests." in cls.__module__
        for name, value in list(vars(instance).items()):
            for kind, leaf in kinds.walk_leaves(value):
                if kind not in kinds.PLAIN:
                    yield leaf
                if own or type(leaf).__module__.startswith(("unittest", "pytest")):
                    continue
                if leaf is not None:
                    self.kinds[f"{home}.{cls.__qualname__}"][name].add(kind)
                if kind == "function":
                    self.functions[name].add(called(leaf))

    def data(self):
        return {
            "kinds": {
                cls: {name: sorted(kinds) for name, kinds in sorted(its.items())}
                for cls, its in sorted(self.kinds.items())
            },
            "functions": {name: sorted(each) for name, each in sorted(self.functions.items())},
        }

    def write(self, file):
        Path(file).write_text(json.dumps(self.data(), indent=0))


def called(function):
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, np.ufunc):
        return "ufunc"
    module = getattr(function, "__module__", None)
    return f"{module}.{getattr(function, '__qualname__', '?')}"
