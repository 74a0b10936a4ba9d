"""A pytest plugin: dumps and loads every model that a test suite fits, and counts what is refused.

    cd tests && python -m pytest -p fits --pyargs sklearn.ensemble -q -n 2

After each outermost ``fit`` (of scikit-learn's estimators, and of classes that tests derive from
them) the model is dumped and loaded by default, if pickle takes it. The end of the run lists the
names that were asked for, and what was refused, with the test that met it first. A load that says
otherwise than the dump ends the test.
"""

import collections
import functools
import json
import os
import pickle
import threading
import warnings
from pathlib import Path

import pytest
from observed import Observed
from sklearn.base import BaseEstimator

import shardpickle

_HERE = threading.local()
_OBSERVED = Observed()
_ONLY_NOTED = bool(os.environ.get("FITS_ONLY_NOTED"))
_COUNTS = collections.Counter()
_FIRST = {}
_TEST = [""]


def _tried(model):
    try:
        _OBSERVED.note(model)
    except Exception:  # classes of tests whose attributes raise: counted, and seen in the JSON
        _COUNTS["not noted"] += 1
    if _ONLY_NOTED:
        return
    try:
        pickle.loads(pickle.dumps(model))
    except Exception:  # tests have classes that pickle does not take
        _COUNTS["not pickled"] += 1
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = shardpickle.dumps(model, progress=False)
        except shardpickle.UnpicklableError:
            _COUNTS["not dumped"] += 1
            return
        _COUNTS["models"] += 1
        try:
            shardpickle.loads(data, progress=False)
        except shardpickle.RefusedError as error:
            _note("refused", error.short[:200])
        except shardpickle.UntrustedTypeError as error:
            _COUNTS["asked"] += 1
            for name in error.names:
                _note("asked for", name)
        except shardpickle.ShardpickleError as error:
            _note("FAILED", f"{type(error).__name__}: {error!s:.200}")


def _note(kind, what):
    _COUNTS[kind, what] += 1
    _FIRST.setdefault((kind, what), _TEST[0])


def _outermost(fit):
    @functools.wraps(fit)
    def wrapped(self, *args, **kwargs):
        if getattr(_HERE, "inside", False):
            return fit(self, *args, **kwargs)
        _HERE.inside = True
        try:
            found = fit(self, *args, **kwargs)
            _tried(self)
        finally:
            _HERE.inside = False
        return found

    wrapped.tried = True
    return wrapped


def _wrap(cls):
    fit = vars(cls).get("fit")
    if callable(fit) and not hasattr(fit, "tried"):
        cls.fit = _outermost(fit)


def _all(cls):
    yield cls
    for each in cls.__subclasses__():
        yield from _all(each)


def pytest_collection_finish(session):
    for cls in set(_all(BaseEstimator)):
        _wrap(cls)
    before = BaseEstimator.__init_subclass__.__func__

    def derived(cls, **options):
        before(cls, **options)
        _wrap(cls)

    BaseEstimator.__init_subclass__ = classmethod(derived)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    _TEST[0] = item.nodeid


def _worker(session):
    return getattr(session.config, "workerinput", {}).get("workerid", "main")


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput") and not _COUNTS and not _OBSERVED.kinds:
        return
    lines = [
        [count, *([key] if isinstance(key, str) else key), _FIRST.get(key, "")]
        for key, count in _COUNTS.most_common()
    ]
    _OBSERVED.write(f"observed-{_worker(session)}.json")
    Path(f"fits-{_worker(session)}.json").write_text(json.dumps(lines, indent=1))
