"""For the test suites of packages with estimators of their own. Uses the public functions only."""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from shardpickle import api


def check_roundtrip(estimator: Any, *, trusted: Collection[str | type] = ()) -> Any:
    """Dump a fitted estimator, load it as a user would, and hold the one to the other.

    Parameters
    ----------
    estimator : object
        A fitted estimator.
    trusted : collection of str or type, default ()
        As for `shardpickle.load`. Leave it empty to prove that users need not give it: your
        package vouches for its classes with an entry point of the group ``shardpickle.trusted``.

    Returns
    -------
    object
        The loaded estimator, for tests of your own (predictions, say).

    Raises
    ------
    UntrustedTypeError
        If `load` needs names that nobody vouches for.
    AssertionError
        If a file is not sound, or the loaded estimator does not give the same bytes again.

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
            raise AssertionError(f"what was dumped is not sound: {report}")
        if api.dump(loaded, second).digest != digest:
            raise AssertionError(
                f"a loaded {type(estimator).__qualname__} differs from the one that was dumped: "
                "does its __setstate__ change what __getstate__ gave?"
            )
        return loaded
