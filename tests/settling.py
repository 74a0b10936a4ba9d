"""Waits until nothing is under way in lazy models."""

import gc
import threading


def settle():
    """Wait for what lazy models load ahead, and free what nobody holds."""
    for thread in threading.enumerate():
        if thread.name == "shardpickle":
            thread.join(30)
    gc.collect()
