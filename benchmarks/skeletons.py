"""What `pickletools.optimize` costs on a long skeleton, and what it saves.

    python benchmarks/skeletons.py

A vocabulary of a million words. Seconds and peak are those of a fresh process; the ways are
`optimize` here, `optimize` in a loky process (bytes in, bytes out), and a pickler without a memo
(``Pickler.fast``), which leaves nothing to optimize but loses sharing and cycles.
"""

import io
import json
import pickle
import pickletools
import sys
import tempfile

import loky
import zstandard
from measure import around, environment, fresh, summary
from models import loaded, pickled

from shardpickle.pickling import pickler as pickling


def here(raw):
    return pickletools.optimize(raw)


def elsewhere(raw):
    with loky.ProcessPoolExecutor(1) as executor:
        return executor.submit(pickletools.optimize, raw).result()


def fast(model):
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=5)
    pickler.fast = True
    pickler.dump(model)
    return buffer.getvalue()


def one(path, way):
    model = loaded(path)
    raw = pickling.write([model], lambda obj: None).skeleton
    ways = {
        "as pickled": lambda: pickling.write([model], lambda obj: None).skeleton,
        "optimize": lambda: here(raw),
        "optimize in a process": lambda: elsewhere(raw),
        "Pickler.fast": lambda: fast(model),
    }
    figures, made = around(ways[way])
    packed = zstandard.ZstdCompressor(level=3).compress(made)
    print(json.dumps({**figures, "bytes": len(made), "stored": len(packed)}))


def main():
    print(environment())
    path = pickled("vocabulary", tempfile.mkdtemp())
    print(f"{'way':<24}{'seconds':>18}{'peak MB':>18}{'bytes':>12}{'stored':>12}")
    for way in ("as pickled", "optimize", "optimize in a process", "Pickler.fast"):
        found = fresh(__file__, path, way)
        peaks = summary([each / 1e6 for each in found["peak"]])
        print(
            f"{way:<24}{summary(found['seconds']):>18}{peaks:>18}"
            f"{found['bytes'][0]:>12}{found['stored'][0]:>12}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        main()
