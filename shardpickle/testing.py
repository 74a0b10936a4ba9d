"""Helps to test estimators of other packages. Uses public functions only."""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from shardpickle import api


def check_roundtrip(estimator: Any, *, trusted: Collection[str | type] = ()) -> Any:
    """Dump a fitted estimator, load it as a user would, and compare the two.

    Parameters
    ----------
    estimator : object
        A fitted estimator.
    trusted : collection of str or type, default ()
        As for `shardpickle.load`. Leave it empty to test that users need not give it, since your
        package vouches for its classes with an entry point of the group ``shardpickle.trusted``.

    Returns
    -------
    object
        The loaded estimator, for your own tests (of predictions, for example).

    Raises
    ------
    UntrustedTypeError
        If `load` needs names that are not trusted.
    AssertionError
        If a file is damaged, or the loaded estimator does not dump to the same bytes.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from shardpickle.testing import check_roundtrip
    >>> check_roundtrip(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]))
    Ridge()
    """
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first"), Path(folder, "second")
        digest = api.dump(estimator, first).digest
        loaded = api.load(first, trusted=trusted, expect=digest)
        report = api.verify(first, deep=True)
        if not report.ok:
            raise AssertionError(f"the dumped model is damaged: {report}")
        if api.dump(loaded, second).digest != digest:
            raise AssertionError(
                f"the loaded {type(estimator).__qualname__} differs from the dumped one: does its "
                "__setstate__ change the state from __getstate__?"
            )
        return loaded
