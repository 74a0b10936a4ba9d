"""Whether an installed shardpickle works at all: run it outside of the repository's folder.

python smoke.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import shardpickle


def main():
    X, y = load_digits(return_X_y=True)
    forest = RandomForestClassifier(20, random_state=0).fit(X, y)
    with tempfile.TemporaryDirectory() as folder:
        shardpickle.dump(forest, Path(folder, "model"))
        for options in ({}, {"lazy": True}):
            found = shardpickle.load(Path(folder, "model"), **options)
            assert np.array_equal(found.predict_proba(X), forest.predict_proba(X))
        assert shardpickle.verify(Path(folder, "model"), deep=True)
        assert "RandomForestClassifier" in str(shardpickle.inspect(Path(folder, "model")))
    command = [sys.executable, "-m", "shardpickle", "--version"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert "Cython" in told, f"the compiled loops are missing: {told}"
    print(f"{told}: {Path(shardpickle.__file__).parent}")


if __name__ == "__main__":
    main()
