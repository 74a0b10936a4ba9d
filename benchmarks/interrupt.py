"""How long an interrupted prediction of a million rows goes on: Ctrl-C to the end of all processes.

    python benchmarks/interrupt.py [--repeats 5]

A forest is predicted by ``python -m shardpickle predict`` in two tasks; after some seconds it gets
what Ctrl-C sends (SIGINT to its process group).
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from measure import environment
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

import shardpickle


def stopped(folder):
    """Seconds from the signal to the end of the command, and of the last of its processes."""
    command = [sys.executable, "-m", "shardpickle", "predict", "model", "X.npy", "-o", "y.npy"]
    process = subprocess.Popen(
        [*command, "--workers", "2"], cwd=folder, stderr=subprocess.PIPE, start_new_session=True
    )
    time.sleep(6)
    if process.poll() is not None:
        raise RuntimeError(f"it has ended before: {process.stderr.read().decode()}")
    started = time.perf_counter()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    own = time.perf_counter() - started
    while running(process.pid):
        time.sleep(0.005)
    return own, time.perf_counter() - started


def running(group):
    """Whether a process of the group runs; one that has ended may wait for init to take note."""
    for each in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = each.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state not in "ZX":
                return True
    return False


def main(repeats):
    print(environment())
    rng = np.random.default_rng(0)
    features, target = rng.random((5000, 5)), rng.random(5000)
    models = {
        "forest (a task takes a shard)": RandomForestRegressor(100, random_state=0),
        "boosting (a task takes rows)": GradientBoostingRegressor(
            n_estimators=2000, max_depth=6, random_state=0, subsample=0.2
        ),
    }
    for name, model in models.items():
        with tempfile.TemporaryDirectory() as folder:
            shardpickle.dump(model.fit(features, target), f"{folder}/model", shard_size="1MB")
            np.save(f"{folder}/X.npy", rng.random((1_000_000, 5)))
            times = [stopped(folder) for _ in range(repeats)]
            left = sorted(each.name for each in Path(folder).iterdir())
        own, all_of_them = zip(*times, strict=True)
        print(
            f"{name}: the command ends {statistics.median(own):.2f} s after Ctrl-C (at most "
            f"{max(own):.2f}), its last process {statistics.median(all_of_them):.2f} s "
            f"(at most {max(all_of_them):.2f}); left: {left}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    main(parser.parse_args().repeats)
