"""What every test starts from."""

import gc

import pytest

from shardpickle.lazy import CACHE


@pytest.fixture(autouse=True)
def _no_limit():
    """Each test starts with nothing in the cache of lazy models and no limit, as a process does."""
    if CACHE.any():
        gc.collect()
    CACHE.limit = None
    yield
    CACHE.limit = None
