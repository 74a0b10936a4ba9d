"""The long campaigns against what may go wrong with a disk, a process or a file.

    python benchmarks/faults.py [--only NAME ...]

A line for each: how many cases, and what became of them (`tests/faults/campaign.py` has the
words). Exits with 1 if a model was wrong, a process crashed or hung.
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from measure import environment

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / each) for each in ("", "faults")]

import campaign  # noqa: E402


def _damaged(cases):
    def run(folder):
        path = campaign.damaged_forest(folder)
        return campaign.damage(path, cases(path))

    return run


CAMPAIGNS = {
    "every call fails": campaign.calls,
    "power cuts": lambda folder: campaign.power(folder, seeds=20),
    "SIGKILL": lambda folder: campaign.kills(folder, 1000),
    "SIGTERM": lambda folder: campaign.kills(folder, 300, signal.SIGTERM),
    "Ctrl-C": lambda folder: campaign.kills(folder, 300, signal.SIGINT),
    "readers of 1,000 overwrites": lambda folder: campaign.readers(folder, 1000),
    "two writers, 500 dumps each": lambda folder: campaign.writers(folder, 500),
    "flipped bits": _damaged(lambda path: campaign.flips(path, 10_000)),
    "every bit of a manifest": _damaged(campaign.manifest_bits),
    "manifests cut off": _damaged(campaign.manifest_cuts),
    "shards cut off": _damaged(lambda path: campaign.shard_cuts(path, 200)),
    "swapped, stale, longer, zeroed": _damaged(
        lambda path: campaign.other_damage(path, path.with_name("stale"))
    ),
}
COLUMNS = ("old", "new", "refused", *campaign.BAD)


def main(names):
    print(environment())
    print(f"{'':32}{'cases':>8}" + "".join(f"{each:>9}" for each in COLUMNS) + f"{'seconds':>9}")
    bad = 0
    for name in names:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found = CAMPAIGNS[name](folder)
        bad += sum(found[each] for each in campaign.BAD)
        found["old"] += found.pop("sound", 0)  # verified, and one of the two
        cases = sum(found[each] for each in COLUMNS)
        line = "".join(f"{found[each]:>9,}" for each in COLUMNS)
        print(f"{name:32}{cases:>8,}{line}{time.perf_counter() - started:>9.0f}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=list(CAMPAIGNS), choices=list(CAMPAIGNS))
    sys.exit(main(parser.parse_args().only))
