"""The search for vetted pieces that do harm together: that it finds none, and that it would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# In a process of its own: OpenMP's threads do not survive a fork.
ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def told(code):
    """What a program prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=HERE,
        env={**ALONE, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{ALONE.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_nothing_is_found():
    counts, found = told("import campaign, json; print(json.dumps(campaign.run(200, 7_000_000)))")
    assert found == []
    assert sum(counts.values()) == 200
    assert counts["loaded"] > 20
    assert counts["refused"] > 20


@pytest.mark.long
def test_it_finds_what_the_grammar_keeps_out():
    """Without the judge, the recipes delete the canary, or end the process."""
    code = """
import campaign, json, random
from shardpickle.trust import grammar
grammar.find_misplaced = lambda instance, own, seen: None
campaign.RECIPES = [campaign.stacked, campaign.vectors]
pool = campaign.models()[:3]
seeds = [seed for seed in range(400) if campaign.describe(pool, seed) in ("stacked", "vectors")]
found = [campaign.run(1, seed, pool=pool)[0] for seed in seeds[:15]]
print(json.dumps([key for each in found for key in each]))
"""
    assert {"CRASHED", "TOUCHED"} <= set(told(code))
