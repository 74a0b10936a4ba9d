"""``python -m shardpickle demo``: saves a real forest in three ways and measures each.

Each figure comes from a fresh process: seconds of the dump or load call, and the peak of resident
memory above that before the call.
"""

import gzip
import json
import pickle
import pickletools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from shardpickle import api
from shardpickle._util.sizes import text

try:
    import resource
except ImportError:  # Windows: peaks are printed as 0 there
    resource = None  # type: ignore[assignment]

_TREES = 1000


def _dump_gzip(model: Any, path: str) -> None:
    with gzip.open(path, "wb") as stream:
        stream.write(pickletools.optimize(pickle.dumps(model)))


def _load_gzip(path: str) -> Any:
    with gzip.open(path, "rb") as stream:
        return pickle.load(stream)


def _dump_joblib(model: Any, path: str) -> None:
    joblib.dump(model, path, compress=3)


Method = tuple[Callable[[Any, str], object], Callable[[str], Any]]

METHODS: dict[str, Method] = {
    "gzip + pickletools.optimize": (_dump_gzip, _load_gzip),
    "joblib, compress=3": (_dump_joblib, joblib.load),
    "shardpickle": (api.dump, api.load),
}


def run() -> int:
    """Fit, save, load, compare and print. Returns 0 if all predictions are equal."""
    started = time.perf_counter()
    features, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(features, labels, random_state=0)
    forest = RandomForestClassifier(_TREES, random_state=0, n_jobs=-1).fit(train, train_labels)
    print(f"a forest of {_TREES} trees on scikit-learn's digits, accuracy ", end="")
    print(f"{forest.score(test, test_labels):.3f}\n")
    expected = forest.predict_proba(test)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "model.pickle")
        plain.write_bytes(pickle.dumps(forest, protocol=5))
        print(f"pickle, not compressed: {text(plain.stat().st_size)}\n")
        print(f"{'':<28}{'bytes':>10}{'dump s':>9}{'load s':>9}{'dump peak':>12}{'load peak':>12}")
        for name in METHODS:
            path = str(Path(folder, f"model-{len(name)}"))
            dumped = measure_in_process("dump", name, str(plain), path)
            loaded = measure_in_process("load", name, str(plain), path)
            print(
                f"{name:<28}{text(_size(Path(path))):>10}{dumped['seconds']:>9.2f}"
                f"{loaded['seconds']:>9.2f}{text(dumped['peak']):>12}{text(loaded['peak']):>12}"
            )
        predictions = api.load(path).predict_proba(test)
        shards = api.inspect(path)
        print(
            f"\n{shards.parts} parts in {shards.shards} shards, read back and compared by the dump"
        )
    equal = predictions.tobytes() == expected.tobytes()
    print(f"predictions of the loaded forest equal, bit for bit: {equal}")
    print(f"measured in fresh processes, in {time.perf_counter() - started:.0f} s altogether")
    return 0 if equal else 1


def measure_in_process(action: str, name: str, plain: str, path: str) -> dict[str, float]:
    """Measure seconds and peak bytes of one dump or load in a fresh process."""
    command = [sys.executable, "-m", "shardpickle.demo", action, name, plain, path]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(process.stdout)
    return figures


def _measure(action: str, name: str, plain: str, path: str) -> dict[str, float]:
    dump, load = METHODS[name]
    if action == "dump":
        model = pickle.loads(Path(plain).read_bytes())
    before = _peak(reset=True)
    started = time.perf_counter()
    if action == "dump":
        dump(model, path)
    else:
        load(path)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak": _peak() - before}


def _peak(reset: bool = False) -> int:
    """Peak resident bytes of this process. `reset` starts again, where Linux allows it."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        if resource is None:
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return next(
        int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")
    )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    print(json.dumps(_measure(*sys.argv[1:])))
