"""What the default load costs beside `unsafe=True`, which is CPython's unpickler and no check.

    python benchmarks/trust.py [FOLDER [NAME ...]]

Each figure is a fresh process that has loaded a small model both ways before; the two ways take
turns. Median (minimum) of fifteen, and the ratio of both.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from measure import around, environment, fresh, summary
from models import loaded, pickled

import shardpickle

NAMES = ("rfc-synthetic", "rfr-friedman", "gbr-10000", "iforest", "vocabulary")
WAYS = {"default": {}, "unsafe": {"unsafe": True}}
REPEATS = 15


def one(stored, way):
    with tempfile.TemporaryDirectory() as folder:
        shardpickle.dump({"a": [1, 2]}, f"{folder}/small")
        for options in WAYS.values():
            shardpickle.load(f"{folder}/small", **options)
    figures, _ = around(lambda: shardpickle.load(stored, workers=2, **WAYS[way]))
    print(json.dumps(figures))


def main(folder, names):
    print(environment())
    print(f"{'model':<16}{'default s':>18}{'unsafe s':>18}{'ratio':>15}")
    for name in names:
        stored = folder / f"{name}.shardpickle"
        shardpickle.dump(loaded(pickled(name, folder)), stored)
        seconds = {way: [] for way in WAYS}
        for _ in range(REPEATS):
            for way, found in seconds.items():
                found += fresh(__file__, stored, way, repeats=1)["seconds"]
        ratios = [of(seconds["default"]) / of(seconds["unsafe"]) for of in (statistics.median, min)]
        texts = [summary(found) for found in seconds.values()]
        print(f"{name:<16}{texts[0]:>18}{texts[1]:>18}{ratios[0]:>8.2f} ({ratios[1]:.2f})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        chosen = sys.argv[1:] or [tempfile.mkdtemp()]
        main(Path(chosen[0]), chosen[1:] or NAMES)
