"""What it costs a dump to try the default load before it publishes, beside another checkout.

    python benchmarks/readback.py FOLDER OTHER_CHECKOUT [MODEL ...]

FOLDER keeps the models (`models.py`). Each dump is timed in a fresh process, this checkout and the
other in turn; printed are medians and minima of seconds, and the ratio of the medians.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from models import pickled

HERE = Path(__file__).resolve().parent.parent
MODELS = ("rfc-synthetic", "rfr-friedman", "gbr-friedman", "hgb-friedman", "iforest", "gbr-10000")
PAIRS = 5
TIMED = """
import pickle, sys, tempfile, time
import shardpickle
with open(sys.argv[1], "rb") as stream:
    model = pickle.load(stream)
with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    shardpickle.dump(model, folder + "/model", workers=2, progress=False)
    print(time.perf_counter() - start)
"""


def seconds(checkout, file):
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", TIMED, str(file)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(said.stdout)


def main(folder, other, *names):
    print(f"{'model':<16}{'here':>8}{'min':>8}{'other':>8}{'min':>8}{'ratio':>8}")
    for name in names or MODELS:
        file = pickled(name, folder)
        here, there = [], []
        for _ in range(PAIRS):
            here.append(seconds(HERE, file))
            there.append(seconds(Path(other).resolve(), file))
        mine, theirs = statistics.median(here), statistics.median(there)
        print(
            f"{name:<16}{mine:>8.2f}{min(here):>8.2f}{theirs:>8.2f}{min(there):>8.2f}"
            f"{mine / theirs:>8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
