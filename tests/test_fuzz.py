"""A bounded part of the fuzzing; the long run is `python tests/fuzz.py` (docs/trust.md)."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_random_damage_is_refused_or_harmless():
    # In a process that has started no threads: it forks.
    command = [sys.executable, str(Path(__file__).parent / "fuzz.py"), "300"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
