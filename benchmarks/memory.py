"""Peak memory while dumping: at most (workers + 1) shards above the model (promise 5).

    python benchmarks/memory.py [FOLDER]

The peak is ``VmHWM`` above what the process held before the call, model included, after a reset;
each figure is a fresh process. The bound beside it is (workers + 1) shards: of `shard_size`, or of
the largest estimator where that is larger. Exits 1 if a default-sized dump exceeds its bound.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from measure import around, environment, fresh
from models import loaded, pickled

import shardpickle

NAMES = ("rfc-synthetic", "rfr-friedman", "gbr-friedman", "array")


def one(path, workers, shard_size):
    model = loaded(path)
    shardpickle.dump([1], tempfile.mkdtemp())  # imports, threads' first use
    with tempfile.TemporaryDirectory() as folder:
        figures, _ = around(
            lambda: shardpickle.dump(
                model, f"{folder}/model", workers=int(workers), shard_size=shard_size
            )
        )
        document = json.loads(Path(folder, "model", "manifest.json").read_text())
        largest = max(entry[2] for entry in document["shards"])
    print(json.dumps({**figures, "largest": largest}))


def main(folder):
    print(environment())
    print(f"{'model':<16}{'shards of':<11}{'workers':>8}{'peak MB':>10}{'bound MB':>10}")
    exceeded = False
    for name in NAMES:
        path = pickled(name, folder)
        for workers, shard_size in ((1, "32MB"), (2, "32MB"), (4, "32MB"), (2, "8MB")):
            found = fresh(__file__, path, workers, shard_size)
            peak = statistics.median(found["peak"]) / 1e6
            shard = max(found["largest"][0] / 1e6, float(shard_size.removesuffix("MB")))
            bound = (workers + 1) * shard
            exceeded |= peak > bound and shard_size == "32MB"
            print(f"{name:<16}{shard_size:<11}{workers:>8}{peak:>10.1f}{bound:>10.1f}")
    return int(exceeded)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())))
