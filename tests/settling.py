"""Waits until nothing is under way in lazy models."""

import gc
import threading
import time

from shardpickle.lazy import CACHE


def settle():
    """Wait for what lazy models load ahead, and free what nobody holds."""
    for thread in threading.enumerate():
        if thread.name == "shardpickle":
            thread.join(30)
    gc.collect()


def settled_below(limit, seconds=30):
    """Whether the cache comes to hold no more than so many bytes; other threads let go late."""
    end = time.monotonic() + seconds
    while True:
        settle()
        if CACHE.used <= limit or time.monotonic() > end:
            return CACHE.used <= limit
        time.sleep(0.05)
