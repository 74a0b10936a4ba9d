"""What every test starts with."""

import gc
import threading

import pytest

from shardpickle.lazy import CACHE


def settle():
    """Wait for what lazy models load ahead, and free what nobody holds."""
    for thread in threading.enumerate():
        if thread.name == "shardpickle":
            thread.join(30)
    gc.collect()


@pytest.fixture(autouse=True)
def _no_limit():
    """Each test starts with nothing in the cache of lazy models and no limit, as a process does."""
    if CACHE.any():
        gc.collect()
    CACHE.limit = None
    yield
    CACHE.limit = None
