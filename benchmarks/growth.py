"""What a grown forest writes: 100 trees of `rfr-friedman`'s data, then 110, into one directory.

    python benchmarks/growth.py

Prints what the second dump wrote and reused, and which of the first dump's shards are gone.
"""

import json
import tempfile
from pathlib import Path

from measure import environment
from sklearn.datasets import make_friedman1
from sklearn.ensemble import RandomForestRegressor

import shardpickle


def shards(path):
    """(file, raw bytes) of each shard, in the manifest's order."""
    return [(each[0], each[2]) for each in json.loads(path.read_text())["shards"]]


def main():
    X, y = make_friedman1(50_000, noise=1.0, random_state=0)
    forest = RandomForestRegressor(100, warm_start=True, n_jobs=-1, random_state=0).fit(X, y)
    print(environment())
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "model", "manifest.json")
        print(shardpickle.dump(forest, manifest.parent))
        before = shards(manifest)
        grown = shardpickle.dump(forest.set_params(n_estimators=110).fit(X, y), manifest.parent)
        print(grown)
        kept = {file for file, _ in shards(manifest)}
        print(f"written: {grown.written_bytes:,} of {grown.stored_bytes:,} bytes")
        for file, raw in before:
            if file not in kept:
                print(f"not reused: {file[:12]}…, {raw:,} raw bytes")


if __name__ == "__main__":
    main()
