"""Measures one call in a fresh process: seconds, and the peak of resident memory above the start.

Used by the other benchmarks. Linux: ``VmHWM`` of ``/proc/self/status``, reset through
``/proc/self/clear_refs`` (https://docs.kernel.org/filesystems/proc.html).
"""

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
