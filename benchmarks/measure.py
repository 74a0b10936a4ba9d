"""Measures one call in a fresh process: seconds, and the peak of resident memory above the start.

Used by the other benchmarks. Linux: ``VmHWM`` of ``/proc/self/status``, reset through
``/proc/self/clear_refs`` (https://docs.kernel.org/filesystems/proc.html).
"""

import ctypes
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy
import sklearn

HERE = Path(__file__).parent
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def environment():
    """What the figures were measured in."""
    return (
        f"Python {platform.python_version()}, numpy {numpy.__version__}, "
        f"scikit-learn {sklearn.__version__}, {platform.system()} {platform.machine()}"
    )


def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def reset_peak():
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def tidied(make):
    """What `make` gives, without the freed memory that making it leaves in the heap.

    A call measured next would take that memory for nothing: no peak, no page faults. Trimming alone
    leaves holes that a call then spreads over, so large blocks stay out of the heap meanwhile;
    afterwards glibc's limits are those its own adjustment ends at (mallopt(3)).
    """
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, 128 * 1024)
    made = make()
    gc.collect()
    libc.malloc_trim(0)
    libc.mallopt(M_MMAP_THRESHOLD, 32 * 1024**2)
    libc.mallopt(M_TRIM_THRESHOLD, 64 * 1024**2)
    return made


def fresh(script, *arguments, repeats=5):
    """Run ``script --one ARGUMENTS`` in fresh processes; each prints one JSON object.

    Returns
    -------
    dict
        For each key the list of its values over the repeats.
    """
    rows = []
    for _ in range(repeats):
        command = [sys.executable, str(script), "--one", *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HERE)
        rows.append(json.loads(done.stdout))
    return {key: [row[key] for row in rows] for key in rows[0]}


def around(call):
    """Seconds and peak bytes of a call, and what it gave."""
    before = reset_peak()
    started = time.perf_counter()
    result = call()
    return {"seconds": time.perf_counter() - started, "peak": peak() - before}, result


def summary(values):
    """Median (minimum)."""
    return f"{statistics.median(values):.3f} ({min(values):.3f})"
